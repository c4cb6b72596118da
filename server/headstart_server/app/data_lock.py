"""The locks of a server's data."""

from contextlib import ExitStack
from typing import IO

from headstart_server.settings.groups import StorageGroup
from headstart_server.storage.folder_lock import lock_folder


def lock_data(storage: StorageGroup, closing: ExitStack) -> list[IO[str]]:
    """Lock the data folder, and an SQLite file elsewhere, for this server; return the open lock files.

    Raises:
        BlockingIOError: another server uses them.
    """
    locks = [closing.enter_context(lock_folder(storage.data_dir, "data", "--data-dir"))]
    if storage.database_url is None:
        return locks
    # Imported here: the supervisor of several processes needs it for other databases only.
    from headstart_server.database.address import sqlite_file  # noqa: PLC0415

    if (file := sqlite_file(storage.database_url)) is not None:
        # One server for each SQLite file, whatever the data folders.
        lock = lock_folder(file.parent, "database", "--database", f"{file.name}.lock")
        locks.append(closing.enter_context(lock))
    return locks
