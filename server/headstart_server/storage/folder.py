"""What the rooms above need of a place for files, be it a directory or a part of a bucket."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """What lies under a name, be it a file or several.

    Attributes:
        name: the name.
        nbytes: bytes of all of it.
        written: when it was last written to, in seconds since 1970.
    """

    name: str
    nbytes: int
    written: float


class Folder(Protocol):
    """Keeps under each name one file, or several. Safe to use from many threads and replicas.

    Each method raises `StorageUnavailable` if the storage does not answer, `StorageFull` if a disk is full,
    and `LocalStorageUnavailable` for any other fault of a disk, of memory or of rights. An `OSError` means
    that a file is missing.
    """

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        """Keep several files under a name, in the place of what was there.

        A directory shows all of them or none. A bucket shows each as a whole, in the order they are given: it
        is for whoever names them to prove that all are there.
        """

    def read(self, name: str, file: str) -> bytes:
        """One of several files.

        Raises:
            OSError: it is missing.
        """

    def staging_path(self, name: str) -> Path:
        """Return the local path at which to write a file before `commit` moves it to its name."""

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        """Move a staged file to its name, whole or not at all.

        Args:
            name: the name.
            staged: path of the staged file, for concurrent writers; None for `staging_path` of the name.
            shared: whether other replicas may open it.
        """

    def open(self, name: str) -> BinaryIO:
        """A file to read, at any place of it. It stays readable to its closing, whatever becomes of the name.

        Raises:
            OSError: it is missing.
        """

    def remove(self, name: str) -> None:
        """Remove all under a name; nothing happens if there is nothing."""

    def names(self) -> Sequence[str]:
        """Return all names, also of what is just being written."""

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        """Return what lies under names, also what is just being written.

        A bucket is listed once for all names that hold one file, and once more for each that holds several.

        Args:
            names: the names; None for all.
        """

    def now(self) -> float:
        """The time in seconds since 1970, by the clock that tells when entries were written.

        That may be another one than this machine's, and than the database's.
        """


def old_entries(
    folder: Folder, older_than: float, names: Collection[str] | None = None
) -> Sequence[FolderEntry]:
    """Return the entries that were not written to in so many seconds; all of them for 0.

    Args:
        folder: the folder.
        older_than: the seconds.
        names: only entries under these names; None for all.

    Raises:
        StorageUnavailable: what keeps the files does not answer.
    """
    if not older_than:
        return folder.entries(names)
    before = folder.now() - older_than
    return [entry for entry in folder.entries(names) if entry.written <= before]
