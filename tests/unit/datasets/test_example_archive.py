"""Contents of many archives, read through few open files."""

from contextlib import closing
from pathlib import Path

import pytest

from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_archive import MAX_OPEN
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target

ARCHIVES = MAX_OPEN + 3


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets", DatasetLimits())


@pytest.fixture
def stored(store: DatasetStore) -> list[StoredExample]:
    """Two examples in each of many archives."""
    found: list[StoredExample] = []
    for place in range(ARCHIVES):
        writer = store.writer(f"job-{place}")
        writer.add(
            [
                Example(content=f"{place} {word}".encode(), target=Target.of_label(word))
                for word in ("cat", "dog")
            ]
        )
        writer.finish()
        with closing(store.open(f"job-{place}")) as dataset:
            found += dataset.examples
    return found


def test_each_content_comes_from_its_archive_in_any_order(
    store: DatasetStore, stored: list[StoredExample]
) -> None:
    with closing(store.reader()) as reader:
        for example in [*stored, *reversed(stored), *stored[::3]]:
            number = example.archive.removeprefix("job-")
            assert reader.read(example) == f"{number} {example.target.label}".encode()


def test_an_archive_that_is_gone_is_reported_and_the_others_are_read(
    store: DatasetStore, stored: list[StoredExample]
) -> None:
    store.remove("job-1")
    with closing(store.reader()) as reader:
        with pytest.raises(ArtifactDamaged) as caught:
            reader.read(stored[2])
        assert caught.value.metadata == {"job_id": "job-1"}
        assert reader.read(stored[4]) == b"2 cat"


def test_an_archive_removed_while_it_is_open_is_read_on(
    store: DatasetStore, stored: list[StoredExample]
) -> None:
    with closing(store.reader()) as reader:
        reader.read(stored[0])
        store.remove("job-0")
        assert reader.read(stored[1]) == b"0 dog"


def test_sizes_are_those_of_whole_archives(store: DatasetStore, stored: list[StoredExample]) -> None:
    writer = store.writer("coming")
    sizes = store.sizes()
    writer.discard()
    assert set(sizes) == {f"job-{place}" for place in range(ARCHIVES)}
    assert all(size > 0 for size in sizes.values())
