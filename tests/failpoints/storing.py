"""The part of a server's life that stores named datasets."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import select

from headstart_server.database.dataset_tables import dataset_batches, datasets
from headstart_server.errors import DatasetExists
from workbench import Workbench, pets

_DETAILS: dict[str, Any] = {"display_name": "", "description": "", "tags": {}}
_WORDS = ("owl", "yak")


def store(bench: Workbench) -> None:
    """Do everything once that writes named datasets."""
    for name in ("kept", "dropped"):
        with suppress(DatasetExists):
            bench.catalog.create(name, _DETAILS)
        bench.write(name, 0, pets(2, _WORDS))
        bench.write(name, 1, pets(1, _WORDS, start=2))
    bench.catalog.update("kept", {"description": "Pets"})
    bench.catalog.finish("kept", 6)
    bench.catalog.delete("dropped")
    with suppress(DatasetExists):
        bench.catalog.create("abandoned", _DETAILS)
    bench.catalog.delete_abandoned(-1.0)


def broken_datasets(bench: Workbench) -> Iterator[str]:
    """What must be true of named datasets at any moment: what counts is there."""
    with bench.driver.publisher.database.snapshot() as connection:
        found = connection.execute(select(datasets)).all()
        batches = connection.execute(select(dataset_batches)).all()
    for row in found:
        mine = [each for each in batches if each.dataset_id == row.dataset_id]
        if sorted(each.number for each in mine) != list(range(row.next_batch)):
            yield f"dataset {row.name} has not the batches that it counts"
        if lost := [each.number for each in mine if not (bench.folder / f"{each.archive}.zip").exists()]:
            yield f"dataset {row.name} has lost the batches {lost}"


def left_datasets(bench: Workbench) -> Iterator[str]:
    """What must be true once everything was done: one dataset is left, with each example once."""
    left = [(each.name, each.state.value) for each in bench.catalog.listed(after="", limit=9, scope=None)]
    if left != [("kept", "ready")]:
        yield f"datasets: {left}"
    ids = [example.id for example in bench.catalog.examples("kept")]
    if ids != [each.id for each in (*pets(2, _WORDS), *pets(1, _WORDS, start=2))]:
        yield f"examples of the dataset: {ids}"
