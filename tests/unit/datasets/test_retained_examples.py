"""The contents of a version's examples, as far as they are kept."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import ManualClock, Publisher, make_head, make_manifest
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_archive import RetainedExamples
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.store import EXAMPLES_FILE
from headstart_server.models.version import Version


class Bench:
    """A version of two examples that lie in an archive."""

    def __init__(self, folder: Path, *, listed: bool = True) -> None:
        self.publisher = Publisher(folder, ManualClock())
        self.datasets = DatasetStore(folder / "datasets", DatasetLimits(max_examples=10))
        writer = self.datasets.writer("job-1")
        writer.add(
            [
                Example(content=b"A", target=Target.of_label("cat")),
                Example(content="B", target=Target.of_label("dog")),
            ]
        )
        writer.finish()
        with closing(self.datasets.open("job-1")) as dataset:
            examples = list(dataset.examples)
        files = {EXAMPLES_FILE: ExampleList(examples=examples).to_bytes()} if listed else {}
        written, size = self.publisher.store.write("job-1.1", make_head(), make_manifest(), files)
        with self.publisher.database.write() as connection:
            number = self.publisher.registry.insert(
                connection, artifact="job-1.1", size_bytes=size, manifest=written, expires=None, alias=None
            )
        self.version = replace(self.publisher.registry.reader.version("pets", number), has_examples=True)
        self.kept = RetainedExamples(self.publisher.registry, self.datasets.reader)

    def contents(self, *indexes: int, **changes: bool) -> dict[int, object]:
        version: Version = replace(self.version, **changes)
        return self.kept.contents(version, indexes)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.publisher.close()


def test_contents_come_by_their_indexes(bench: Bench) -> None:
    assert bench.contents(1, 0) == {1: "B", 0: b"A"}
    assert bench.contents(1) == {1: "B"}


def test_an_index_that_is_not_the_version_s_is_left_out(bench: Bench) -> None:
    assert bench.contents(7, -1, 0) == {0: b"A"}


def test_what_is_not_kept_is_not_read(bench: Bench) -> None:
    assert bench.contents(0, has_examples=False) == {}


def test_an_archive_that_is_removed_meanwhile_is_no_fault(bench: Bench) -> None:
    bench.datasets.remove("job-1")

    assert bench.contents(0, 1) == {}


def test_a_version_of_0_1_has_no_list(tmp_path: Path) -> None:
    bench = Bench(tmp_path, listed=False)

    assert bench.contents(0) == {}
    bench.publisher.close()
