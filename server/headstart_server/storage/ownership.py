"""Whose artifacts lie in a place: one database's, for the cleaning of one removes the files of all others."""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from headstart_server.failpoints import failpoint
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.disk import storage_errors

#: The name of the note beside the folders of artifacts.
NOTE = "owner"


class NotOursError(OSError):
    """The artifacts of another database lie there."""


class Note(Protocol):
    """A few bytes that are kept beside the artifacts."""

    name: str

    def read(self) -> bytes | None:
        """What it says; None if there is none."""

    def write(self, content: bytes) -> None:
        """Write it, unless there is one already where that can be told."""


class BucketNote:
    """A note in a bucket.

    Args:
        bucket: the bucket.
        root: where the artifacts lie in it.
    """

    def __init__(self, bucket: Bucket, root: str) -> None:
        self._bucket = bucket
        self._path = f"{root}/{NOTE}"
        self.name = f"object {self._path}"

    def read(self) -> bytes | None:
        """As `Note.read`."""
        with suppress(FileNotFoundError):
            return self._bucket.read(self._path)
        return None

    def write(self, content: bytes) -> None:
        """As `Note.write`."""
        with failpoint("bucket.put_owner"):
            self._bucket.write(self._path, content)


class FileNote:
    """A note in a directory.

    Args:
        root: where the artifacts lie.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / NOTE
        self.name = f"file {self._path}"

    def read(self) -> bytes | None:
        """As `Note.read`."""
        with suppress(FileNotFoundError):
            return self._path.read_bytes()
        return None

    def write(self, content: bytes) -> None:
        """As `Note.write`."""
        aside = self._path.with_name(f"{NOTE}.{uuid.uuid4().hex}.part")
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


def owned_by(database: str) -> bytes:
    """Return the note of a database."""
    return f"headstart database {database}\n".encode()


def claim(note: Note, database: str) -> None:
    """Take a place for a database, or find that it is the database's already.

    Args:
        note: the place's.
        database: identity of the database.

    Raises:
        NotOursError: the artifacts of another database lie there.
        StorageAway: the bucket does not answer.
        StorageFull: the disk is full.
    """
    wanted = owned_by(database)
    found = note.read()
    if found is None:
        note.write(wanted)
        # Of two that claim it at once one finds the other's.
        found = note.read()
    if found != wanted:
        said = (found or b"nothing").decode(errors="replace").strip()[:80]
        raise NotOursError(
            f"Expected artifacts of the database {database}. Received: the {note.name} says {said!r}. "
            "Give each database a bucket, a prefix or a folder of its own with --artifacts: the cleaning of "
            "one would remove the files of the other. If that database is no more, remove what it left with "
            f"this {note.name.partition(' ')[0]}."
        )
