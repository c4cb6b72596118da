"""Transactions on the tables."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, insert, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError

from headstart_server.database.migrations import migrate
from headstart_server.database.tables import SCHEMA_VERSION, metadata, schema_version
from headstart_server.errors import StorageFull


class SchemaError(RuntimeError):
    """The database was written by a newer Headstart than this one."""


class Database:
    """A SQLite file with the tables in it, made if need be.

    Reads see the last commit and never wait for a write. Writes take turns in this process before they reach
    SQLite's own lock, which has no queue: without the turn a writer can be passed over for seconds.

    Args:
        path: the file. Not on a network file system, where SQLite's locks do not hold.

    Raises:
        SchemaError: the file was written by a newer Headstart.
    """

    def __init__(self, path: Path) -> None:
        # Transactions are begun by hand below: the driver would begin them late, and reads need none.
        self._engine = create_engine(URL.create("sqlite", database=str(path)), isolation_level="AUTOCOMMIT")
        event.listen(self._engine, "connect", _configure)
        self._turn = threading.Lock()
        with self.write() as connection:
            metadata.create_all(connection, checkfirst=True)
            found = connection.execute(select(schema_version.c.version)).scalar()
            if found is None:
                connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
            elif found > SCHEMA_VERSION:
                raise SchemaError(
                    f"The database {path} has schema {found}; this Headstart knows {SCHEMA_VERSION} at most. "
                    "Start it with the Headstart that wrote it, or a newer one."
                )
            else:
                migrate(connection, found)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; each statement sees the last commit."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for reading whose statements all see the same commit."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: on disk when the block ends, undone if it raises.

        Raises:
            StorageFull: the disk is full.
        """
        with self._turn, self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException as error:
                # SQLite has undone it by itself where the disk is full; the first error is the one to tell.
                with suppress(OperationalError):
                    connection.exec_driver_sql("ROLLBACK")
                if isinstance(error, OperationalError) and "disk is full" in str(error.orig):
                    raise StorageFull from error
                raise

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _configure(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
