"""Examples of versions: listed, read, edited and erased, over gRPC, HTTP and with the Python client."""

import csv
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from headstart import Client, ExampleEdit, ExampleIssue, ExampleOrigin, FailedPrecondition, NotFound
from headstart.cli.app import app
from headstart.v1 import example_record_pb2, example_service_pb2, example_service_pb2_grpc, input_pb2
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import Api, digit, example, refused
from server_process import ServerProcess

HOSTILE = ["../../x", "<script>alert(1)</script>", "%2e%2e/etc", "a=b&c#d", "ä\u200f", " "]


def named(labels: Sequence[int], count: int) -> list[input_pb2.Example]:
    return [
        example(digit(label, place), str(label), example_id=f"{label}-{place}")
        for place in range(count)
        for label in labels
    ]


@pytest.fixture
def client(server: ServerProcess):
    with Client(server.target) as client:
        yield client


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"http://{server.event('http_listening')}"


def stub(api: Api) -> example_service_pb2_grpc.ExampleServiceStub:
    return example_service_pb2_grpc.ExampleServiceStub(api.channel)


def get(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {k.lower(): v for k, v in error.headers.items()}


def test_a_wrong_label_is_found_seen_and_fixed_without_an_upload(api: Api, client: Client, model: str):
    wrong = example(digit(0, 30), "1", example_id="wrong")
    api.published([*named((0, 1), 12), wrong], model=model, alias="stable")
    pets = client.model(model)

    assert pets[1].content("wrong").content == digit(0, 30)
    records = list(pets["stable"].examples(order_by="suspicion"))
    assert len(records) == 25
    first = records[0]
    assert (first.example_id, first.label, first.predicted_label) == ("wrong", "1", "0")
    assert ExampleIssue.ERROR in first.issues
    assert first.label_probability < 0.5 < first.predicted_probability
    assert (first.origin, first.media_type, first.size_bytes, first.has_content) == (
        ExampleOrigin.UPLOADED,
        "image/png",
        len(digit(0, 30)),
        True,
    )
    errors = [each.example_id for each in pets[1].examples(issue="error")]
    assert "wrong" in errors

    edits = [ExampleEdit(example_id="wrong", label="0", weight=2.0), ExampleEdit(index=0, held_out=True)]
    version = client.fine_tune(model=model, parent=1, edits=edits, remove=["1-3"]).result()

    after = {each.example_id: each for each in pets[version.version].examples()}
    assert len(after) == 24
    assert (after["wrong"].label, after["wrong"].weight) == ("0", 2.0)
    assert after["0-0"].held_out
    assert after["wrong"].origin is ExampleOrigin.PARENT
    lineage = version.lineage
    assert (lineage.edited_example_count, lineage.removed_example_count) == (2, 1)
    # The parent did not change.
    assert {each.example_id: each.label for each in pets[1].examples()}["wrong"] == "1"


def test_pages_continue_and_filters_combine(api: Api, model: str):
    api.published(named((0, 1, 7), 10), model=model, alias="stable")
    request = example_service_pb2.ListExamplesRequest(
        version={"model": model, "alias": "stable"}, page_size=4, filter={"label": "7"}
    )
    first = stub(api).ListExamples(request)
    assert (len(first.examples), first.example_count, first.version.version) == (4, 10, 1)
    # The alias moves between two pages.
    api.published(named((0, 1), 2), model=model, alias="stable", parent_version=1)
    seen = [each.example.example_id for each in first.examples]
    while first.next_page_token:
        request.page_token = first.next_page_token
        first = stub(api).ListExamples(request)
        assert first.version.version == 1
        seen += [each.example.example_id for each in first.examples]
    assert seen == [f"7-{place}" for place in range(10)]
    # A jump skips examples, also after a page.
    request.page_token, request.skip = "", 3
    jumped = stub(api).ListExamples(request)
    assert [each.example.example_id for each in jumped.examples] == seen[3:7]
    request.page_token, request.skip = jumped.next_page_token, 2
    assert [each.example.example_id for each in stub(api).ListExamples(request).examples] == seen[9:]
    request.skip = 2**31 - 1
    beyond = stub(api).ListExamples(request)
    assert (len(beyond.examples), beyond.next_page_token, beyond.example_count) == (0, "", 10)
    both = example_service_pb2.ListExamplesRequest(
        version={"model": model, "version": 1}, filter={"label": "7", "example_id_prefix": "7-1"}
    )
    assert [each.example.example_id for each in stub(api).ListExamples(both).examples] == ["7-1"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"order_by": "random"}, "order_by"),
        ({"filter": {"issue": 99}}, "filter.issue"),
        ({"page_token": "x"}, "page_token"),
    ],
)
def test_an_invalid_list_is_refused(api: Api, digits_model: str, fields: dict, field: str):
    source = {"version": {"model": digits_model}}
    request = example_service_pb2.ListExamplesRequest(**source, **fields)
    refusal = refused(lambda: stub(api).ListExamples(request))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


def test_content_over_http_is_safe_cached_privately_and_small_on_request(api: Api, url: str, model: str):
    hostile = [example(digit(0, 20 + i), "0", example_id=name) for i, name in enumerate(HOSTILE[:5])]
    api.published([*named((0, 1), 6), *hostile], model=model)
    path = f"{url}/v1/models/{model}/versions/1/examples:content"
    for place, name in enumerate(HOSTILE[:5]):
        query = urllib.parse.urlencode({"exampleId": name})
        code, content, headers = get(f"{path}?{query}")
        assert (code, content) == (200, digit(0, 20 + place))
        assert headers["content-type"] == "image/png"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"].startswith("private")
        assert "sandbox" in headers["content-security-policy"]
        assert get(f"{path}?{query}", **{"If-None-Match": headers["etag"]})[0] == 304
    code, content, headers = get(f"{path}?index=0&thumbnailSize=64")
    assert (code, headers["content-type"]) == (200, "image/jpeg")
    assert max(Image.open(BytesIO(content)).size) <= 64
    for query, expected in (("index=0&thumbnailSize=65", 400), ("index=999", 404), ("exampleId=no", 404)):
        code, content, _ = get(f"{path}?{query}")
        assert code == expected, content
    code, content, _ = get(f"{url}/v1/models/{model}/examples?filter.label=0&pageSize=2&orderBy=suspicion")
    assert code == 200
    assert json.loads(content)["exampleCount"] == "11"


def test_texts_are_read_as_they_were_sent_and_never_as_a_page(api: Api, client: Client, url: str, model: str):
    page = "<script>alert(1)</script>"
    texts = [page, *(f"good {place}" for place in range(4)), *(f"bad {place}" for place in range(5))]
    examples = [
        input_pb2.Example(
            input={"text": text}, label={"class_name": "bad" if "bad" in text else "good"}, example_id=str(i)
        )
        for i, text in enumerate(texts)
    ]
    api.published(examples, model=model)
    assert client.model(model)[1].content("0").text == page
    code, content, headers = get(f"{url}/v1/models/{model}/examples:content?exampleId=0")
    assert (code, content.decode()) == (200, page)
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert get(f"{url}/v1/models/{model}/examples:content?exampleId=0&thumbnailSize=64")[0] == 400


def test_an_erased_example_leaves_no_thumbnail(api: Api, client: Client, server: ServerProcess, model: str):
    api.published(named((0, 1), 8), model=model)
    pets = client.model(model)[1]
    folder = server.data / "thumbnails"
    before = set(folder.iterdir())
    pets.thumbnail("0-3", 128)
    made = set(folder.iterdir()) - before
    assert len(made) == 1
    api.models.EraseExample(keeping.EraseExampleRequest(model=model, example_id="0-3"))
    assert not made & set(folder.iterdir())
    for read in (pets.content, pets.thumbnail):
        with pytest.raises(FailedPrecondition):
            read("0-3")
    with pytest.raises(NotFound):
        pets.content("0-99")
    record = next(each for each in pets.examples() if each.example_id == "0-3")
    assert not record.has_content


@pytest.mark.parametrize(
    ("edits", "field", "text"),
    [
        ([{"example_id": "0-0"}], "spec.edits[0]", "does not change"),
        ([{"remove": True}], "spec.edits[0]", "names no example"),
        ([{"example_id": "0-0", "remove": True, "weight": 1.0}], "spec.edits[0]", "removes"),
        ([{"example_id": "0-0", "weight": 0.0}], "spec.edits[0].weight", "weight"),
        ([{"example_id": "0-0", "label": {"class_name": ""}}], "spec.edits[0].label.class_name", "no label"),
        ([{"example_id": "0-0", "label": {"number": 1.0}}], "spec.edits[0].label.number", "task"),
        ([{"index": 99, "remove": True}], "spec.edits[0].index", "not among"),
        (
            [{"example_id": "0-0", "label": {"class_name": "1"}}, {"index": 0, "remove": True}],
            "spec.edits[1]",
            "Edits 0 and 1",
        ),
        (
            [{"example_id": f"0-{i}", "label": {"class_name": "1"}} for i in range(4)],
            "spec.edits[3]",
            "leaves",
        ),
    ],
)
def test_an_edit_that_cannot_be_made_is_named(api: Api, model: str, edits: list, field: str, text: str):
    api.published(named((0, 1), 4), model=model)
    made = [example_record_pb2.ExampleEdit(**each) for each in edits]
    refusal = refused(lambda: api.fine_tune([], model=model, parent_version=1, edits=made))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in refusal.fields[field]
    assert api.versions(model)[0].version == 1


def test_the_command_lists_shows_relabels_and_removes(
    api: Api, server: ServerProcess, model: str, tmp_path: Path
):
    wrong = example(digit(0, 30), "1", example_id="wrong")
    api.published([*named((0, 1), 10), wrong], model=model)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["--server", server.target, *arguments], env={"COLUMNS": "120"})
        assert done.exit_code == code, done.output
        return done.stdout

    listed = run("-o", "csv", "example", "list", model, "--issue", "error", "--by-suspicion")
    rows = list(csv.DictReader(listed.splitlines()))
    assert (rows[0]["example_id"], rows[0]["label"], rows[0]["predicted_label"]) == ("wrong", "1", "0")
    assert run("-o", "name", "example", "list", model, "--id-prefix", "0-", "--limit", "2") == "0-0\n0-1\n"
    shown = json.loads(run("-o", "json", "example", "show", model, "wrong", "--output", f"{tmp_path}/x.png"))
    assert shown["example"]["exampleId"] == "wrong"
    assert (tmp_path / "x.png").read_bytes() == digit(0, 30)
    run("example", "show", model, "#0", "--output", f"{tmp_path}/x.jpg", "--thumbnail", "64")
    with Image.open(tmp_path / "x.jpg") as small:
        assert max(small.size) <= 64

    assert run("-o", "name", "example", "relabel", model, "wrong=0") == f"{model}@2\n"
    assert run("-o", "name", "example", "remove", f"{model}@2", "#0", "1-3") == f"{model}@3\n"
    listed = run("-o", "csv", "example", "list", model)
    after = {row["example_id"]: row for row in csv.DictReader(listed.splitlines())}
    assert len(after) == 19
    assert (after["wrong"]["label"], after["wrong"]["origin"]) == ("0", "PARENT")

    for arguments in (
        ["show", model, "missing"],
        ["show", model, "wrong", "--thumbnail", "64"],
        ["list", model, "--issue", "x"],
        ["relabel", model, "wrong"],
    ):
        run("example", *arguments, code=2)


def test_the_map_of_a_version_separates_its_classes(
    api: Api, client: Client, model: str, url: str, server: ServerProcess
):
    api.published([*named((0, 1), 12), *named((7,), 3)], model=model, alias="stable")

    found = client.model(model)["stable"].example_map()

    assert (found.example_count, found.stride, len(found.x), len(found.y)) == (27, 1, 27, 27)
    records = list(client.model(model)[1].examples())
    assert [found.label(point) for point in range(27)] == [record.label for record in records]
    points = np.stack([found.x, found.y], axis=1)
    assert 0.9 < np.abs(points).max() <= 1
    centers = [points[[label == name for label in map(found.label, range(27))]].mean(axis=0) for name in "01"]
    nearest = np.abs(points[:, None] - np.array(centers)).sum(axis=2).argmin(axis=1)
    own = [int(found.label(point) == "1") for point in range(27) if found.label(point) != "7"]
    right = nearest[[found.label(point) != "7" for point in range(27)]] == np.array(own)
    assert right.mean() > 0.9
    status, content, _ = get(f"{url}/v1/models/{model}/versions/1/examples:map")
    assert status == 200
    assert json.loads(content)["classNames"] == ["0", "1", "7"]
    assert json.loads(content)["x"] == pytest.approx(found.x)
    shown = CliRunner().invoke(app, ["--server", server.target, "-o", "csv", "example", "map", model])
    assert len(list(csv.DictReader(shown.stdout.splitlines()))) == 27
