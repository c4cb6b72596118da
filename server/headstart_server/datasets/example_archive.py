"""Formats of stored contents in archives, and readers of many archives."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar
from zipfile import ZIP_DEFLATED, ZipFile

from headstart_server.backbones.contract.backbone import Content
from headstart_server.column_json import dump_columns, load_columns
from headstart_server.errors import ArtifactDamaged, ServiceUnavailable, StorageFull
from headstart_server.learning.examples.stored_example import StoredExample, decode
from headstart_server.learning.metrics.example_list import LEVEL, ExampleList
from headstart_server.lru import LruCache
from headstart_server.models.registry import Registry
from headstart_server.models.version import Version
from headstart_server.storage.directory import Folder
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.zip_member import check_methods

Result = TypeVar("Result")

#: Name of the member that lists the examples.
INDEX = "examples.json"
#: Maximum open archives; each needs a file and the list of its members in memory.
MAX_OPEN = 8
#: Maximum archives of one dataset that are opened in advance and kept open.
MAX_HELD = 256


def archive_name(job_id: str) -> str:
    """Return the name of a job's archive in the folder of all archives."""
    return f"{job_id}.zip"


def member_name(index: int) -> str:
    """Return the name of the content with this index in an archive."""
    return f"{index:08d}"


def write_list(archive: ZipFile, listed: ExampleList) -> None:
    """Write the list of a dataset into an archive."""
    content = dump_columns(listed.to_json())
    archive.writestr(INDEX, content, compress_type=ZIP_DEFLATED, compresslevel=LEVEL)


class OpenArchive:
    """An archive that is open for reading.

    Raises:
        OSError or BadZipFile: it is missing or damaged.
        StorageUnavailable: the bucket does not answer.
    """

    def __init__(self, folder: Folder, job_id: str) -> None:
        self._file = folder.open(archive_name(job_id))
        try:
            self.members = ZipFile(self._file)
            check_methods(self.members.infolist())
        except BaseException:
            self._file.close()
            raise

    def listed(self) -> ExampleList:
        """Return the list of the dataset; raise an exception of any kind if it is damaged."""
        return ExampleList.from_json(load_columns(self.members.read(INDEX)))

    def close(self) -> None:
        """Close the archive."""
        self.members.close()
        self._file.close()


class ArchiveReader:
    """Reads the contents of examples from all archives, one at a time, from any thread.

    Archives are opened on first use; the most recently used ones stay open.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: LruCache[str, OpenArchive] = LruCache(MAX_OPEN)
        self._closed = False

    def read(self, example: StoredExample) -> Content:
        """Return the content of an example; raise StorageUnavailable if the bucket does not answer."""
        return read_again(
            self._folder, example.archive, lambda: self._content(example), lambda: self._drop(example.archive)
        )

    def hold(self, archives: Collection[str]) -> None:
        """Open archives and keep them open, so that reads from them do not wait for the bucket.

        Damaged archives are reported when they are read.
        """
        for job_id in sorted(archives)[:MAX_HELD]:
            with suppress(ArtifactDamaged), damage_reported(job_id), self._lock:
                self._open.limit = max(self._open.limit, len(self._open) + 1)
                self._archive(job_id)

    def close(self) -> None:
        """Close the archives."""
        with self._lock:
            self._closed = True
            for job_id in self._open:
                if (archive := self._open.pop(job_id)) is not None:
                    archive.close()

    def _content(self, example: StoredExample) -> Content:
        with damage_reported(example.archive):
            with self._lock:
                content = self._archive(example.archive).members.read(member_name(example.member))
            return decode(example.kind, content)

    def _drop(self, job_id: str) -> None:
        with self._lock:
            if (archive := self._open.pop(job_id)) is not None:
                archive.close()

    def _archive(self, job_id: str) -> OpenArchive:
        if self._closed:
            raise ValueError("the reader was closed")
        archive = self._open.get(job_id)
        if archive is None:
            archive = OpenArchive(self._folder, job_id)
            for _, evicted in self._open.add(job_id, archive):
                evicted.close()
        return archive


@contextmanager
def damage_reported(job_id: str) -> Iterator[None]:
    """Convert exceptions from reading a job's archive to `ArtifactDamaged`, except storage errors."""
    try:
        with storage_errors(writes=False):
            yield
    except (ServiceUnavailable, StorageFull):
        raise
    except Exception as error:
        # zipfile raises many exceptions for damaged headers, such as RuntimeError ("is encrypted").
        raise ArtifactDamaged(
            f"The stored examples of job {job_id} are damaged or missing ({error}). "
            "Send the fine-tune again.",
            metadata={"job_id": job_id},
        ) from error


def read_again(
    folder: Folder, job_id: str, read: Callable[[], Result], drop: Callable[[], None] = lambda: None
) -> Result:
    """Return the result of `read`; if it finds an archive damaged, repeat it once with a new local copy.

    Args:
        drop: closes the damaged copy.
    """
    try:
        return read()
    except ArtifactDamaged as error:
        # An archive without the member was rewritten, and is intact.
        is_intact = isinstance(error.__cause__, FileNotFoundError | KeyError)
        if is_intact or not folder.discard_copy(archive_name(job_id)):
            raise
    drop()
    return read()


class RetainedExamples:
    """Reads examples of versions.

    Args:
        open_reader: opens a reader of archives.
    """

    def __init__(self, registry: Registry, open_reader: Callable[[], ArchiveReader]) -> None:
        self._registry = registry
        self._open_reader = open_reader

    def contents(self, version: Version, indexes: Collection[int]) -> dict[int, Content]:
        """Return the contents of examples by index; omit contents that are not stored or damaged.

        Raise VersionNotFound if the version was deleted, and ArtifactDamaged if its list is damaged.
        """
        listed = self._registry.files.examples(version) if version.has_examples else None
        if listed is None:
            return {}
        found: dict[int, Content] = {}
        with closing(self._open_reader()) as reader:
            for index in indexes:
                if 0 <= index < len(listed.examples):
                    # An archive may be removed while it is read, because the stored examples are limited.
                    try:
                        found[index] = reader.read(listed.examples[index])
                    except ArtifactDamaged:
                        continue
        return found
