"""A new database of tests, whose tables are copied: creating them takes longer than most tests."""

import tempfile
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

from sqlalchemy import Connection, update

from headstart_server.database import database
from headstart_server.database.database import Database
from headstart_server.database.tables import identity


def open_empty(file: Path, clock: Callable[[], float]) -> Database:
    """Open a new SQLite database, or the one that is in the file."""
    if file.exists():
        return Database(file, clock=clock)
    file.write_bytes(_created())
    with mock.patch.object(database, "migrate", _identify):
        return Database(file, clock=clock)


@cache
def _created() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "database.sqlite3")
        Database(file).close()
        return file.read_bytes()


def _identify(connection: Connection, name: str) -> None:
    del name
    connection.execute(update(identity).values(id=uuid.uuid4().hex))
