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
NOTE = "owner"


#: The name of the mark that tells a folder from others, wherever it is mounted.
MARK = "place"


class NotOursError(OSError):
    """The artifacts of another database lie there, or those of this one lie elsewhere."""


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
        file: the name of the note.
    """

    def __init__(self, root: Path, file: str = NOTE) -> None:
        self._path = root / file
        self.name = f"file {self._path}"

    def read(self) -> bytes | None:
        """As `Note.read`."""
        with suppress(FileNotFoundError), storage_errors(writes=False):
            return self._path.read_bytes()
        return None

    def write(self, content: bytes) -> None:
        """As `Note.write`."""
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


class FolderMark:
    """The mark of a folder of artifacts, by which its replicas know that it is the same, and mounted.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._note = FileNote(root, MARK)
        self._known: bytes | None = None

    def read(self) -> str:
        """Return the mark; a folder without one gets one.

        Raises:
            StorageFull or LocalStorageUnavailable: it cannot be written.
        """
        found = self._note.read()
        if found is None:
            self._note.write(f"{uuid.uuid4().hex}\n".encode())
            # Of two that write one at the same time, one finds the other's.
            found = self._note.read() or b""
        self._known = found
        return found.decode(errors="replace").strip()

    def check(self) -> None:
        """Check that the folder is still there: while it is not, no file of it is damaged.

        Raises:
            LocalStorageUnavailable: its mark is missing or another one.
        """
        if self._known is not None and self._note.read() != self._known:
            raise LocalStorageUnavailable(
                f"The folder of artifacts lacks its mark, the file '{MARK}': it is not mounted, or another "
                "one is in its place. Mount it again."
            )


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
        StorageUnavailable: the bucket does not answer.
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
            "Give each database its own bucket, prefix or folder with --artifacts: the cleaning of "
            "one would remove the files of the other. If that database is no more, remove what it left with "
            f"this {note.name.partition(' ')[0]}."
        )


def check_place(mark: str, name: str, recorded: tuple[str, str], database: str) -> None:
    """Check that the artifacts of a database are where this server looks for them.

    Args:
        mark: what tells the place of this server from others.
        name: what it is called.
        recorded: mark and name of the place that the database recorded.
        database: its name.

    Raises:
        NotOursError: they are elsewhere.
    """
    if recorded[0] != mark:
        raise NotOursError(
            f"The artifacts of the database {database} are in {recorded[1]}, not in {name}. "
            "Give every replica the same --artifacts. If you have moved the artifacts, see 'Moving "
            "artifacts' in docs/operations.md."
        )
