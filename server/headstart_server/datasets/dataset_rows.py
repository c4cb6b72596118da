"""Named datasets and their batches in the database."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, tuple_, update

from headstart_server.auth.permissions import Scope
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.database.dataset_tables import archive_uses, dataset_batches, datasets
from headstart_server.database.locks import batched
from headstart_server.database.scoped import within
from headstart_server.datasets.named_dataset import DatasetState, NamedDataset
from headstart_server.errors import DatasetNotFound
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.example_list import ExampleList

#: Bytes of the digest of an ID.
ID_BYTES = 16
#: Maximum archives that one statement searches for.
_AT_ONCE = 500
#: Maximum batches whose ID digests one statement reads.
_BATCHES_AT_ONCE = 200
# Built once: building a statement takes longer than executing it.
_DATASET = select(datasets).where(datasets.c.name == bindparam("name"))
_LOCKED_DATASET = _DATASET.with_for_update()
_BY_ID = select(datasets).where(datasets.c.dataset_id == bindparam("dataset_id"))
_LOCKED_BY_ID = _BY_ID.with_for_update()
_OF_DATASET = dataset_batches.c.dataset_id == bindparam("dataset_id")
_BATCH = select(dataset_batches.c.digest, dataset_batches.c.checksum).where(
    _OF_DATASET, dataset_batches.c.number == bindparam("number")
)
_ID_DIGESTS = select(dataset_batches.c.number, dataset_batches.c.id_digests).where(_OF_DATASET)
_LISTED = select(dataset_batches.c.listed).where(_OF_DATASET).order_by(dataset_batches.c.number)
_LISTED_BATCH = select(dataset_batches.c.listed).where(
    _OF_DATASET, dataset_batches.c.number == bindparam("number")
)
# The digests of a batch have up to 160 kB.
_BATCHES: Select[Any] = select(
    dataset_batches.c.id_digests, dataset_batches.c.dataset_id, dataset_batches.c.number
)
_BATCHES_AFTER = (
    _BATCHES.where(
        tuple_(dataset_batches.c.dataset_id, dataset_batches.c.number)
        > tuple_(bindparam("after_id"), bindparam("after_number"))
    )
    .order_by(dataset_batches.c.dataset_id, dataset_batches.c.number)
    .limit(_BATCHES_AT_ONCE)
)
# With an order and a limit, PostgreSQL would read the batches of all datasets, so archives are found first.
_ARCHIVES_OF = select(dataset_batches.c.archive).where(
    dataset_batches.c.dataset_id.in_(bindparam("dataset_ids", expanding=True))
)
_BATCHES_IN = _BATCHES.where(dataset_batches.c.archive.in_(bindparam("archives", expanding=True)))
_ADD_BATCH, _ADD_USE = insert(dataset_batches), insert(archive_uses)
_CHANGE = update(datasets).where(datasets.c.dataset_id == bindparam("which"))
_CHANGE_BATCH = update(dataset_batches).where(
    dataset_batches.c.dataset_id == bindparam("which"), dataset_batches.c.number == bindparam("batch")
)
_NUMBERS_IN = select(dataset_batches.c.dataset_id, dataset_batches.c.number).where(
    dataset_batches.c.archive.in_(bindparam("archives", expanding=True))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch of a dataset."""

    number: int
    archive: str
    nbytes: int  # bytes of the archive
    digest: str
    checksum: bytes  # checksum of the dataset after the batch
    modality: Modality
    examples: Sequence[StoredExample]
    columns: Mapping[str, bytes]  # its list as columns of the table; encoding it is slow


def dataset_not_found_error(name: str) -> DatasetNotFound:
    """Return the error of a missing dataset."""
    return DatasetNotFound(
        f"There is no dataset '{name}'. List the datasets to find its name, or upload it first.",
        metadata={"dataset": name},
    )


def find(connection: Connection, name: str, *, lock: bool = False) -> NamedDataset:
    """Return a dataset.

    Args:
        lock: whether to lock it against changes until the transaction ends.
    """
    query = _LOCKED_DATASET if lock else _DATASET
    row = connection.execute(query, {"name": name}).one_or_none()
    if row is None:
        raise dataset_not_found_error(name)
    return dataset_of(row)


def find_by_id(connection: Connection, dataset_id: str, *, lock: bool = False) -> NamedDataset | None:
    """Return a dataset as `find` does; None if it was deleted."""
    row = connection.execute(_LOCKED_BY_ID if lock else _BY_ID, {"dataset_id": dataset_id}).one_or_none()
    return None if row is None else dataset_of(row)


def dataset_of(row: Row[Any]) -> NamedDataset:
    """Return the dataset of a row."""
    return NamedDataset(
        dataset_id=row.dataset_id,
        name=row.name,
        state=DatasetState(row.state),
        display_name=row.display_name,
        description=row.description,
        tags=row.tags,
        task=None if row.task is None else Task(row.task),
        modality=None if row.modality is None else Modality(row.modality),
        next_batch=int(row.next_batch),
        example_count=int(row.example_count),
        nbytes=int(row.nbytes),
        class_counts=row.class_counts,
        checksum=bytes.fromhex(row.checksum),
        digest=row.digest,
        revision=int(row.revision),
        created=float(row.created),
        written=float(row.written),
    )


def change(connection: Connection, dataset: NamedDataset, **values: object) -> None:
    """Change columns of a dataset, and its revision."""
    connection.execute(_CHANGE, {"which": dataset.dataset_id, "revision": dataset.revision + 1, **values})


def add_batch(connection: Connection, dataset: NamedDataset, batch: Batch, now: float) -> None:
    """Append a batch to a locked dataset, and record that the dataset needs the batch's archive."""
    values = {
        "dataset_id": dataset.dataset_id,
        "number": batch.number,
        "archive": batch.archive,
        "digest": batch.digest,
        "checksum": batch.checksum.hex(),
        **batch.columns,
    }
    connection.execute(_ADD_BATCH, values)
    connection.execute(_ADD_USE, {"holder": dataset.dataset_id, "archive": batch.archive, "released": 0})
    change(
        connection,
        dataset,
        task=batch.examples[0].target.task.value,
        modality=batch.modality.value,
        next_batch=batch.number + 1,
        example_count=dataset.example_count + len(batch.examples),
        nbytes=dataset.nbytes + batch.nbytes,
        class_counts=class_counts(batch.examples, dataset.class_counts),
        checksum=batch.checksum.hex(),
        written=now,
    )


def class_counts(examples: Iterable[StoredExample], before: Mapping[str, int]) -> dict[str, int]:
    """Return the number of examples by class after `examples` are added to `before`."""
    counts = Counter(before)
    for example in examples:
        counts.update(example.target.shares.keys())
    return dict(sorted(counts.items()))


def batch_identity(connection: Connection, dataset_id: str, number: int) -> tuple[str, bytes] | None:
    """Return the digest of a batch, and the checksum after it; None if it does not exist."""
    row = connection.execute(_BATCH, {"dataset_id": dataset_id, "number": number}).one_or_none()
    return None if row is None else (row.digest, bytes.fromhex(row.checksum))


def id_digest(example_id: str) -> bytes:
    """Return the digest of an ID."""
    return blake2b(example_id.encode(), digest_size=ID_BYTES).digest()


def batches_by_id(connection: Connection, dataset_id: str, wanted: Collection[bytes]) -> dict[bytes, int]:
    """Return the batch number of each wanted ID digest that a dataset contains."""
    found: dict[bytes, int] = {}
    if not wanted:
        return found
    for row in connection.execute(_ID_DIGESTS, {"dataset_id": dataset_id}):
        digests = bytes(row.id_digests)
        here = {digests[start : start + ID_BYTES] for start in range(0, len(digests), ID_BYTES)}
        found.update(dict.fromkeys(here.intersection(wanted), int(row.number)))
    return found


def examples_of(connection: Connection, dataset_id: str) -> list[StoredExample]:
    """Return the examples of a dataset, in the order in which they were written."""
    rows = connection.execute(_LISTED, {"dataset_id": dataset_id})
    return [example for row in rows for example in ExampleList.from_bytes(bytes(row.listed)).examples]


def examples_of_batch(connection: Connection, dataset_id: str, number: int) -> Sequence[StoredExample]:
    """Return the examples of a batch."""
    batch = {"dataset_id": dataset_id, "number": number}
    listed = connection.execute(_LISTED_BATCH, batch).scalar_one()
    return ExampleList.from_bytes(bytes(listed)).examples


def batches_in(connection: Connection, archives: Iterable[str]) -> dict[str, list[int]]:
    """Return the batches that are stored in some archives: their numbers by the ID of the dataset."""
    found: dict[str, list[int]] = {}
    for part in batched(archives, _AT_ONCE):
        for row in connection.execute(_NUMBERS_IN, {"archives": part}):
            found.setdefault(row.dataset_id, []).append(int(row.number))
    return found


def examples_with_id(connection: Connection, example_id: str, scope: Scope | None) -> Iterator[StoredExample]:
    """Yield the examples with an ID in all datasets, or in the datasets within a scope."""
    digest = id_digest(example_id)
    for row in _batches(connection, scope):
        if _has_digest(bytes(row.id_digests), digest):
            examples = examples_of_batch(connection, row.dataset_id, row.number)
            yield from (example for example in examples if example.id == example_id)


def _batches(connection: Connection, scope: Scope | None) -> Iterator[Row[Any]]:
    """Yield the ID digests of all batches, or of batches within a scope."""
    if scope is None:
        after = {"after_id": "", "after_number": -1}
        while page := connection.execute(_BATCHES_AFTER, after).all():
            yield from page
            after = {"after_id": page[-1].dataset_id, "after_number": page[-1].number}
        return
    mine = select(datasets.c.dataset_id).where(
        datasets.c.tenant == scope.tenant, within(datasets.c.name, scope)
    )
    for part in batched(list(connection.execute(mine).scalars()), _AT_ONCE):
        archives = list(connection.execute(_ARCHIVES_OF, {"dataset_ids": part}).scalars())
        for some in batched(archives, _BATCHES_AT_ONCE):
            yield from connection.execute(_BATCHES_IN, {"archives": some}).all()


def _has_digest(digests: bytes, digest: bytes) -> bool:
    start = digests.find(digest)
    while start >= 0 and start % ID_BYTES:
        start = digests.find(digest, start + 1)
    return start >= 0


def remove(connection: Connection, dataset_id: str) -> None:
    """Remove a dataset with its batches; the caller releases its archives."""
    connection.execute(delete(dataset_batches).where(_OF_DATASET), {"dataset_id": dataset_id})
    connection.execute(delete(datasets).where(datasets.c.dataset_id == dataset_id))


def change_batch(
    connection: Connection, dataset: NamedDataset, number: int, columns: Mapping[str, bytes]
) -> None:
    """Replace the list of a batch of a locked dataset by `list_columns`."""
    connection.execute(_CHANGE_BATCH, {"which": dataset.dataset_id, "batch": number, **columns})


def list_columns(examples: Sequence[StoredExample]) -> dict[str, bytes]:
    """Return the examples of a batch as columns of the table."""
    ids = b"".join(id_digest(example.id) for example in examples if example.id)
    return {"id_digests": ids, "listed": ExampleList(examples=examples).to_bytes()}
