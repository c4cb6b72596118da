"""A server that accepts smaller messages than the client would send."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.conftest import QUICK
from contract.fake_server import FakeServer, predicted_unless_bad
from headstart import AsyncClient, Client, InvalidArgument, Prediction, ResourceExhausted
from headstart.calls.dataset_calls import DatasetUpload
from headstart.cli.app import app
from headstart.inputs.checksum import NO_EXAMPLES
from headstart.inputs.examples import open_examples
from headstart.results import Dataset, DatasetState

KIB = 2**10
TOO_LARGE = "is too large: 1.5 MiB, and the server accepts at most 1.0 MiB. Scale it down, or leave it out."


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer(max_message_bytes=2**20)
    server.standing["Predict"] = predicted_unless_bad
    yield server
    server.stop()


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    (tmp_path / "huge.jpg").write_bytes(b"x" * 1536 * KIB)
    return tmp_path / "huge.jpg"


def photos(count: int) -> list[bytes]:
    """Contents of 300 KiB, which are predicted as their numbers."""
    return [f"{number}".ljust(300 * KIB).encode() for number in range(count)]


def test_inputs_are_split_into_calls_that_the_server_accepts(client: Client, server: FakeServer):
    found = client.predict(photos(10), model="pets")

    assert [each.label.strip() for each in found] == [f"{number}" for number in range(10)]
    assert [len(request.inputs) for request in server.requests["Predict"]] == [3, 3, 3, 1]


def test_later_calls_have_the_size_that_the_server_accepts(client: Client, server: FakeServer):
    unusable: list[object] = [3]
    inputs = [*photos(1), *unusable, *photos(1), *[b"bad"] * 254, *photos(5)]

    found = client.predict(inputs, model="pets", errors="return")

    assert [place for place, each in enumerate(found) if not isinstance(each, Prediction)] == [
        1,
        *range(3, 257),
    ]
    assert [each.index for each in found if not isinstance(each, Prediction)] == [1, *range(3, 257)]
    sizes = [request.ByteSize() for request in server.requests["Predict"]]
    assert max(sizes) < 2**20


async def test_an_async_client_splits_them_too(server: FakeServer):
    async with AsyncClient(server.target, retries=QUICK, timeout=20) as client:
        found = await client.predict(photos(10), model="pets")

    assert [each.label.strip() for each in found] == [f"{number}" for number in range(10)]


def test_an_input_that_is_too_large_for_the_server_is_named(client: Client, huge: Path):
    with pytest.raises(InvalidArgument) as caught:
        client.predict([b"cat", huge], model="pets")

    assert caught.value.message == f"{huge} {TOO_LARGE}"
    assert caught.value.reason == "INPUT_TOO_LARGE"
    assert caught.value.field_violations[0].field == "inputs[1]"
    with pytest.raises(InvalidArgument, match=r"Input 0 is too large"):
        client.predict(huge.read_bytes(), model="pets")
    with pytest.raises(InvalidArgument, match=r"huge\.jpg is too large"):
        client.embed(huge)


def test_a_bulk_prediction_skips_an_input_that_is_too_large(server: FakeServer, huge: Path):
    (huge.parent / "cat.jpg").write_bytes(b"cat")
    out = huge.parent / "out.csv"

    command = ["--server", server.target, "predict", "pets", str(huge.parent), "-o", str(out)]
    result = CliRunner().invoke(app, command)

    assert result.exit_code == 6
    assert f"error: {huge} {TOO_LARGE}" in result.stderr
    assert out.read_text().splitlines() == [
        "input,predicted_label,probability",
        f"{huge.parent / 'cat.jpg'},cat,0.75",
    ]


def test_an_example_that_is_too_large_is_named(client: Client, huge: Path):
    pairs = itertools.chain([(b"meow", "cat")] * 300, [(huge, "dog")])

    with pytest.raises(InvalidArgument) as caught:
        client.fine_tune(pairs, model="pets")

    assert caught.value.message == f"Example 300 ({str(huge)!r}) {TOO_LARGE}"
    assert caught.value.reason == "INPUT_TOO_LARGE"


def test_a_request_that_is_too_large_has_a_remedy(client: Client, huge: Path):
    with pytest.raises(ResourceExhausted) as caught:
        client.send_feedback("pets", input=huge, label="cat")

    assert caught.value.message == (
        "The request has 1.5 MiB, and the server accepts at most 1.0 MiB. Send smaller inputs."
    )
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


def test_an_example_of_a_dataset_that_is_too_large_is_named(huge: Path):
    source = open_examples([(b"meow", "cat"), (huge, "dog")])
    dataset = Dataset(
        dataset="pets",
        display_name="",
        description="",
        tags={},
        state=DatasetState.OPEN,
        example_count=0,
        byte_count=0,
        next_batch=0,
        class_counts={},
        task=None,
        modality=None,
        digest="",
        sha256=NO_EXAMPLES,
        create_time=datetime.now(UTC),
        expire_time=None,
        etag="",
    )

    with pytest.raises(ValueError, match=re.escape(f"Example 1 ({str(huge)!r}) {TOO_LARGE}")):
        list(DatasetUpload(dataset, source, 2**20).calls())
