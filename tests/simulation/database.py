"""The database of a simulation: the real tables and statements, in memory, with transactions that take turns.

A transaction runs as a whole: others come before it or after it, as SQLite's writes and snapshots do. Between
transactions everything may happen.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, StaticPool, create_engine, event

from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.migrations import migrate
from headstart_server.database.tables import REGISTRY, counters, identity, metadata
from headstart_server.errors import DatabaseAway


class Tables:
    """The tables of one simulation after the other, in one connection.

    Args:
        change: changes the tables, for a planted bug.
    """

    def __init__(self, change: Callable[[sqlite3.Connection], None] | None = None) -> None:
        self._engine = create_engine("sqlite://", isolation_level="AUTOCOMMIT", poolclass=StaticPool)
        event.listen(self._engine, "connect", _configure)
        self.connection: Connection = self._engine.connect()
        migrate(self.connection, "simulation")
        self.raw: sqlite3.Connection = self.connection.connection.dbapi_connection  # type: ignore[assignment]
        # Every version that was ever published, for some are deleted again.
        self.raw.execute("CREATE TABLE published (job_id TEXT, number INTEGER)")
        self.raw.execute(
            "CREATE TRIGGER publication AFTER INSERT ON versions "
            "BEGIN INSERT INTO published VALUES (new.job_id, new.number); END"
        )
        self.raw.execute("CREATE TABLE dropped (number INTEGER)")
        self.raw.execute(
            "CREATE TRIGGER dropping AFTER DELETE ON aliases "
            "BEGIN INSERT INTO dropped VALUES (old.number); END"
        )
        if change is not None:
            change(self.raw)
        kept = ("schema_version", identity.name, counters.name)
        self._emptied = [table.name for table in reversed(metadata.sorted_tables) if table.name not in kept]
        self._emptied += ["published", "dropped"]

    def empty(self) -> None:
        """Make them as they were in the beginning."""
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")
        for name in self._emptied:
            self.raw.execute(f"DELETE FROM {name}")
        self.raw.execute(f"UPDATE {counters.name} SET value = 0 WHERE name = ?", (REGISTRY,))

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What a query gives, without the simulation noticing."""
        return self.raw.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
        self._engine.dispose()


class Transactions:
    """What a simulation does around each transaction of a replica."""

    def begin(self, name: str) -> None:
        """A transaction is about to begin; may wait, raise `DatabaseAway` or let the replica die."""

    def commit(self, name: str) -> bool:
        """It is about to be committed; may raise `DatabaseAway`. Returns whether its answer will be lost."""
        return False

    def committed(self, name: str) -> None:
        """It was committed; may wait, or let the replica die."""

    def now(self) -> float:
        """The database's time."""
        return 0.0


class SimulatedDatabase(Database):
    """The database as one replica sees it.

    Args:
        tables: shared by all replicas.
        around: the simulation's part in each transaction.
    """

    def __init__(self, tables: Tables, around: Transactions) -> None:
        # The constructor of the real one opens a connection of its own.
        self._tables = tables
        self._around = around
        self.identity = "simulation"

    @property
    def name(self) -> str:
        return "simulation"

    @property
    def is_shared(self) -> bool:
        return True

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._around.begin("read")
        yield self._tables.connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        self._around.begin("snapshot")
        yield self._tables.connection

    @contextmanager
    def write(self, name: str = "unnamed", *, is_heartbeat: bool = False) -> Iterator[Connection]:
        self._around.begin(name)
        raw = self._tables.raw
        raw.execute("BEGIN IMMEDIATE")
        try:
            yield self._tables.connection
            is_lost = self._around.commit(name)
            raw.execute("COMMIT")
        except BaseException:
            raw.execute("ROLLBACK")
            raise
        self._around.committed(name)
        if is_lost:
            raise DatabaseAway("The answer to the commit was lost.")

    def now(self, connection: Connection) -> float:
        return self._around.now()

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Nothing to do: a transaction is alone."""

    def close(self) -> None:
        """Nothing to do: the tables go on."""


def _configure(connection: sqlite3.Connection, _: Callable[..., Any]) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
