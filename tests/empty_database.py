"""Databases of tests, whose tables and statements are prepared once: that takes longer than most tests."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

from sqlalchemy import Connection, Engine, update

from headstart_server.database import database
from headstart_server.database.database import Database
from headstart_server.database.tables import identity

#: Databases whose tables this process has compared with those of the server.
_COMPARED: set[str] = set()
#: The first engine of each kind of database, with its compiled statements.
_FIRST: dict[str, Engine] = {}


def open_empty(target: Path | str, clock: Callable[[], float]) -> Database:
    """Open a new SQLite database, the one that is in the file, or the one at an address."""
    if isinstance(target, Path) and not target.exists():
        target.write_bytes(_created())
        with _migrating(_identify):
            opened = Database(target, clock=clock)
    elif str(target) in _COMPARED:
        with _migrating(_keep):
            opened = Database(target, clock=clock)
    else:
        opened = Database(target, clock=clock)
    _COMPARED.add(str(target))
    _share_statements(opened)
    return opened


@cache
def _created() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "database.sqlite3")
        Database(file).close()
        return file.read_bytes()


@contextmanager
def _migrating(migrate: Callable[..., None]) -> Iterator[None]:
    with mock.patch.object(database, "migrate", migrate):
        yield


def _identify(connection: Connection, *_: object) -> None:
    connection.execute(update(identity).values(id=uuid.uuid4().hex))


def _keep(*_: object) -> None:
    pass


def _share_statements(opened: Database) -> None:
    """Compile each statement once for all databases of a kind: the dialect is a part of a statement's key."""
    for engine in (opened._backend.engine, opened._backend.reserve):
        first = _FIRST.setdefault(engine.dialect.name, engine)
        engine.dialect = first.dialect
        engine.update_execution_options(compiled_cache=first._compiled_cache)
