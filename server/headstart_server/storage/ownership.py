"""Ownership of artifact storage by one database, because cleanup removes the files of other databases."""

import uuid
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from headstart_server.errors import LocalStorageUnavailable
from headstart_server.storage.atomic_files import staged_file
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.failpoints import failpoint

#: Name of the ownership marker next to the artifact folders.
OWNER_FILE = "owner"


#: Name of the file that identifies a folder, wherever it is mounted.
IDENTITY_FILE = "place"


class ForeignArtifactsError(OSError):
    """The storage belongs to another database, or this database has its artifacts elsewhere."""


class OwnershipMarker(Protocol):
    """A small file next to the artifacts that names their database."""

    name: str

    def read(self) -> bytes | None:
        """Return the content; None if the marker is missing."""

    def write(self, content: bytes) -> None:
        """Write the marker, unless one exists, where the storage can detect that."""


class BucketMarker:
    """An ownership marker in a bucket."""

    def __init__(self, bucket: Bucket, root: str) -> None:
        self._bucket = bucket
        self._path = f"{root}/{OWNER_FILE}"
        self.name = f"object {self._path}"

    def read(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return self._bucket.read(self._path)
        return None

    def write(self, content: bytes) -> None:
        with failpoint("bucket.put_owner"):
            self._bucket.write(self._path, content)


class FileMarker:
    """An ownership marker in a directory."""

    def __init__(self, root: Path, file: str = OWNER_FILE) -> None:
        self._path = root / file
        self.name = f"file {self._path}"

    def read(self) -> bytes | None:
        with suppress(FileNotFoundError), storage_errors(writes=False):
            return self._path.read_bytes()
        return None

    def write(self, content: bytes) -> None:
        with storage_errors(), staged_file(self._path, replaces=False) as staging, failpoint("owner.write"):
            staging.write_bytes(content)


class FolderIdentity:
    """Identity file of an artifact folder, by which replicas detect that another folder is mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = FileMarker(root, IDENTITY_FILE)
        self._known: bytes | None = None

    def read(self) -> str:
        """Return the identity, creating it if missing.

        Raise StorageFull or LocalStorageUnavailable if it cannot be written.
        """
        found = self._file.read()
        if found is None:
            self._file.write(f"{uuid.uuid4().hex}\n".encode())
            # One of two concurrent writers finds the other's file.
            found = self._file.read() or b""
        self._known = found
        return found.decode(errors="replace").strip()

    def check(self) -> None:
        """Raise LocalStorageUnavailable if the folder is not mounted: missing files are not damage then."""
        if self._known is not None and self._file.read() != self._known:
            raise LocalStorageUnavailable(
                f"The artifact folder lacks its file '{IDENTITY_FILE}': it is not mounted, or another "
                "folder is mounted in its place. Mount it again."
            )


def marker_content(database: str) -> bytes:
    """Return the content of a database's ownership marker."""
    return f"headstart database {database}\n".encode()


def claim(marker: OwnershipMarker, database: str) -> None:
    """Write the ownership marker, or raise ForeignArtifactsError if it names another database."""
    wanted = marker_content(database)
    found = marker.read()
    if found is None:
        marker.write(wanted)
        # One of two concurrent claims finds the other's marker.
        found = marker.read()
    if found != wanted:
        owner = (found or b"nothing").decode(errors="replace").strip()[:80]
        raise ForeignArtifactsError(
            f"Expected artifacts of the database {database}. Received: {owner!r} in the {marker.name}. "
            "Give each database its own bucket, prefix or folder with --artifacts: the cleanup for one would "
            "remove the files of the other. If that database no longer exists, remove its artifacts and "
            f"this {marker.name.partition(' ')[0]}."
        )


def check_location(mark: str, name: str, recorded: tuple[str, str], database: str) -> None:
    """Check that this server's storage is the one that the database recorded.

    Args:
        mark: identity of this server's storage.

    Raises:
        ForeignArtifactsError: the storage is another one.
    """
    if recorded[0] != mark:
        raise ForeignArtifactsError(
            f"The artifacts of the database {database} are in {recorded[1]}, not in {name}. "
            "Give every replica the same --artifacts. If you have moved the artifacts, see 'Moving "
            "artifacts' in docs/operate/replicas.md."
        )
