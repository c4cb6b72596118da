"""The stored examples of jobs and versions: each job has a ZIP archive of the examples sent with it.

An archive holds each input as a separate member and the list of the whole dataset, which names the archive of
each example, because a parent's examples stay in their archives. Any ZIP tool can read both.
"""

import os
import uuid
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import TypeAlias
from zipfile import ZIP_STORED, ZipFile

from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.datasets.dataset_writer import DatasetWriter
from headstart_server.datasets.example_archive import (
    INDEX,
    ArchiveReader,
    OpenArchive,
    archive_name,
    damage_reported,
    member_name,
    read_again,
    write_list,
)
from headstart_server.datasets.label_memory import LabelMemory
from headstart_server.datasets.parents import Parent
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ArtifactDamaged, HeadstartError
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.learning.examples.dataset import (
    DatasetLimits,
    Example,
    ExampleFault,
    find_label_conflicts,
)
from headstart_server.learning.examples.stored_example import StoredExample, decode, encode, exclusion_mark
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.storage.attempts import Attempts
from headstart_server.storage.directory import DirectoryFolder, Folder, old_entries
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.zip_member import read_stored

_SUFFIX = ".zip"

#: The job in whose archive an example is stored, and the example's position there.
ArchiveMember: TypeAlias = tuple[str, int]


class Dataset:
    """The examples of a job. Contents are read one at a time, from any thread.

    Args:
        erased: returns the members of some archives whose examples were erased.

    Attributes:
        examples: the examples in the order of their indexes.
        left_out: marks of the parent's examples that were excluded or replaced.
    """

    def __init__(
        self,
        listed: ExampleList,
        contents: ArchiveReader,
        erased: Callable[[Collection[str]], Collection[ArchiveMember]],
    ) -> None:
        self.examples = listed.examples
        self.left_out = listed.left_out
        self._contents = contents
        self._erased = erased

    def __len__(self) -> int:
        return len(self.examples)

    def read(self, index: int) -> Content:
        """Return the content of an example. Raise ExampleErasedError if it was erased meanwhile."""
        example = self.examples[index]
        try:
            return self._contents.read(example)
        except ArtifactDamaged as error:
            # An erasure is recorded before it rewrites an archive.
            if (example.archive, example.member) in self._erased({example.archive}):
                raise ExampleErasedError from error
            raise

    def contradictions(self, modality: Modality) -> list[ExampleFault]:
        """Return the examples whose content also occurs with another label, in order.

        Rows of numbers never contradict: a row describes its subject only in part. Neither do numbers to
        predict, because measurements differ by noise.
        """
        if modality is Modality.TENSOR or any(each.target.task is Task.REGRESSION for each in self.examples):
            return []
        return find_label_conflicts(
            [example.digest for example in self.examples],
            [example.target for example in self.examples],
            [example.id for example in self.examples],
        )

    def fault(self, index: int, error: HeadstartError) -> ExampleFault:
        """Return the fault of an example from the error that decoding it raised."""
        return ExampleFault(
            index=index, id=self.examples[index].id, reason=error.reason, message=error.message
        )

    def close(self) -> None:
        """Close the archives."""
        self._contents.close()


class DatasetStore:
    """Keeps the archives of jobs in a folder.

    Args:
        erased: returns the members of some archives whose examples were erased.
        label_bytes: maximum memory of the labels of all uploads; None for no limit.
    """

    def __init__(
        self,
        root: Folder | Path,
        limits: DatasetLimits,
        erased: Callable[[Collection[str]], Collection[ArchiveMember]] = lambda _: (),
        *,
        label_bytes: int | None = None,
    ) -> None:
        self._folder: Folder = DirectoryFolder(root) if isinstance(root, Path) else root
        self._labels = LabelMemory(label_bytes)
        self.limits = limits
        self.erased = erased
        self._removals = Attempts()

    def writer(self, job_id: str, task: Task | None = None, parent: Parent | None = None) -> DatasetWriter:
        """Return a writer for the dataset of a new job.

        Args:
            task: the kind of task; None to take it from the first example.
            parent: the version that the dataset extends; None without a parent.
        """
        return DatasetWriter(self._folder, job_id, self.limits, task, parent, labels=self._labels)

    def open(self, job_id: str) -> Dataset:
        """Return the dataset of a job, without examples that were erased since it was accepted.

        Raise ArtifactDamaged if its archive is missing or damaged, and StorageUnavailable if the bucket does
        not answer.
        """
        listed = self.listed(job_id)
        reader = self.reader()
        try:
            # Opened before erased examples are read, so that a concurrent erasure does not fail the attempt.
            reader.hold(listed.archives)
            gone = set(self.erased(listed.archives))
        except BaseException:
            reader.close()
            raise
        return Dataset(without(listed, gone) if gone else listed, reader, self.erased)

    def read_listed(self, listed: ExampleList) -> Dataset:
        """Return a dataset of stored examples; close it."""
        return Dataset(listed, self.reader(), self.erased)

    def listed(self, job_id: str) -> ExampleList:
        """Return the list in a job's archive; raise StorageUnavailable if the bucket does not answer."""
        return read_again(self._folder, job_id, lambda: self._listed(job_id))

    def _listed(self, job_id: str) -> ExampleList:
        with damage_reported(job_id), closing(OpenArchive(self._folder, job_id)) as archive:
            return archive.listed()

    def rewrite(
        self, job_id: str, members: Collection[int], listed_in: Collection[ArchiveMember] = ()
    ) -> int:
        """Rewrite an archive without some members and without erased ones, if it contains or lists them.

        Returns:
            The number of contents that were removed; 0 if the archive does not exist.

        Raises:
            ArtifactDamaged: it cannot be read.
            StorageUnavailable: the bucket does not answer.
        """
        unwanted = {*((job_id, member) for member in members), *listed_in}
        count = 0
        try:
            while True:
                removed, archives = read_again(self._folder, job_id, lambda: self._rewrite(job_id, unwanted))
                count += removed
                # Another replica may have rewritten it at the same time, without the members it knew of.
                if unwanted.issuperset(self.erased(archives)):
                    return count
        except ArtifactDamaged as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return count
            raise

    def _rewrite(self, job_id: str, unwanted: set[ArchiveMember]) -> tuple[int, set[str]]:
        """Rewrite an archive once, and add the erased members that it may name to the unwanted ones.

        Return the number of contents that were removed, and the archives that it names.
        """
        written = self._folder.staging_path(f"{job_id}.{uuid.uuid4().hex}{_SUFFIX}")
        try:
            with damage_reported(job_id), closing(OpenArchive(self._folder, job_id)) as archive:
                listed = archive.listed()
                archives = {job_id, *listed.archives}
                unwanted.update(self.erased(archives))
                gone = {member_name(member) for name, member in unwanted if name == job_id}
                count = len(gone & set(archive.members.namelist()))
                changes = count or any((one.archive, one.member) in unwanted for one in listed.examples)
                if changes:
                    with storage_errors():
                        _copy(archive.members, written, gone, without(listed, unwanted))
            if changes:
                self._folder.commit(archive_name(job_id), staged=written)
            return count, archives
        finally:
            written.unlink(missing_ok=True)

    def write_single(self, archive: str, example: Example) -> int:
        """Write an archive of one example, durable when this returns; return the bytes of the archive.

        Raise StorageUnavailable if the bucket does not answer.
        """
        kind, content = encode(example.content)
        listed = StoredExample(
            target=example.target,
            id=example.id,
            held_out=example.held_out,
            digest=content_digest(example.content),
            kind=kind,
            weight=example.weight,
            archive=archive,
        )
        staged = self._folder.staging_path(f"{archive}.{uuid.uuid4().hex}{_SUFFIX}")
        try:
            with storage_errors():
                with ZipFile(staged, "w", ZIP_STORED) as members:
                    members.writestr(member_name(listed.member), content)
                    write_list(members, ExampleList(examples=[listed]))
                nbytes = staged.stat().st_size
            self._folder.commit(archive_name(archive), staged=staged)
        finally:
            staged.unlink(missing_ok=True)
        return nbytes

    def read(self, example: StoredExample) -> Content:
        """Return the content of one example, without opening its whole archive."""
        return read_again(self._folder, example.archive, lambda: self._read(example))

    def _read(self, example: StoredExample) -> Content:
        with damage_reported(example.archive), self._folder.open(archive_name(example.archive)) as file:
            return decode(example.kind, read_stored(file, member_name(example.member), example.member))

    def reader(self) -> ArchiveReader:
        """Return a reader of the contents of any examples; close it."""
        return ArchiveReader(self._folder)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each complete archive by its job."""
        sizes = {}
        for entry in self._folder.entries():
            job_id, suffix = os.path.splitext(entry.name)
            if suffix == _SUFFIX:
                sizes[job_id] = entry.nbytes
        return sizes

    def remove(self, job_id: str) -> None:
        """Remove the archive of a job; do nothing if it is missing."""
        self._folder.remove(archive_name(job_id))

    def remove_all_but(
        self, needed: Callable[[Collection[str]], Collection[str]], *, older_than: float = 0.0
    ) -> int:
        """Remove all files except needed archives, including interrupted uploads.

        Args:
            needed: returns the jobs, among the given ones, whose archives are needed.
            older_than: keep files written within this many seconds, because they may be uploads on another
                replica, or belong to a job that was just accepted.

        Returns:
            The number of files removed.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        names = [entry.name for entry in old_entries(self._folder, older_than)]
        jobs = {name: job_id for name in names if archive_name(job_id := os.path.splitext(name)[0]) == name}
        kept = set(needed(jobs.values()))
        leftovers = [name for name in names if jobs.get(name) not in kept]
        self._removals.run_all(leftovers, self._folder.remove)
        return len(leftovers)


def without(listed: ExampleList, gone: Collection[ArchiveMember]) -> ExampleList:
    """Return a list without the examples at some positions; these are marked as left out."""
    removed = [example for example in listed.examples if (example.archive, example.member) in gone]
    kept = [example for example in listed.examples if (example.archive, example.member) not in gone]
    return ExampleList(
        examples=kept, left_out=[*listed.left_out, *(exclusion_mark(example.digest) for example in removed)]
    )


def _copy(source: ZipFile, target: Path, gone: Collection[str], listed: ExampleList) -> None:
    with ZipFile(target, "w", ZIP_STORED) as copy:
        for name in source.namelist():
            if name not in gone and name != INDEX:
                copy.writestr(name, source.read(name))
        write_list(copy, listed)
