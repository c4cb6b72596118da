"""What the rooms above need of a place for files, be it a directory or a part of a bucket."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
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

    def aside(self, name: str) -> Path:
        """Where a file is written before `take` keeps it under its name; on a disk of this machine."""

    def take(self, name: str, *, written: Path | None = None, shared: bool = True) -> None:
        """Keep what was written aside, whole or not at all.

        Args:
            name: the name.
            written: where it was written: `aside` of another name, for several who may write at once. None
                for that of the name.
            shared: whether other replicas shall find it.
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

    def entries(self, names: Collection[str] | None = None) -> Sequence[Entry]:
        """Return what lies under names, also what is just being written.

        A bucket is listed once for all names that hold one file, and once more for each that holds several.

        Args:
            names: the names; None for all.
        """

    def now(self) -> float:
        """The time in seconds since 1970, by the clock that tells when entries were written.

        That may be another one than this machine's, and than the database's.
        """


def old_entries(folder: Folder, older_than: float, names: Collection[str] | None = None) -> Sequence[Entry]:
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
