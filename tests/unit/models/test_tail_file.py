"""Tails of versions on disk and in memory: whole or reported as damaged, and counted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import ManualClock, Publisher, make_head, make_tail
from headstart_server.embedding.tails import VersionTail
from headstart_server.errors import ArtifactDamaged
from headstart_server.models.resident import ResidentVersion, ResidentVersions
from headstart_server.models.store import TAIL_FILE, decode_tail, encode_tail


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, ManualClock())
    yield publisher
    publisher.close()


def test_a_tail_comes_back_bit_for_bit() -> None:
    tail = make_tail(blocks=2, bias=0.1)
    found = decode_tail(encode_tail(tail), 2)
    assert found.blocks == 2
    assert found.tensors.keys() == tail.tensors.keys()
    assert found.tensors["top/bias"].tobytes() == tail.tensors["top/bias"].tobytes()


def test_equal_tails_are_equal_files() -> None:
    assert encode_tail(make_tail()) == encode_tail(make_tail()) != encode_tail(make_tail(bias=2.0))


@pytest.mark.parametrize("content", [b"", b"no tensors", encode_tail(make_tail())[:-5]])
def test_what_is_no_file_of_tensors_is_reported(content: bytes) -> None:
    with pytest.raises(ValueError, match="Expected a file of tensors"):
        decode_tail(content, 1)


def test_a_version_is_loaded_with_its_tail_and_a_plain_one_without(publisher: Publisher) -> None:
    plain, tailed = publisher.publish(), publisher.publish(tail=make_tail(blocks=2))
    assert publisher.registry.files.load("pets", plain).tail is None
    tail = publisher.registry.files.load("pets", tailed).tail
    assert tail is not None
    assert (tail.cut, tail.is_ready) == ("cut2", False)
    manifest = publisher.registry.reader.version("pets", tailed).manifest
    assert manifest.tail is not None
    assert (manifest.tail.blocks, list(manifest.files)) == (2, [TAIL_FILE])


def test_a_missing_tail_is_damage(publisher: Publisher) -> None:
    number = publisher.publish(tail=make_tail(), job_id="job")
    (publisher.folder / "versions" / "job.1" / TAIL_FILE).unlink()
    with pytest.raises(ArtifactDamaged, match=r"its tail.safetensors is missing"):
        publisher.registry.files.load("pets", number)


def test_the_bytes_of_a_tail_count_in_memory() -> None:
    def version(number: int, tail: VersionTail | None) -> ResidentVersion:
        return ResidentVersion(
            model="pets",
            number=number,
            artifact="a",
            backbone="fake",
            backbone_digest="b" * 64,
            head=make_head(),
            tail=tail,
        )

    weights = make_tail(size=1000)
    kept = ResidentVersions(10_000)
    kept.put(version(1, None))
    plain = kept.nbytes
    kept.put(version(2, VersionTail(weights, "cut1", "pets")))
    # Its weights, and the copy of them that runs.
    assert kept.nbytes == 2 * plain + 2 * weights.nbytes
    kept.put(version(3, VersionTail(weights, "cut1", "pets")))
    assert kept.get("pets", 1) is None
    assert np.isclose(kept.nbytes, plain + 2 * weights.nbytes)
