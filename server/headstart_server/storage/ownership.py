"""Ownership of artifact storage by one database, because cleanup removes the files of other databases."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from headstart_server.errors import LocalStorageUnavailable, StorageUnavailable
from headstart_server.storage.atomic_files import staged_file, sync_folder, write_synced
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.directory import has_names
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.failpoints import failpoint

#: Name of the ownership marker next to the artifact folders.
OWNER_FILE = "owner"
#: Names of the artifact folders.
ARTIFACT_FOLDERS = ("versions", "datasets", "captures")
#: Name of an object in an artifact folder that is written to read the bucket's time.
CLOCK_FILE = ".clock"
#: Name of the file that identifies a folder, wherever it is mounted, and beginning of the name of the object
#: that identifies a bucket.
IDENTITY_FILE = "place"


class ForeignArtifactsError(OSError):
    """The storage belongs to another database, or this database has its artifacts elsewhere."""


class Owner(Protocol):
    """A database to which artifacts may belong."""

    @property
    def name(self) -> str:
        """Name in messages."""

    @property
    def identity(self) -> str:
        """Identity in ownership markers."""


class Database(Owner, Protocol):
    """A database that records the location of its artifacts."""

    def artifacts(self) -> tuple[str, str] | None:
        """Return the recorded identity and name of the location; None if none is recorded."""

    def record_artifacts(self, mark: str, name: str) -> tuple[str, str]:
        """Record a location unless one is recorded; return the recorded identity and name."""


class StorageIdentity(Protocol):
    """The identity of a storage, by which replicas detect that they have another one."""

    def confirm(self, database: Database, claim: Callable[[], None]) -> None:
        """Check that the database recorded this storage; record it unless one is recorded.

        Args:
            claim: checks before the record that the artifacts belong to the database.

        Raises:
            ForeignArtifactsError: the database recorded another storage, or `claim` raised it.
            HeadstartError: the storage or the database is unavailable.
        """

    def check(self) -> None:
        """Raise an error of an unavailable storage if this is not the confirmed one."""


class OwnershipMarker(Protocol):
    """A small file next to the artifacts that names their database."""

    name: str

    def read(self) -> bytes | None:
        """Return the content; None if the marker is missing or empty."""

    def write(self, content: bytes) -> None:
        """Write the marker, unless one exists, where the storage can detect that."""

    def has_artifacts(self) -> bool:
        """Return whether there are artifacts next to the marker."""


class BucketMarker:
    """An ownership marker in a bucket."""

    def __init__(self, bucket: Bucket, root: str, file: str = OWNER_FILE) -> None:
        self._bucket = bucket
        self._root = root
        self._path = f"{root}/{file}"
        self.name = f"object {self._path}"

    def read(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return self._bucket.read(self._path)
        return None

    def write(self, content: bytes) -> None:
        with failpoint("bucket.put_owner"):
            self._bucket.write(self._path, content)

    def has_artifacts(self) -> bool:
        folders = [f"{self._root}/{name}" for name in ARTIFACT_FOLDERS]
        return any(set(self._bucket.list_top(path)) - {f"{path}/{CLOCK_FILE}"} for path in folders)


class FileMarker:
    """An ownership marker in a directory."""

    def __init__(self, root: Path, file: str = OWNER_FILE) -> None:
        self._root = root
        self._path = root / file
        self.name = f"file {self._path}"

    def read(self) -> bytes | None:
        with suppress(FileNotFoundError), storage_errors(writes=False):
            # A power failure may leave a file without its content, empty or as zeros.
            return self._path.read_bytes().strip(b"\0") or None
        return None

    def write(self, content: bytes) -> None:
        is_empty = self._path.exists() and self.read() is None
        with storage_errors():
            with staged_file(self._path, replaces=is_empty) as staging, failpoint("owner.write"):
                write_synced(staging, content)
            sync_folder(self._root)

    def has_artifacts(self) -> bool:
        return any(has_names(self._root / name) for name in ARTIFACT_FOLDERS)


class FolderIdentity:
    """Identity file of an artifact folder, by which replicas detect that another folder is mounted."""

    def __init__(self, root: Path) -> None:
        self._name = folder_name(root)
        self._file = FileMarker(root, IDENTITY_FILE)
        self._known: bytes | None = None

    def confirm(self, database: Database, claim: Callable[[], None]) -> None:
        mark = f"folder {self.read()}"
        recorded = database.artifacts()
        if recorded is None:
            claim()
            recorded = database.record_artifacts(mark, self._name)
        check_location(mark, self._name, recorded, database.name)

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


class BucketIdentity:
    """Identity object of a bucket, by which replicas detect another bucket of the same name.

    Each replica that finds no record writes an object with another name, so that none replaces the object of
    another replica; the database records one of them.

    Args:
        root: the bucket and the prefix of the artifacts.
        name: name of the bucket with the prefix.
    """

    def __init__(self, bucket: Bucket, root: str, name: str) -> None:
        self._bucket = bucket
        self._root = root
        self._name = name
        # Confirms the bucket if it was unavailable when the server started.
        self._postponed: Callable[[], None] | None = None

    def confirm(self, database: Database, claim: Callable[[], None]) -> None:
        self._postponed = partial(self.confirm, database, claim)
        self._bucket.check(self._root)
        recorded = database.artifacts()
        # An earlier release recorded the name alone.
        if recorded is None or recorded[0] == self._name:
            claim()
            identity = uuid.uuid4().hex
            self._marker(identity).write(f"{identity}\n".encode())
            recorded = database.record_artifacts(f"{self._name} {identity}", self._name)
        identity = recorded[0].removeprefix(f"{self._name} ")
        check_location(f"{self._name} {identity}", self._name, recorded, database.name)
        marker = self._marker(identity)
        if marker.read() is None:
            raise ForeignArtifactsError(
                f"The bucket of {self._name} lacks the {marker.name}, which the database {database.name} "
                "recorded: it is another bucket of the same name, or it was emptied. Give every replica the "
                "same endpoint (such as AWS_ENDPOINT_URL_S3). If you have moved the artifacts, see 'Moving "
                "artifacts' in docs/operate/replicas.md."
            )
        self._postponed = None

    def check(self) -> None:
        try:
            if (confirm := self._postponed) is not None:
                confirm()
        except ForeignArtifactsError as error:
            raise StorageUnavailable(str(error)) from error

    def _marker(self, identity: str) -> BucketMarker:
        return BucketMarker(self._bucket, self._root, f"{IDENTITY_FILE}-{identity}")


def folder_name(root: Path) -> str:
    """Return the name of an artifact folder in messages."""
    return f"the folder {root.resolve()}"


def foreign_artifacts(marker: OwnershipMarker, identity: str | None) -> str | None:
    """Return what shows that a storage may have artifacts of another database; None if nothing does.

    Args:
        identity: identity of the database; None if it does not exist yet.
    """
    found = marker.read()
    if found is None and marker.has_artifacts():
        # A process that claims the storage meanwhile writes the marker before the first artifact.
        found = marker.read()
        if found is None:
            return f"artifacts without the {marker.name}, which names their database"
    if found is None or (identity is not None and found.strip() == _marker_line(identity)):
        return None
    return f"{found.decode(errors='replace').strip()[:80]!r} in the {marker.name}"


def foreign_remedy(marker: OwnershipMarker, identity: str | None) -> str:
    """Return the remedy for artifacts that may belong to another database."""
    kind = marker.name.partition(" ")[0]
    lines = [
        "If the database of these artifacts was removed or replaced, put it back or restore a backup.",
        "Otherwise correct --database, or give each database its own --artifacts or --data-dir: cleaning "
        "removes files that a database does not know.",
        f"If their database no longer exists, remove them and the {kind} '{OWNER_FILE}'.",
    ]
    if identity is not None:
        line = _marker_line(identity).decode()
        lines.append(f"If they belong to this database, write '{line}' to the {kind} '{OWNER_FILE}'.")
    return " ".join(lines)


def check_owner(marker: OwnershipMarker, database: str, identity: str | None) -> None:
    """Raise ForeignArtifactsError if a storage may have artifacts of another database.

    Args:
        database: name of the database in messages.
        identity: its identity; None if it does not exist yet.
    """
    found = foreign_artifacts(marker, identity)
    if found is not None:
        raise ForeignArtifactsError(
            f"Expected artifacts of the database {database} ({identity or 'new'}). Received: {found}. "
            f"{foreign_remedy(marker, identity)}"
        )


def claim(marker: OwnershipMarker, database: Owner) -> None:
    """Write the ownership marker of a database; raise ForeignArtifactsError if another one has artifacts."""
    if marker.read() == (wanted := _marker_line(database.identity) + b"\n"):
        return
    check_owner(marker, database.name, database.identity)
    marker.write(wanted)
    # One of two concurrent claims finds the other's marker.
    check_owner(marker, database.name, database.identity)


def _marker_line(database: str) -> bytes:
    return f"headstart database {database}".encode()


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
