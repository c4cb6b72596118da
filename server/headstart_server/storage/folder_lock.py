"""Locks of folders that one server uses alone."""

import fcntl
from pathlib import Path
from typing import IO


def lock_folder(folder: Path, kind: str, flag: str, name: str = "lock") -> IO[str]:
    """Lock a folder for this server, because SQLite and the feature file take one server only.

    The lock is held until this process, and each child that inherits the file, has ended.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("w")
    except OSError as error:
        raise OSError(
            f"Cannot use {folder} as the {kind} folder: {error.strerror}. Choose another with "
            f"{flag}, or give this user the right to write there."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BlockingIOError(
            f"Another headstart-server uses the {kind} folder {folder}. Stop it, or choose another with "
            f"{flag}."
        ) from None
    return file
