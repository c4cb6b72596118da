"""Removes examples from named datasets."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from headstart_server.database.database import Database
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.named_dataset import NamedDataset
from headstart_server.learning.examples.dataset import dataset_digest
from headstart_server.learning.examples.stored_example import StoredExample


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shortened:
    """A dataset without the removed examples; without batches if it had none of them."""

    dataset: NamedDataset  # the dataset before
    batches: Mapping[int, Mapping[str, bytes]] = field(default_factory=dict)  # new columns by number
    columns: Mapping[str, Any] = field(default_factory=dict)  # new columns of the dataset


class DatasetRemoval:
    """Removes some examples from the named datasets whose archives have them, by archive and member.

    Reading all examples of a dataset takes long. So they are read before the transaction that removes some,
    and read in it only if the dataset was changed meanwhile.
    """

    def __init__(self, places: Collection[tuple[str, int]]) -> None:
        self._places = places
        self._batches: Mapping[str, list[int]] = {}
        self._shortened: dict[str, _Shortened] = {}
        self._locked: list[NamedDataset] = []

    def compute(self, database: Database) -> None:
        """Read the datasets, except those that were read and not changed since."""
        if not self._places:
            return
        with database.read() as connection:
            self._batches = dataset_rows.batches_in(
                connection, sorted({archive for archive, _ in self._places})
            )
        for dataset_id in self._batches:
            # One transaction for each, because a long one delays the cleaning of the database.
            with database.snapshot() as connection:
                dataset = dataset_rows.find_by_id(connection, dataset_id)
                if dataset is not None and not self._is_read(dataset):
                    self._shortened[dataset_id] = self._without(connection, dataset)

    def lock(self, connection: Connection) -> bool:
        """Lock the datasets; return whether none was changed since it was read."""
        found = (dataset_rows.find_by_id(connection, each, lock=True) for each in sorted(self._batches))
        self._locked = [dataset for dataset in found if dataset is not None]
        return all(map(self._is_read, self._locked))

    def remove(self, connection: Connection) -> list[str]:
        """Remove the examples from the locked datasets; return the names of those that had any."""
        changed = []
        for dataset in self._locked:
            shortened = self._shortened.get(dataset.dataset_id)
            if shortened is None or not self._is_read(dataset):
                shortened = self._without(connection, dataset)
            for number, columns in shortened.batches.items():
                dataset_rows.change_batch(connection, dataset, number, columns)
            if shortened.batches:
                dataset_rows.change(connection, dataset, **shortened.columns)
                changed.append(dataset.name)
        return changed

    def _is_read(self, dataset: NamedDataset) -> bool:
        shortened = self._shortened.get(dataset.dataset_id)
        return shortened is not None and shortened.dataset.revision == dataset.revision

    def _without(self, connection: Connection, dataset: NamedDataset) -> _Shortened:
        removed: list[StoredExample] = []
        batches = {}
        for number in self._batches[dataset.dataset_id]:
            examples = dataset_rows.examples_of_batch(connection, dataset.dataset_id, number)
            gone = [example for example in examples if self._has(example)]
            if gone:
                removed += gone
                batches[number] = dataset_rows.list_columns(
                    [example for example in examples if not self._has(example)]
                )
        if not removed:
            return _Shortened(dataset=dataset)
        counts = Counter(dataset.class_counts)
        for example in removed:
            counts.subtract(example.target.shares.keys())
        digest = dataset.digest
        if digest is not None:
            examples = dataset_rows.examples_of(connection, dataset.dataset_id)
            digest = dataset_digest([example for example in examples if not self._has(example)])
        columns = {
            "example_count": dataset.example_count - len(removed),
            "class_counts": {name: count for name, count in sorted(counts.items()) if count > 0},
            "digest": digest,
        }
        return _Shortened(dataset=dataset, batches=batches, columns=columns)

    def _has(self, example: StoredExample) -> bool:
        return (example.archive, example.member) in self._places
