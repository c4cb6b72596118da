"""The database of a simulation: the real tables and statements, in memory, with transactions that take turns.

A transaction runs as a whole: others come before it or after it, as SQLite's writes and snapshots do. Between
transactions everything may happen.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, StaticPool, create_engine, event

from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.migrations import migrate
from headstart_server.errors import DatabaseUnavailable
from simulation.statements import Statements


class Outlook(NamedTuple):
    """What there is to do.

    Attributes:
        unfinished: number of jobs that have not ended.
        running: number of jobs that run.
        claimable: the time from which a job can be claimed, or taken over.
        pending: number of webhooks that are not delivered yet.
        due: the time from which one of them can be sent.
        retrains: the time from which feedback may start a retrain.
        erasing: number of erasures that are not complete.
    """

    unfinished: int
    running: int
    claimable: float
    pending: int
    due: float
    retrains: float
    erasing: int


#: A time that never comes.
NEVER = 1e18
_OUTLOOK = """
SELECT j.unfinished, j.running, coalesce(j.claimable, 1e18), w.pending, coalesce(w.due, 1e18),
    coalesce(f.retrains, 1e18), e.erasing
FROM (
    SELECT count(*) AS unfinished, count(lease_until) AS running, min(coalesce(lease_until, 0)) AS claimable
    FROM jobs WHERE state IN ('queued', 'running')
) AS j, (
    SELECT count(*) AS pending,
        min(CASE WHEN jobs.finished > 0 THEN max(w.due, coalesce(w.lease_until, 0)) END) AS due
    FROM webhooks AS w JOIN jobs USING (job_id) WHERE w.state = 'pending'
) AS w, (
    SELECT min(CASE WHEN retrains.job_id IS NULL THEN not_before ELSE 0 END) AS retrains
    FROM retrains JOIN models ON models.name = retrains.model
    WHERE failures < json_extract(models.retrain, '$.max_failures')
        AND EXISTS (SELECT 1 FROM feedback WHERE feedback.model = models.name AND state = 'pending')
) AS f, (
    SELECT count(*) AS erasing FROM erasures WHERE finished IS NULL
) AS e
"""


class Tables:
    """The tables of one simulation after the other, in one connection.

    Args:
        change: changes the tables, for a planted bug.
    """

    def __init__(self, change: Callable[[sqlite3.Connection], None] | None = None) -> None:
        self._pool = create_engine(
            "sqlite://",
            isolation_level="AUTOCOMMIT",
            poolclass=StaticPool,
            connect_args={"cached_statements": 1000},
        )
        event.listen(self._pool, "connect", _configure)
        connection = self._pool.connect()
        migrate(connection, "simulation")
        self.connection = cast(Connection, Statements(connection))
        self.raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        # Every version that was ever published, for some are deleted again.
        self.raw.execute("CREATE TABLE published (job_id TEXT, number INTEGER, model TEXT)")
        self.raw.execute(
            "CREATE TRIGGER publication AFTER INSERT ON versions "
            "BEGIN INSERT INTO published VALUES (new.job_id, new.number, new.model); END"
        )
        self.raw.execute("CREATE TABLE dropped (number INTEGER, model TEXT)")
        self.raw.execute(
            "CREATE TRIGGER dropping AFTER DELETE ON aliases "
            "BEGIN INSERT INTO dropped VALUES (old.number, old.model); END"
        )
        if change is not None:
            change(self.raw)
        # Rows are few here: an index only makes changes slower.
        for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"):
            self.raw.execute(f"DROP INDEX {name}")
        # All transactions of a simulation are within one of SQLite, which is undone in the end.
        self._outlook: Outlook | None = None
        self.raw.execute("BEGIN")

    @property
    def outlook(self) -> Outlook:
        """What there is to do now."""
        if self._outlook is None:
            self._outlook = Outlook._make(self.raw.execute(_OUTLOOK).fetchone())
        return self._outlook

    def empty(self) -> None:
        """Make them as they were in the beginning."""
        self._outlook = None
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")
        self.raw.execute("BEGIN")

    def begin(self) -> None:
        """Begin a transaction."""
        self.raw.execute("SAVEPOINT transaction_of_a_replica")

    def commit(self) -> None:
        """End it."""
        self._outlook = None
        self.raw.execute("RELEASE transaction_of_a_replica")

    def undo(self) -> None:
        """Undo it."""
        self.raw.execute("ROLLBACK TO transaction_of_a_replica")
        self.raw.execute("RELEASE transaction_of_a_replica")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What a query gives, without the simulation noticing."""
        return self.raw.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
        self._pool.dispose()


class Transactions:
    """What a simulation does around each transaction of a replica."""

    def begin(self, name: str) -> None:
        """A transaction is about to begin; may wait, raise `DatabaseUnavailable` or let the replica die."""

    def commit(self, name: str) -> bool:
        """Return whether the answer to this commit will be lost; may raise `DatabaseUnavailable`."""
        return False

    def committed(self, name: str) -> None:
        """It was committed; may wait, or let the replica die."""

    def now(self) -> float:
        """The database's time."""
        return 0.0


class Reading:
    """A block that reads.

    Args:
        tables: the tables.
        around: the simulation's part in it.
        name: of what is done in it.
    """

    __slots__ = ("_around", "_name", "_tables")

    def __init__(self, tables: Tables, around: Transactions, name: str) -> None:
        self._tables = tables
        self._around = around
        self._name = name

    def __enter__(self) -> Connection:
        self._around.begin(self._name)
        return self._tables.connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Nothing to do: nothing was changed."""


class Writing(Reading):
    """A transaction; arguments as for `Reading`."""

    __slots__ = ()

    def __enter__(self) -> Connection:
        self._around.begin(self._name)
        self._tables.begin()
        return self._tables.connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._tables.undo()
            return
        try:
            is_lost = self._around.commit(self._name)
        except BaseException:
            self._tables.undo()
            raise
        self._tables.commit()
        self._around.committed(self._name)
        if is_lost:
            raise DatabaseUnavailable("The answer to the commit was lost.")


class SimulatedDatabase(Database):
    """The database as one replica sees it.

    Args:
        tables: shared by all replicas.
        around: the simulation's part in each transaction.
    """

    def __init__(self, tables: Tables, around: Transactions) -> None:
        # The constructor of the real one opens another connection.
        self._tables = tables
        self._around = around
        self.identity = "simulation"

    @property
    def name(self) -> str:
        return "simulation"

    @property
    def is_shared(self) -> bool:
        return True

    def read(self) -> AbstractContextManager[Connection]:
        return Reading(self._tables, self._around, "read")

    def snapshot(self) -> AbstractContextManager[Connection]:
        return Reading(self._tables, self._around, "snapshot")

    def write(
        self, name: str = "unnamed", *, is_heartbeat: bool = False
    ) -> AbstractContextManager[Connection]:
        return Writing(self._tables, self._around, name)

    def now(self, connection: Connection) -> float:
        return self._around.now()

    def incarnation(self, connection: Connection) -> str:
        return self.identity

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Nothing to do: a transaction is alone."""

    def empty_log(self) -> None:
        """Nothing to do: there is no log."""

    def close(self) -> None:
        """Nothing to do: the tables go on."""


def _configure(connection: sqlite3.Connection, _: Callable[..., Any]) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
