"""Creates, lists, changes, finishes and deletes named datasets."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from sqlalchemy import Connection, func, insert, select

from headstart_server.auth.permissions import Scope
from headstart_server.auth.tenants import tenant_of
from headstart_server.backbones.contract.backbone import Content
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import datasets
from headstart_server.database.locks import Lock, batched
from headstart_server.database.scoped import within
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.dataset_store import Dataset, DatasetStore
from headstart_server.datasets.named_dataset import DatasetState, NamedDataset
from headstart_server.errors import DatasetExists, DatasetNotReady, EmptyDataset, EtagMismatch, QuotaExceeded
from headstart_server.jobs import dataset_usage
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.learning.examples.dataset import Example, dataset_digest
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models import usage

#: Maximum datasets of one tenant.
MAX_DATASETS = 1000
#: The checksum of a dataset without examples.
NO_EXAMPLES = bytes(32)
#: Maximum abandoned datasets that one round of cleaning deletes.
_ABANDONED_AT_ONCE = 100


class DatasetCatalog:
    """Stores datasets under names, which all replicas share.

    Args:
        on_deleted: called after archives may have become unused.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_deleted: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._on_deleted = on_deleted

    def create(self, name: str, details: Mapping[str, Any]) -> NamedDataset:
        """Create an empty dataset.

        Args:
            details: its `display_name`, `description` and `tags`.
        """
        tenant = tenant_of(name)
        with self._database.write("datasets.create") as connection:
            # Concurrent calls must not create the same dataset, or exceed the tenant's limit together.
            self._database.lock(connection, Lock.QUEUE)
            _check_new(connection, name, tenant)
            now = self._database.now(connection)
            values = {
                "dataset_id": uuid.uuid4().hex,
                "name": name,
                "tenant": tenant,
                "state": DatasetState.OPEN.value,
                **details,
                "next_batch": 0,
                "example_count": 0,
                "nbytes": 0,
                "class_counts": {},
                "checksum": NO_EXAMPLES.hex(),
                "revision": 1,
                "created": now,
                "written": now,
            }
            connection.execute(insert(datasets), values)
            return dataset_rows.find(connection, name)

    def get(self, name: str) -> NamedDataset:
        """Return a dataset."""
        with self._database.read() as connection:
            return dataset_rows.find(connection, name)

    def listed(self, *, after: str, limit: int, scope: Scope | None) -> list[NamedDataset]:
        """Return datasets sorted by name, starting after a name; with a scope, only datasets within it."""
        query = select(datasets).where(datasets.c.name > after)
        if scope is not None:
            query = query.where(within(datasets.c.name, scope))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(datasets.c.name).limit(limit)).all()
        return [dataset_rows.dataset_of(row) for row in rows]

    def update(self, name: str, details: Mapping[str, Any]) -> NamedDataset:
        """Change the `display_name`, `description` or `tags` of a dataset."""
        with self._database.write("datasets.update") as connection:
            dataset_rows.change(connection, dataset_rows.find(connection, name, lock=True), **details)
            return dataset_rows.find(connection, name)

    def finish(self, name: str, example_count: int | None = None) -> NamedDataset:
        """End the upload of a dataset.

        Args:
            example_count: the number of examples that it must have; None to accept any number.
        """
        with self._database.snapshot() as connection:
            known = dataset_rows.find(connection, name)
            digest = self._digest(connection, known)
        with self._database.write("datasets.finish") as connection:
            dataset = dataset_rows.find(connection, name, lock=True)
            if not dataset.example_count:
                raise EmptyDataset(f"The dataset '{name}' has no examples. Write some before you finish it.")
            if example_count not in (None, dataset.example_count):
                raise DatasetNotReady(
                    f"The dataset '{name}' has {dataset.example_count} examples instead of {example_count}. "
                    f"Continue with batch {dataset.next_batch}, or correct the expected number.",
                    field="example_count",
                    metadata={
                        "example_count": str(dataset.example_count),
                        "next_batch": str(dataset.next_batch),
                    },
                )
            if dataset.state is DatasetState.OPEN:
                if dataset.etag != known.etag:
                    digest = self._digest(connection, dataset)
                dataset_rows.change(connection, dataset, state=DatasetState.READY.value, digest=digest)
            return dataset_rows.find(connection, name)

    def delete(self, name: str, etag: str = "") -> None:
        """Delete a dataset. Its archives stay as long as a job or version needs them.

        Args:
            etag: delete it only if this is its etag; empty deletes it in any case.
        """
        with self._database.write("datasets.delete") as connection:
            dataset = dataset_rows.find(connection, name, lock=True)
            if etag and etag != dataset.etag:
                raise EtagMismatch(
                    f"Dataset '{name}' was changed after its etag {etag!r} was read. Read the dataset again, "
                    "then repeat the deletion.",
                    metadata={"dataset": name},
                )
            self._remove(connection, dataset)
        self._on_deleted()

    def delete_abandoned(self, older_than: float) -> int:
        """Delete open datasets without a new batch for `older_than` seconds; return their number."""
        with self._database.write("datasets.delete_abandoned") as connection:
            before = self._database.now(connection) - older_than
            query = (
                select(datasets)
                .where(datasets.c.state == DatasetState.OPEN.value, datasets.c.written < before)
                .order_by(datasets.c.dataset_id)
                .limit(_ABANDONED_AT_ONCE)
                .with_for_update()
            )
            found = [dataset_rows.dataset_of(row) for row in connection.execute(query).all()]
            for dataset in found:
                self._remove(connection, dataset)
        if found:
            self._on_deleted()
        return len(found)

    def examples(self, name: str) -> Sequence[StoredExample]:
        """Return the examples of a dataset that is READY, in the order in which they were written."""
        with self._database.snapshot() as connection:
            dataset = dataset_rows.find(connection, name)
            if dataset.state is not DatasetState.READY:
                raise DatasetNotReady(
                    f"The dataset '{name}' is still being uploaded, with {dataset.example_count} examples so "
                    "far. Finish it first.",
                    metadata={"dataset": name, "next_batch": str(dataset.next_batch)},
                )
            return dataset_rows.examples_of(connection, dataset.dataset_id)

    def written(self, name: str) -> Sequence[StoredExample]:
        """Return the examples that a dataset has so far, whether it is finished or not."""
        with self._database.snapshot() as connection:
            dataset = dataset_rows.find(connection, name)
            return dataset_rows.examples_of(connection, dataset.dataset_id)

    def _digest(self, connection: Connection, dataset: NamedDataset) -> str:
        if dataset.digest is not None:
            return dataset.digest
        return dataset_digest(dataset_rows.examples_of(connection, dataset.dataset_id))

    def _remove(self, connection: Connection, dataset: NamedDataset) -> None:
        dataset_rows.remove(connection, dataset.dataset_id)
        usage.release(connection, [dataset.dataset_id])


def _check_new(connection: Connection, name: str, tenant: str) -> None:
    query = select(func.count()).select_from(datasets).where(datasets.c.name == name)
    if connection.execute(query).scalar_one():
        raise DatasetExists(
            f"There is a dataset '{name}' already. Use another name, or delete that one first.",
            metadata={"dataset": name},
        )
    count, _ = dataset_usage.usage_of(connection, tenant)
    if count >= MAX_DATASETS:
        raise QuotaExceeded(
            f"There are {MAX_DATASETS} datasets already. Delete one first.",
            metadata={"subject": "datasets", "limit": str(MAX_DATASETS)},
        )


#: Maximum examples whose contents are in memory together.
AT_ONCE = 64


class NamedExamples:
    """Reads the examples of named datasets."""

    def __init__(self, catalog: DatasetCatalog, store: DatasetStore) -> None:
        self._catalog = catalog
        self._store = store

    def stored(self, name: str) -> Sequence[StoredExample]:
        """Return the examples of a dataset without their contents."""
        examples = self._catalog.examples(name)
        if not examples:
            raise EmptyDataset(f"All examples of the dataset '{name}' were erased. Upload another dataset.")
        return examples

    def first_content(self, examples: Sequence[StoredExample]) -> Content:
        """Return the content of the first of some examples that was not erased meanwhile.

        Raise EmptyDataset if all were erased, and StorageUnavailable if the bucket does not answer.
        """
        with closing(self._store.read_listed(ExampleList(examples=examples))) as dataset:
            for index in range(len(dataset)):
                with suppress(ExampleErasedError):
                    return dataset.read(index)
        raise EmptyDataset("All examples of the dataset were erased. Upload another dataset.")

    def batches(self, name: str) -> Iterator[list[Example]]:
        """Yield the examples of a dataset in lists; raise like `stored` and `first_content`."""
        with closing(self._store.read_listed(ExampleList(examples=self.stored(name)))) as dataset:
            examples = (_example(dataset, index) for index in range(len(dataset)))
            yield from batched((each for each in examples if each is not None), AT_ONCE)


def _example(dataset: Dataset, index: int) -> Example | None:
    """Return an example with its content; None if it was erased meanwhile."""
    stored = dataset.examples[index]
    with suppress(ExampleErasedError):
        return Example(
            content=dataset.read(index),
            target=stored.target,
            id=stored.id,
            held_out=stored.held_out,
            weight=stored.weight,
        )
    return None
