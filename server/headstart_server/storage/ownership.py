"""Whose artifacts lie in a place: one database's, for the cleaning of one removes the files of all others."""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from headstart_server.errors import LocalStorageUnavailable
from headstart_server.failpoints import failpoint
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.disk import storage_errors

#: The name of the note beside the folders of artifacts.
OWNER_FILE = "owner"


#: The name of the mark that tells a folder from others, wherever it is mounted.
IDENTITY_FILE = "place"


class ForeignArtifactsError(OSError):
    """The artifacts of another database lie there, or those of this one lie elsewhere."""


class OwnershipMarker(Protocol):
    """A few bytes that are kept beside the artifacts."""

    name: str

    def read(self) -> bytes | None:
        """What it says; None if there is none."""

    def write(self, content: bytes) -> None:
        """Write it, unless there is one already where that can be told."""


class BucketMarker:
    """A note in a bucket.

    Args:
        bucket: the bucket.
        root: where the artifacts lie in it.
    """

    def __init__(self, bucket: Bucket, root: str) -> None:
        self._bucket = bucket
        self._path = f"{root}/{OWNER_FILE}"
        self.name = f"object {self._path}"

    def read(self) -> bytes | None:
        """As `OwnershipMarker.read`."""
        with suppress(FileNotFoundError):
            return self._bucket.read(self._path)
        return None

    def write(self, content: bytes) -> None:
        """As `OwnershipMarker.write`."""
        with failpoint("bucket.put_owner"):
            self._bucket.write(self._path, content)


class FileMarker:
    """A note in a directory.

    Args:
        root: where the artifacts lie.
        file: the name of the marker.
    """

    def __init__(self, root: Path, file: str = OWNER_FILE) -> None:
        self._path = root / file
        self.name = f"file {self._path}"

    def read(self) -> bytes | None:
        """As `OwnershipMarker.read`."""
        with suppress(FileNotFoundError), storage_errors(writes=False):
            return self._path.read_bytes()
        return None

    def write(self, content: bytes) -> None:
        """As `OwnershipMarker.write`."""
        aside = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.part")
        try:
            with storage_errors():
                with failpoint("owner.write"):
                    aside.write_bytes(content)
                with failpoint("owner.rename"):
                    _name(aside, self._path)
        finally:
            aside.unlink(missing_ok=True)


def _name(aside: Path, path: Path) -> None:
    """Give a file its name, whole, and not in the place of one that another server has just written."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    except OSError:
        # Not every file system has links.
        os.replace(aside, path)


class FolderIdentity:
    """The mark of a folder of artifacts, by which its replicas know that it is the same, and mounted.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = FileMarker(root, IDENTITY_FILE)
        self._known: bytes | None = None

    def read(self) -> str:
        """Return the mark; a folder without one gets one.

        Raises:
            StorageFull or LocalStorageUnavailable: it cannot be written.
        """
        found = self._file.read()
        if found is None:
            self._file.write(f"{uuid.uuid4().hex}\n".encode())
            # Of two that write one at the same time, one finds the other's.
            found = self._file.read() or b""
        self._known = found
        return found.decode(errors="replace").strip()

    def check(self) -> None:
        """Check that the folder is still there: while it is not, no file of it is damaged.

        Raises:
            LocalStorageUnavailable: its mark is missing or another one.
        """
        if self._known is not None and self._file.read() != self._known:
            raise LocalStorageUnavailable(
                f"The artifact folder lacks its file '{IDENTITY_FILE}': it is not mounted, or another "
                "folder is mounted in its place. Mount it again."
            )


def marker_content(database: str) -> bytes:
    """Return the note of a database."""
    return f"headstart database {database}\n".encode()


def claim(marker: OwnershipMarker, database: str) -> None:
    """Take a place for a database, or find that it is the database's already.

    Args:
        marker: the place's.
        database: identity of the database.

    Raises:
        ForeignArtifactsError: the artifacts of another database lie there.
        StorageUnavailable: the bucket does not answer.
        StorageFull: the disk is full.
    """
    wanted = marker_content(database)
    found = marker.read()
    if found is None:
        marker.write(wanted)
        # Of two that claim it at once one finds the other's.
        found = marker.read()
    if found != wanted:
        said = (found or b"nothing").decode(errors="replace").strip()[:80]
        raise ForeignArtifactsError(
            f"Expected artifacts of the database {database}. Received: the {marker.name} says {said!r}. "
            "Give each database its own bucket, prefix or folder with --artifacts: the cleaning of "
            "one would remove the files of the other. If that database is no more, remove what it left with "
            f"this {marker.name.partition(' ')[0]}."
        )


def check_location(mark: str, name: str, recorded: tuple[str, str], database: str) -> None:
    """Check that the artifacts of a database are where this server looks for them.

    Args:
        mark: what tells the place of this server from others.
        name: what it is called.
        recorded: mark and name of the place that the database recorded.
        database: its name.

    Raises:
        ForeignArtifactsError: they are elsewhere.
    """
    if recorded[0] != mark:
        raise ForeignArtifactsError(
            f"The artifacts of the database {database} are in {recorded[1]}, not in {name}. "
            "Give every replica the same --artifacts. If you have moved the artifacts, see 'Moving "
            "artifacts' in docs/operations.md."
        )
