"""The locks of a server's data."""

import fcntl
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from headstart_server.settings.groups import StorageGroup


def lock_folder(folder: Path, kind: str, flag: str, name: str = "lock") -> IO[str]:
    """Lock a folder for this server, because SQLite and the feature file support one server only.

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


def lock_data(storage: StorageGroup, closing: ExitStack) -> list[IO[str]]:
    """Lock the data folder, and an SQLite file elsewhere, for this server; return the open lock files.

    Raise BlockingIOError if another server uses them.
    """
    locks = [closing.enter_context(lock_folder(storage.data_dir, "data", "--data-dir"))]
    if storage.database_url is None:
        return locks
    # Imported here: only a server with a database URL needs it.
    from headstart_server.database.address import sqlite_file  # noqa: PLC0415

    if (file := sqlite_file(storage.database_url)) is not None:
        # Only one server may use an SQLite file, even if the data folders differ.
        lock = lock_folder(file.parent, "database", "--database", f"{file.name}.lock")
        locks.append(closing.enter_context(lock))
    return locks
