"""Writes the examples of one job: an archive with each input, and the list of the whole dataset."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from zipfile import ZIP_STORED, ZipFile

from headstart_server.backbones.preprocessing.content_files import media_type_of
from headstart_server.column_json import dump_columns
from headstart_server.datasets.example_archive import archive_name, member_name, write_list
from headstart_server.datasets.label_memory import LabelMemory
from headstart_server.datasets.parents import Parent
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import InvalidField, ServiceUnavailable
from headstart_server.learning.examples.dataset import DatasetCount, DatasetLimits, DatasetSummary, Example
from headstart_server.learning.examples.stored_example import StoredExample, encode, exclusion_mark
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.storage.directory import Folder
from headstart_server.storage.disk import storage_errors


class DatasetWriter:
    """Writes the examples of one job as they arrive, and counts them.

    Args:
        folder: stores the archive when `finish` has completed it.
        task: the kind of task; None to take it from the first example.
        parent: the version that the dataset extends; None without a parent.
        labels: memory of the labels of all uploads.
    """

    def __init__(
        self,
        folder: Folder,
        job_id: str,
        limits: DatasetLimits,
        task: Task | None = None,
        parent: Parent | None = None,
        *,
        labels: LabelMemory,
    ) -> None:
        self._folder = folder
        self._job_id = job_id
        self._staged = folder.staging_path(archive_name(job_id))
        self._count = DatasetCount(limits=limits, task=task)
        self._parent = parent
        self._labels = labels
        self._added: list[StoredExample] = []
        #: The index of the example with each ID.
        self._ids: dict[str, int] = {}
        #: Bytes of the contents so far; bytes of the archive when it is finished.
        self.nbytes = 0
        #: The other jobs whose archives hold examples of the dataset; set when it is finished.
        self.archives: frozenset[str] = frozenset()
        with storage_errors():
            self._archive = ZipFile(self._staged, "w", ZIP_STORED)

    def add(self, examples: Collection[Example]) -> None:
        """Store some examples. Raise InvalidField if an ID occurs twice, or JobMemoryLimit."""
        for sent in examples:
            self._check_id(sent.id)
            digest = content_digest(sent.content)
            example = self._count.add(sent, digest)
            kind, content = encode(example.content)
            member = len(self._added)
            with storage_errors():
                self._archive.writestr(member_name(member), content)
            self.nbytes += len(content)
            self._added.append(
                StoredExample(
                    target=example.target,
                    id=example.id,
                    held_out=example.held_out,
                    digest=digest,
                    kind=kind,
                    weight=example.weight,
                    archive=self._job_id,
                    member=member,
                    media_type=media_type_of(example.content),
                    nbytes=len(content),
                    feedback=example.feedback,
                )
            )
        self._labels.take(self, self._count.further_classes)

    def add_stored(self, examples: Iterable[StoredExample]) -> None:
        """Add examples of a named dataset, whose contents stay in their archives."""
        for example in examples:
            self._check_id(example.id)
            self._count.add_of_dataset(example)
            self._added.append(example)
        self._labels.take(self, self._count.further_classes)

    def _check_id(self, example_id: str) -> None:
        index = len(self._added)
        first = self._ids.setdefault(example_id, index) if example_id else index
        if first != index:
            raise InvalidField(
                f"Expected each example ID once in one upload. Received: {example_id!r} for example {first} "
                f"and example {index}. Remove one of them, or give it another ID.",
                field=f"examples[{index}].example_id",
            )

    def digest_of_added(self, *, with_ids: bool) -> str:
        """Return the SHA-256 over the added examples, optionally with IDs, before `finish`."""
        digest = self._count.digest()
        if not with_ids:
            return digest
        ids = dump_columns(
            {"ids": sorted((example.id, example.digest) for example in self._added if example.id)}
        )
        return sha256(f"{digest}{ids}".encode()).hexdigest()

    def finish(self, *, shared: bool = True) -> DatasetSummary:
        """Complete the archive and make it durable.

        Args:
            shared: whether other replicas need the archive, because a job will train on it.

        Returns:
            The summary of the dataset, including the parent's examples.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        dataset = self._whole()
        if self._parent is not None:
            self._parent.edited.check_classes(self._count.class_counts, self._count.total)
        summary = self._count.summary()
        if self._parent is not None:
            summary = replace(
                summary,
                added_count=len(self._added),
                removed_count=len(dataset.left_out),
                edited_count=self._parent.edited.edited_count,
            )
        self.archives = frozenset(dataset.archives - {self._job_id})
        self._commit(dataset, shared=shared)
        return summary

    def finish_batch(self) -> Sequence[StoredExample]:
        """Complete the archive and make it durable, without checking that its examples suffice for training.

        Returns:
            The added examples.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        self._commit(ExampleList(examples=self._added), shared=True)
        return self._added

    def _commit(self, dataset: ExampleList, *, shared: bool) -> None:
        with storage_errors():
            write_list(self._archive, dataset)
            self._archive.close()
            self.nbytes = self._staged.stat().st_size
        self._folder.commit(archive_name(self._job_id), shared=shared)

    def _whole(self) -> ExampleList:
        """Return the list of all examples: the added ones, then the parent's that were not replaced."""
        if self._parent is None:
            return ExampleList(examples=self._added)
        ids = {example.id for example in self._added if example.id}
        self._parent.edited.check_replaced(ids)
        replaced = [example for example in self._parent.examples if example.id in ids]
        inherited = [example for example in self._parent.examples if example.id not in ids]
        for example in inherited:
            self._count.add_stored(example)
        self._labels.take(self, self._count.further_classes)
        return ExampleList(
            examples=[*self._added, *inherited],
            left_out=[exclusion_mark(one.digest) for one in (*self._parent.left_out, *replaced)],
        )

    def discard(self) -> None:
        """Remove the written files."""
        # Closing writes the archive's directory, which may fail on a full disk; the file is removed anyway.
        with suppress(OSError, ValueError):
            self._archive.close()
        # A cleaning removes leftovers. The error that ended the upload must be raised.
        with suppress(OSError):
            self._staged.unlink(missing_ok=True)
        with suppress(ServiceUnavailable):
            self._folder.remove(archive_name(self._job_id))
