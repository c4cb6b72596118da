"""Storage roots: the folders of versions and datasets of a server."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from headstart_server.errors import StorageUnavailable
from headstart_server.storage.address import BucketAddress, artifacts_address
from headstart_server.storage.bucket import Bucket, ObjectFacts, open_bucket
from headstart_server.storage.copies import LocalCopies
from headstart_server.storage.directory import DirectoryFolder, Folder, FolderEntry
from headstart_server.storage.failpoints import failpoint
from headstart_server.storage.ownership import (
    CLOCK_FILE,
    BucketIdentity,
    BucketMarker,
    Database,
    FileMarker,
    FolderIdentity,
    Owner,
    OwnershipMarker,
    StorageIdentity,
    check_owner,
    claim,
    folder_name,
)


class BucketFolder:
    """Stores files as objects; opening one copies it to the local disk first.

    Objects are written atomically. Nothing is renamed: the database records which names are complete.

    Args:
        scratch: directory of files to upload; private to this process and emptied.
        check: raises an error if the bucket is not the one that the database recorded.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: str,
        scratch: Path,
        copies: LocalCopies,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._opened = bucket
        self._check = check
        self._root = root
        self._scratch = scratch
        self._copies = copies
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            path.unlink()

    @property
    def _bucket(self) -> Bucket:
        self._check()
        return self._opened

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            with failpoint("bucket.put_file"):
                self._bucket.write(f"{self._root}/{name}/{file}", content)

    def read(self, name: str, file: str) -> bytes:
        return self._bucket.read(f"{self._root}/{name}/{file}")

    def staging_path(self, name: str) -> Path:
        return (self._scratch / name).with_suffix(".part")

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        staging = staged or self.staging_path(name)
        if not shared:
            os.replace(staging, self._scratch / name)
            return
        with failpoint("bucket.upload"):
            self._bucket.upload(staging, self._path(name))
        # The replica that accepted a job often runs it.
        self._copies.adopt(name, self._bucket.version(self._path(name)), staging)

    def open(self, name: str) -> BinaryIO:
        with suppress(FileNotFoundError):
            return (self._scratch / name).open("rb")
        path = self._path(name)
        version = self._bucket.version(path)
        return self._copies.open(name, version, lambda file: self._bucket.download(path, file))

    def discard_copy(self, name: str) -> bool:
        self._copies.discard(name)
        return True

    def remove(self, name: str) -> None:
        private = self._scratch / name
        if private.exists():
            # Not shared, so no other replica has it.
            private.unlink(missing_ok=True)
            return
        self._copies.remove(name)
        with failpoint("bucket.remove"):
            self._bucket.remove(list(self._bucket.list(self._path(name))))

    def names(self) -> Sequence[str]:
        return list(self._top())

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        found: list[FolderEntry] = []
        several = names
        if names is None:
            there = self._top()
            several = [name for name, file in there.items() if file is None]
            found += [
                FolderEntry(name=name, nbytes=file[0], written=file[1])
                for name, file in there.items()
                if file
            ]
        for name in several or ():
            files = self._bucket.list(self._path(name)).values()
            if files:
                nbytes, written = sum(file[0] for file in files), max(file[1] for file in files)
                found.append(FolderEntry(name=name, nbytes=nbytes, written=written))
        return found

    def now(self) -> float:
        return self._bucket.now(self._path(CLOCK_FILE))

    def _top(self) -> Mapping[str, ObjectFacts | None]:
        begin = len(self._root) + 1
        there = {path[begin:]: file for path, file in self._bucket.list_top(self._root).items()}
        there.pop(CLOCK_FILE, None)
        return there

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageRoots:
    """Folders of a server's artifacts."""

    versions: Folder
    datasets: Folder
    captures: Folder  # contents and features of captured inputs
    marker: OwnershipMarker
    copies: LocalCopies | None = None  # local copies of archives in a bucket; None on a disk
    bucket: Bucket | None = None  # bucket of the folders; None for a directory
    root: str = ""  # the bucket and the prefix of the artifacts
    identity: StorageIdentity | None = None  # None in the folder of the server's own database
    name: str = ""
    folders: tuple[Path, ...] = ()  # artifact directories outside the server's own folder

    @property
    def is_available(self) -> bool:
        """Whether the bucket responded to the last call; always true for a folder."""
        return self.bucket is None or self.bucket.is_available

    def notice_recovery(self) -> None:
        """Try an unavailable bucket again, because perhaps no call needs it."""
        if self.bucket is not None and not self.bucket.is_available:
            # The circuit breaker has logged the outage.
            with suppress(StorageUnavailable):
                self.bucket.check(self.root)

    def check(self, database: Database) -> None:
        """Check that the storage belongs to this database, which records it, before anything is used.

        Raises:
            ForeignArtifactsError: the database has its artifacts elsewhere, or others are in this storage.
            LocalStorageUnavailable: the folder cannot be used.
            OSError: a bucket does not exist, or rejects the credentials or their permissions.
            StorageUnavailable: a bucket does not respond; it is then checked before it is used.
        """
        with _refusals():
            if self.identity is not None:
                self.identity.confirm(database, partial(claim, self.marker, database))
            claim(self.marker, database)

    def check_unowned(self, database: str) -> None:
        """Check that there are no artifacts, before a database with this name in messages is created.

        Raise ForeignArtifactsError if there are.
        """
        check_owner(self.marker, database, None)

    def claim(self, database: Owner) -> None:
        """Check that the artifacts belong to this database, before anything is removed.

        Raise ForeignArtifactsError if they belong to another database, and StorageUnavailable if a bucket
        does not respond.
        """
        if self.identity is not None:
            self.identity.check()
        claim(self.marker, database)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise an OSError for a bucket that rejects the server, because waiting does not help."""
    try:
        yield
    except StorageUnavailable as error:
        if not error.is_refused:
            raise
        raise OSError(
            f"Cannot use --artifacts: {error.detail}. Create the bucket, or correct --artifacts, the "
            "credentials or their permissions."
        ) from error


def open_storage_roots(
    artifacts: str | None,
    data: Path,
    *,
    copies_bytes: int,
    own_database: bool = True,
    local: Path | None = None,
) -> StorageRoots:
    """Open the storage of artifacts.

    Args:
        artifacts: a directory or the address of a bucket; None for the data folder.
        data: the server's own folder.
        copies_bytes: byte limit for local copies of a bucket's archives.
        local: the folder of this process's own copies and uploads; None for the server's.
        own_database: whether the database is in the server's own folder, next to the artifacts.

    Raises:
        ValueError: the address is invalid.
        ModuleNotFoundError: the library of the bucket is not installed.
    """
    address = artifacts_address(artifacts) if artifacts is not None else data
    if not isinstance(address, BucketAddress):
        is_own = artifacts is None and own_database
        place = None if is_own else FolderIdentity(address)
        check = (lambda: None) if place is None else place.check
        return StorageRoots(
            versions=DirectoryFolder(address / "versions", check),
            datasets=DirectoryFolder(address / "datasets", check),
            captures=DirectoryFolder(address / "captures", check),
            identity=place,
            name=folder_name(address),
            marker=FileMarker(address),
            folders=(address,) if artifacts is not None else (),
        )
    bucket, root = open_bucket(address), address.root
    local = local or data
    copies = LocalCopies(local / "copies", copies_bytes)
    name = f"{address.protocol}://{root}"
    identity = BucketIdentity(bucket, root, name)

    def folder(name: str, scratch: str) -> BucketFolder:
        return BucketFolder(bucket, f"{root}/{name}", local / scratch, copies, identity.check)

    return StorageRoots(
        versions=folder("versions", "scratch-versions"),
        datasets=folder("datasets", "uploads"),
        captures=folder("captures", "scratch-captures"),
        copies=copies,
        bucket=bucket,
        root=root,
        identity=identity,
        name=name,
        marker=BucketMarker(bucket, root),
    )
