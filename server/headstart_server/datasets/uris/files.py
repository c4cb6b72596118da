"""Reads files beneath a folder, and never by a link: what lies there may have been put there by anyone."""

import os
import stat
from collections.abc import Sequence

from headstart_server.datasets.uris.errors import TooLargeError, UnreadableError
from headstart_server.storage.disk import storage_fault

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without waiting: opening a pipe would block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_beneath(folder: str, parts: Sequence[str], max_bytes: int) -> bytes:
    """The content of a file.

    Each folder on the way is opened by its name in the one before, so nothing that is put in its place
    meanwhile leads elsewhere.

    Args:
        folder: where reading is allowed; itself it may be a link.
        parts: the names on the way from there, the file's last.

    Raises:
        UnreadableError: it is not there, may not be read, is no file, is larger, or a link is on the way.
        LocalStorageUnavailable: the disk, or this process, cannot read it now.
    """
    try:
        opened = os.open(folder, _FOLDER)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=opened)
                os.close(opened)
                opened = inner
            file = os.open(parts[-1], _FILE, dir_fd=opened)
        finally:
            os.close(opened)
        try:
            return _read(file, max_bytes)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise UnreadableError("it is not there") from None
    except PermissionError:
        raise UnreadableError("this server may not read it") from None
    except OSError as error:
        fault = storage_fault(error)
        if fault is not None:
            raise fault from error
        # ELOOP or ENOTDIR: a link, or a file in the place of a folder.
        why = "a link, or no folder, is on the way to it" if error.errno else "it cannot be read"
        raise UnreadableError(why) from None


def _read(file: int, max_bytes: int) -> bytes:
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        raise UnreadableError("it is no file")
    if facts.st_size > max_bytes:
        raise TooLargeError(f"it has {facts.st_size} bytes, more than {max_bytes}")
    pieces, left = [], max_bytes + 1
    while left and (piece := os.read(file, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise TooLargeError(f"it has more than {max_bytes} bytes")
    return b"".join(pieces)
