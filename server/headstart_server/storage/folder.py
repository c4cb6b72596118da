"""The interface of artifact storage: a directory, or a part of a bucket."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """A name with one or several files; `written` is the last write in seconds since 1970."""

    name: str
    nbytes: int
    written: float


class Folder(Protocol):
    """Stores one or several files under each name. Safe for concurrent threads and replicas.

    Methods raise `StorageUnavailable` if the storage does not respond, `StorageFull` if a disk is full, and
    `LocalStorageUnavailable` for any other fault of a disk, of memory or of permissions. An `OSError` means
    that a file is missing.
    """

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        """Store several files under a name, replacing its previous files.

        A directory shows all of them or none. A bucket shows each file as a whole, in the given order: the
        caller
        must be able to verify that all are present.
        """

    def read(self, name: str, file: str) -> bytes:
        """Return the content of one of several files; raise `OSError` if it is missing."""

    def staging_path(self, name: str) -> Path:
        """Return the local path at which to write a file before `commit` moves it to its name."""

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        """Move a staged file, at `staging_path` or a given path, to its name, whole or not at all."""

    def open(self, name: str) -> BinaryIO:
        """Open a seekable file that survives the removal of its name; raise `OSError` if it is missing."""

    def remove(self, name: str) -> None:
        """Remove everything under a name, if anything."""

    def names(self) -> Sequence[str]:
        """Return all names, including files that are being written."""

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        """Return the entries of names, or all entries, including files that are being written.

        A bucket is listed once for all names with one file, and once more for each name with several.
        """

    def now(self) -> float:
        """Return the time in seconds since 1970, by the clock of the entries' write times.

        That clock may differ from this machine's and the database's.
        """


def old_entries(
    folder: Folder, older_than: float, names: Collection[str] | None = None
) -> Sequence[FolderEntry]:
    """Return the entries, of all names or of some, last written at least `older_than` seconds ago."""
    if not older_than:
        return folder.entries(names)
    before = folder.now() - older_than
    return [entry for entry in folder.entries(names) if entry.written <= before]
