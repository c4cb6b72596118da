"""Erasure from named datasets: they are read before the locks, and again only if they changed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from fakes import JobDriver
from headstart_server.database.database import Database
from headstart_server.datasets.dataset_removal import DatasetRemoval
from headstart_server.learning.metrics.example_list import ExampleList
from postgres import on_both_databases
from workbench import Workbench, pets

pytestmark = on_both_databases


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver)
    yield bench
    bench.close()


@pytest.fixture
def read_under_locks(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of examples of each list that the transactions of erasures have read."""
    database, counts = bench.driver.publisher.database, list[int]()
    write, read, open_now = database.write, ExampleList.from_bytes, list[str]()

    @contextmanager
    def watched(name: str = "unnamed", **options: bool) -> Iterator[Connection]:
        with write(name, **options) as connection:
            open_now.append(name)
            try:
                yield connection
            finally:
                open_now.remove(name)

    def counted(content: bytes) -> ExampleList:
        listed = read(content)
        if "examples.erase" in open_now:
            counts.append(len(listed.examples))
        return listed

    monkeypatch.setattr(database, "write", watched)
    monkeypatch.setattr(ExampleList, "from_bytes", counted)
    return counts


def test_an_erasure_reads_no_dataset_while_it_holds_the_locks(
    bench: Workbench, read_under_locks: list[int]
) -> None:
    for night in range(3):
        bench.stored_dataset(f"night{night}", pets(40), pets(40, start=40))
    found = bench.eraser.erase("cat0")
    assert list(found.datasets) == ["night0", "night1", "night2"]
    assert read_under_locks == []


@pytest.mark.parametrize("times", [1, 99])
def test_a_dataset_that_changes_while_an_erasure_reads_it_is_read_again(
    bench: Workbench, read_under_locks: list[int], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    bench.stored_dataset("pets", pets(2), pets(2, start=2))
    compute, left = DatasetRemoval.compute, [times]

    def interrupted(removal: DatasetRemoval, database: Database) -> None:
        compute(removal, database)
        if left[0]:
            left[0] -= 1
            if times == 1:
                bench.eraser.erase("dog0")
            else:
                bench.catalog.update("pets", {"display_name": "Pets"})

    monkeypatch.setattr(DatasetRemoval, "compute", interrupted)
    assert list(bench.eraser.erase("cat0").datasets) == ["pets"]
    # The last time, a dataset that always changes is read under the locks.
    assert bool(read_under_locks) == (times > 1)
    after = bench.catalog.get("pets")
    assert after.example_count == (10 if times == 1 else 11)
    assert bench.published(dataset="pets").manifest.dataset_digest == after.digest
