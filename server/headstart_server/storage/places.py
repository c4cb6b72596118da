"""The folders of versions and datasets of a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headstart_server.storage.address import BucketAddress, artifacts_address
from headstart_server.storage.bucket import Bucket, open_bucket
from headstart_server.storage.bucket_folder import BucketFolder
from headstart_server.storage.copies import LocalCopies
from headstart_server.storage.directory import DirectoryFolder
from headstart_server.storage.folder import Folder
from headstart_server.storage.ownership import (
    BucketMarker,
    FileMarker,
    FolderIdentity,
    OwnershipMarker,
    check_location,
    claim,
)


class Database(Protocol):
    """What records where artifacts are."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def artifacts(self, mark: str, name: str) -> tuple[str, str]:
        """Record a place unless one is recorded; return the recorded mark and name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageRoots:
    """Where the artifacts of a server lie.

    Attributes:
        versions: the files of versions.
        datasets: the archives of examples.
        copies: copies of archives on this machine; None where they lie on its disk anyway.
        bucket: the bucket of both, and the path within it; None for a directory.
        marker: says whose artifacts they are; None in a server's own folder.
        mark: tells the folder from others; None for a bucket, and in the folder of the server's own database.
        name: what the place is called.
        folders: directories of artifacts outside the server's own folder.
    """

    versions: Folder
    datasets: Folder
    copies: LocalCopies | None = None
    bucket: tuple[Bucket, str] | None = None
    marker: OwnershipMarker | None = None
    mark: FolderIdentity | None = None
    name: str = ""
    folders: tuple[Path, ...] = ()

    @property
    def is_available(self) -> bool:
        """Whether the bucket answered the last call; a folder always does."""
        return self.bucket is None or self.bucket[0].is_available

    def check(self, database: str) -> None:
        """Check that what keeps the artifacts can be used, and by this database.

        Args:
            database: its identity.

        Raises:
            ForeignArtifactsError: the artifacts of another database lie there.
            OSError: a bucket does not exist, or may not be read.
            StorageUnavailable: a bucket does not answer.
        """
        if self.bucket is not None:
            bucket, root = self.bucket
            bucket.check(root)
        self.claim(database)

    def check_recorded(self, database: Database) -> None:
        """Check that this is the place that the database recorded, before anything is read or removed.

        Raises:
            ForeignArtifactsError: the database has its artifacts elsewhere.
            LocalStorageUnavailable: the folder cannot be used.
        """
        if self.mark is None and self.bucket is None:
            return
        mark = self.name if self.mark is None else f"folder {self.mark.read()}"
        check_location(mark, self.name, database.artifacts(mark, self.name), database.name)

    def claim(self, database: str) -> None:
        """Check, before anything is removed, that the artifacts are those of this database.

        Raises:
            ForeignArtifactsError: they are another database's.
            StorageUnavailable: a bucket does not answer.
        """
        if self.marker is not None:
            claim(self.marker, database)


def open_storage_roots(
    artifacts: str | None, data: Path, *, copies_bytes: int, own_database: bool = True
) -> StorageRoots:
    """The places of artifacts.

    Args:
        artifacts: a directory or the address of a bucket; None takes the data folder.
        data: the server's own folder.
        copies_bytes: most bytes of copies of a bucket's archives.
        own_database: whether the database lies in the server's own folder, so that both are always together.

    Raises:
        ValueError: the address is none.
        ModuleNotFoundError: the library of the bucket is not installed.
    """
    address = artifacts_address(artifacts) if artifacts is not None else data
    if not isinstance(address, BucketAddress):
        is_own = artifacts is None and own_database
        mark = None if is_own else FolderIdentity(address)
        check = (lambda: None) if mark is None else mark.check
        return StorageRoots(
            versions=DirectoryFolder(address / "versions", check),
            datasets=DirectoryFolder(address / "datasets", check),
            mark=mark,
            name=f"the folder {address.resolve()}",
            marker=FileMarker(address) if artifacts is not None else None,
            folders=(address,) if artifacts is not None else (),
        )
    bucket, root = open_bucket(address), address.root
    copies = LocalCopies(data / "copies", copies_bytes)
    return StorageRoots(
        versions=BucketFolder(bucket, f"{root}/versions", data / "scratch-versions", copies),
        datasets=BucketFolder(bucket, f"{root}/datasets", data / "uploads", copies),
        copies=copies,
        bucket=(bucket, root),
        name=f"{address.protocol}://{root}",
        marker=BucketMarker(bucket, root),
    )
