"""Writes the batches of named datasets: each is durable when it is acknowledged, and may be repeated."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection

from headstart_server.auth.tenants import tenant_of
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.database.database import Database
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.dataset_rows import Batch
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.named_dataset import DatasetState, NamedDataset
from headstart_server.embedding.cache import content_digest
from headstart_server.embedding.modality import kind_of
from headstart_server.errors import (
    BatchConflict,
    BatchMissing,
    ChecksumMismatch,
    DatabaseUnavailable,
    DatasetFinished,
    InvalidField,
    WrongModality,
)
from headstart_server.jobs import stored
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.dataset import Example, check_totals

#: Maximum batches of one dataset; each is an archive.
MAX_BATCHES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRequest:
    """A batch to write."""

    dataset: str
    number: int
    examples: Sequence[Example]
    # returns the checksum of the dataset after the batch, given the checksum before it
    checksum: Callable[[bytes], bytes]
    expected: bytes = b""  # the checksum that the caller expects; empty if it expects none


class BatchWriter:
    """Appends batches to named datasets, on any replica."""

    def __init__(
        self, database: Database, store: DatasetStore, tenant_limits: Callable[[str], TenantLimits]
    ) -> None:
        self._database = database
        self._store = store
        self._tenant_limits = tenant_limits

    def write(self, request: BatchRequest) -> NamedDataset:
        """Append a batch; it is durable when this returns. Writing the same batch again changes nothing.

        Raise TenantQuotaExceeded if the batch exceeds the tenant's storage quota.
        """
        if not request.examples:
            raise InvalidField("The batch has no examples. Send at least one.", field="examples")
        with self._database.snapshot() as connection:
            dataset = dataset_rows.find(connection, request.dataset)
            if request.number < dataset.next_batch:
                _check_same(connection, dataset, request, _digest(request.examples))
                return dataset
        _check_next(dataset, request)
        modality = _modality_of(request.examples, dataset.modality)
        archive = uuid.uuid4().hex
        writer = self._store.writer(archive, dataset.task)
        keeps = False
        try:
            writer.add(request.examples)
            checksum = request.checksum(dataset.checksum)
            _check_expected(request, checksum)
            stored_examples = writer.finish_batch()
            batch = Batch(
                number=request.number,
                archive=archive,
                examples=stored_examples,
                columns=dataset_rows.list_columns(stored_examples),
                nbytes=writer.nbytes,
                digest=_digest(request.examples),
                checksum=checksum,
                modality=modality,
            )
            try:
                found = self._append(request, batch)
            except DatabaseUnavailable:
                # The batch may have been written, so its archive stays until a cleaning finds it unused.
                keeps = True
                raise
            keeps = found.is_new
            return found.dataset
        finally:
            if not keeps:
                writer.discard()

    def _append(self, request: BatchRequest, batch: Batch) -> "_Appended":
        name = request.dataset
        with self._database.write("datasets.append") as connection:
            dataset = dataset_rows.find(connection, name, lock=True)
            if batch.number < dataset.next_batch:
                _check_same(connection, dataset, request, batch.digest)
                return _Appended(dataset, is_new=False)
            _check_next(dataset, request)
            if batch.checksum != request.checksum(dataset.checksum):
                # Another dataset has taken the name since the archive was begun.
                raise BatchConflict(
                    f"The dataset '{name}' was deleted and created again while the batch was written. Send "
                    "the batch again.",
                    metadata={"next_batch": str(dataset.next_batch)},
                )
            _check_ids(connection, dataset, batch)
            count = dataset.example_count + len(batch.examples)
            classes = dataset_rows.class_counts(batch.examples, dataset.class_counts)
            check_totals(
                self._store.limits,
                count,
                dataset.nbytes + batch.nbytes,
                classes=len(classes),
                further_classes=sum(classes.values()) - count,
            )
            tenant = tenant_of(name)
            dataset_rows.add_batch(connection, dataset, batch, self._database.now(connection))
            stored.note_archive(connection, batch.archive, tenant, batch.nbytes)
            stored.check_added(connection, self._tenant_limits(tenant), tenant, "", batch.nbytes)
            return _Appended(dataset_rows.find(connection, name), is_new=True)


@dataclass(frozen=True, slots=True)
class _Appended:
    dataset: NamedDataset
    is_new: bool


def _check_next(dataset: NamedDataset, request: BatchRequest) -> None:
    metadata = {"dataset": dataset.name, "next_batch": str(dataset.next_batch)}
    if dataset.state is not DatasetState.OPEN:
        raise DatasetFinished(
            f"The upload of the dataset '{dataset.name}' has ended. Create another one for more examples.",
            metadata=metadata,
        )
    if request.number > dataset.next_batch:
        raise BatchMissing(
            f"Batch {request.number} does not follow the batches of the dataset '{dataset.name}'. Continue "
            f"with batch {dataset.next_batch}.",
            field="batch",
            metadata=metadata,
        )
    if request.number >= MAX_BATCHES:
        raise InvalidField(
            f"A dataset has at most {MAX_BATCHES} batches. Send more examples in each batch.", field="batch"
        )


def _check_same(connection: Connection, dataset: NamedDataset, request: BatchRequest, digest: str) -> None:
    """Check that a batch that was written before has the same content."""
    written = dataset_rows.batch_identity(connection, dataset.dataset_id, request.number)
    if written is None or written[0] != digest:
        raise BatchConflict(
            f"Batch {request.number} of the dataset '{dataset.name}' was written before with other examples. "
            "Read the dataset again; if another client uploads to it, use another name.",
            metadata={"dataset": dataset.name, "next_batch": str(dataset.next_batch)},
        )
    _check_expected(request, written[1])


def _check_expected(request: BatchRequest, checksum: bytes) -> None:
    if request.expected and request.expected != checksum:
        raise ChecksumMismatch(
            f"The checksum after batch {request.number} is {checksum.hex()} instead of "
            f"{request.expected.hex()}. Send the batch again. If that fails, earlier batches have other "
            "examples: delete the dataset and upload it again.",
            field="sha256",
        )


def _check_ids(connection: Connection, dataset: NamedDataset, batch: Batch) -> None:
    """Check that no ID of a batch was used in an earlier batch."""
    ids = {
        dataset_rows.id_digest(example.id): index
        for index, example in enumerate(batch.examples)
        if example.id
    }
    found = dataset_rows.batches_by_id(connection, dataset.dataset_id, ids.keys())
    if not found:
        return
    digest = min(found, key=lambda each: ids[each])
    index = ids[digest]
    raise InvalidField(
        f"The ID {batch.examples[index].id!r} of example {index} was used in batch {found[digest]}. Give the "
        "example another ID, or leave it out.",
        field=f"examples.examples[{index}].example_id",
    )


def _modality_of(examples: Sequence[Example], modality: Modality | None) -> Modality:
    expected = modality or _modality(examples[0].content)
    for index, example in enumerate(examples):
        if (found := _modality(example.content)) is not expected:
            raise WrongModality(
                f"Example {index} is of the kind {found.value}, but the examples before it are of the kind "
                f"{expected.value}. Use one dataset for each kind of input.",
                field=f"examples.examples[{index}].input",
            )
    return expected


def _modality(content: Content) -> Modality:
    """Return the modality of a content: an array of one dimension has features, another one is an image."""
    kind = kind_of(content)
    if kind == "text":
        return Modality.TEXT
    is_row = not isinstance(content, (bytes, str)) and content.ndim == 1
    return Modality.TENSOR if is_row else Modality.IMAGE


def _digest(examples: Sequence[Example]) -> str:
    """Return a digest of everything that was sent, in its order."""
    digest = sha256()
    for example in examples:
        content = content_digest(example.content)
        fields = [example.id, content, example.target.to_json(), example.held_out, example.weight]
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()
