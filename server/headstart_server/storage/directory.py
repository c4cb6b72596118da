"""A folder on a disk: files are staged, synced, then renamed."""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from headstart_server.errors import LocalStorageUnavailable
from headstart_server.storage.atomic_files import sync_folder, write_synced
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.failpoints import failpoint


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
        caller must be able to verify that all are present.
        """

    def read(self, name: str, file: str) -> bytes:
        """Return the content of one of several files; raise `OSError` if it is missing."""

    def staging_path(self, name: str) -> Path:
        """Return the local path at which to write a file before `commit` moves it to its name."""

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        """Move a staged file, at `staging_path` or a given path, to its name, whole or not at all."""

    def open(self, name: str) -> BinaryIO:
        """Open a seekable file that survives the removal of its name; raise `OSError` if it is missing."""

    def discard_copy(self, name: str) -> bool:
        """Remove a damaged local copy of a file; return whether to read again, from another copy."""

    def remove(self, name: str) -> None:
        """Remove everything under a name, if anything; raise an error if something is left."""

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


_STAGING = ".staging"


def has_names(root: Path) -> bool:
    """Return whether a directory, which need not exist, has files."""
    with storage_errors(writes=False):
        return root.is_dir() and any(path.name != _STAGING for path in root.iterdir())


#: Beginning of the names under which NFS keeps files that were removed while they were open.
_NFS_OPEN = ".nfs"


class DirectoryFolder:
    """Stores files in a directory, which replicas may share if renames are visible to all of them.

    Args:
        check: called when a file is missing; raises if the whole directory is.
    """

    def __init__(self, root: Path, check: Callable[[], None] = lambda: None) -> None:
        self._root = root
        self._check = check
        root.mkdir(parents=True, exist_ok=True)
        # Never emptied completely: other replicas may be writing.
        self._staging = root / _STAGING

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        try:
            with storage_errors():
                self._place(name, files)
        except Exception:
            # A full disk needs the space.
            shutil.rmtree(self._staging / name, ignore_errors=True)
            raise

    def _place(self, name: str, files: Mapping[str, bytes]) -> None:
        self._check_presence()
        staging, final = self._staging / name, self._root / name
        _remove_folder(staging)
        staging.mkdir(parents=True)
        for file, content in files.items():
            with failpoint("folder.write_file"):
                write_synced(staging / file, content)
        with failpoint("folder.sync"):
            sync_folder(staging)
        _remove_folder(final)
        self._publish(staging, final)

    def read(self, name: str, file: str) -> bytes:
        with self._missing_checked(), storage_errors(writes=False):
            return (self._root / name / file).read_bytes()

    def staging_path(self, name: str) -> Path:
        self._check_presence()
        return (self._root / name).with_suffix(".part")

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        del shared
        staging = staged or self.staging_path(name)
        with storage_errors():
            with failpoint("archive.sync"), staging.open("rb") as file:
                os.fsync(file.fileno())
            self._publish(staging, self._root / name)

    def _publish(self, staging: Path, final: Path) -> None:
        with failpoint("folder.rename"):
            os.rename(staging, final)
        with failpoint("folder.sync_root"):
            sync_folder(self._root)

    def open(self, name: str) -> BinaryIO:
        with self._missing_checked(), storage_errors(writes=False):
            return (self._root / name).open("rb")

    def discard_copy(self, name: str) -> bool:
        del name
        return False

    def remove(self, name: str) -> None:
        with storage_errors(writes=False):
            for path in (self._staging / name, self._root / name):
                with failpoint("folder.remove"):
                    if path.is_dir():
                        _remove_folder(path)
                    else:
                        path.unlink(missing_ok=True)

    def names(self) -> Sequence[str]:
        with storage_errors(writes=False):
            return list({path.name for path in self._paths()})

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        found: dict[str, FolderEntry] = {}
        paths = (
            self._paths()
            if names is None
            else (root / name for name in names for root in (self._staging, self._root))
        )
        with storage_errors(writes=False):
            for path in paths:
                # It may disappear meanwhile.
                with suppress(FileNotFoundError):
                    found[path.name] = _entry(path)
        return list(found.values())

    def now(self) -> float:
        # Without a time argument the file system's clock sets it: over a network the server's.
        os.utime(self._root)
        return self._root.stat().st_mtime

    def _check_presence(self) -> None:
        """Raise LocalStorageUnavailable instead of writing into another folder in the place of this one."""
        if not self._root.is_dir():
            raise LocalStorageUnavailable(
                f"The artifact folder lacks its subfolder '{self._root.name}': it was removed or is not "
                "mounted. Mount or restore it, and restart the server."
            )

    @contextmanager
    def _missing_checked(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._check()
            raise

    def _paths(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from self._staging.iterdir()
        yield from (path for path in self._root.iterdir() if path.name != _STAGING)


def _remove_folder(folder: Path) -> None:
    """Remove a folder with its contents; other replicas may remove them at the same time.

    Raise OSError if something is left, except files that NFS keeps until their readers close them.
    """
    with suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                _remove_folder(path)
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                if error.errno != errno.EBUSY or not path.name.startswith(_NFS_OPEN):
                    raise
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not all(
                path.name.startswith(_NFS_OPEN) for path in folder.iterdir()
            ):
                raise


def _entry(path: Path) -> FolderEntry:
    facts = path.stat()
    nbytes = sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else facts.st_size
    return FolderEntry(name=path.name, nbytes=nbytes, written=facts.st_mtime)
