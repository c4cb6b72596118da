"""Transactions on the tables, the same on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from headstart_server.database.address import address_of
from headstart_server.database.locks import Lock
from headstart_server.database.migrations import SchemaError, migrate
from headstart_server.database.postgres import Postgres
from headstart_server.database.sqlite import Sqlite
from headstart_server.database.tables import identity
from headstart_server.errors import DatabaseUnavailable, StorageFull
from headstart_server.storage.circuit_breaker import FULL_DISKS, CircuitBreaker
from headstart_server.storage.failpoints import failpoint

__all__ = ["Database", "SchemaError"]

#: Name of the database in logs and metrics of full disks.
PLACE = "database"


class Database:
    """The tables, created or migrated if necessary.

    Reads see the last commit and never wait for a write. While the database is unavailable, calls fail
    immediately, except one at a time that tries to reach it.

    Args:
        target: an SQLite file, or the address of either kind as a URL.
        is_shared: whether several processes use an SQLite file; other databases are always shared.
        clock: seconds since 1970; None takes the database's own clock, which is the same for all replicas.

    Raises:
        ValueError: the address is invalid.
        SchemaError: a newer Headstart wrote the tables, or the database rejects this user.
        DatabaseUnavailable: the database does not answer.
    """

    def __init__(
        self,
        target: Path | str,
        *,
        is_shared: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        address = address_of(target)
        #: Whether it is an SQLite file, which one server uses.
        self.is_file = address.get_backend_name() == "sqlite"
        self._backend = Sqlite(address, is_shared=is_shared) if self.is_file else Postgres(address)
        self._clock = clock
        self._breaker = CircuitBreaker("database", DatabaseUnavailable)
        try:
            # Without the circuit breaker, because the caller waits for the database and logs its failures.
            with self._translated(), self._transaction(self._backend.engine, "schema.migrate") as connection:
                self._backend.lock(connection, Lock.SCHEMA)
                migrate(connection, self.name, self._backend.slowly)
                #: Distinguishes this database from every other one except its copies.
                self.identity: str = connection.execute(select(identity.c.id)).scalar_one()
                self._backend.check()
        except SQLAlchemyError as error:
            self.close()
            raise self._unusable(self._backend.words(error)) from error
        except DatabaseUnavailable as error:
            self.close()
            if error.is_refused:
                raise self._unusable(error.detail) from error
            raise
        except BaseException:
            self.close()
            raise

    def _unusable(self, detail: str) -> SchemaError:
        return SchemaError(
            f"Cannot use the database {self.name}: {detail}. Correct --database, or fix the database."
        )

    @property
    def name(self) -> str:
        """Name of the database in messages and logs, without its password."""
        return self._backend.name

    @property
    def is_available(self) -> bool:
        """Whether the last call succeeded in reaching the database."""
        return not self._breaker.is_open

    @property
    def is_shared(self) -> bool:
        """Whether other replicas, or processes of this server, may use it at the same time."""
        return self._backend.is_shared

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Return a connection whose statements each see the last commit; raise DatabaseUnavailable."""
        with self._watched(), self._backend.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Return a connection whose statements all see the same commit; raise DatabaseUnavailable."""
        with self._watched(), self._backend.engine.connect() as connection:
            connection.exec_driver_sql(self._backend.begin_snapshot)
            try:
                yield connection
            finally:
                _undo(connection)

    @contextmanager
    def write(self, name: str = "unnamed", *, is_heartbeat: bool = False) -> Iterator[Connection]:
        """Run the block in one transaction: durable when the block ends, rolled back if it raises.

        Args:
            name: the name of the failpoint at its commit; each transaction of the server has one.
            is_heartbeat: whether to use the connection reserved for the heartbeat. Slow statements and load
                do not occupy it, and it is tried even while other calls fail immediately.

        Raises:
            StorageFull: the disk is full.
            DatabaseUnavailable: it does not answer. At the end of the block the write may still have
                happened.
        """
        engine = self._backend.reserve if is_heartbeat else self._backend.engine
        with self._watched(always=is_heartbeat), self._transaction(engine, name) as connection:
            yield connection

    def artifacts(self) -> tuple[str, str] | None:
        """Return the recorded mark and name of the artifacts' location; None if none is recorded."""
        with self.read() as connection:
            row = connection.execute(select(identity.c.artifacts, identity.c.artifacts_name)).one()
        return None if row.artifacts is None else (row.artifacts, row.artifacts_name)

    def record_artifacts(self, mark: str, name: str) -> tuple[str, str]:
        """Record the location of the artifacts, unless one is recorded already.

        Returns:
            The recorded mark and name.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with self.write("database.artifacts") as connection:
            connection.execute(
                update(identity)
                # An earlier release recorded a bucket by its name alone.
                .where(or_(identity.c.artifacts.is_(None), identity.c.artifacts == name))
                .values(artifacts=mark, artifacts_name=name)
            )
            row = connection.execute(select(identity.c.artifacts, identity.c.artifacts_name)).one()
        return row.artifacts, row.artifacts_name

    def now(self, connection: Connection) -> float:
        """Return the time of the database's clock, in seconds since 1970."""
        return self._clock() if self._clock else self._backend.now(connection)

    def incarnation(self, connection: Connection) -> str:
        """Return an ID of the database server that changes with a restart or a failover.

        Commits may be lost then, and their numbers are used again for other ones. So a number that this
        process has seen is only comparable with numbers of the same incarnation.
        """
        return self._backend.incarnation(connection)

    def empty_log(self) -> None:
        """Remove deleted data from the log of an SQLite file; raise DatabaseUnavailable."""
        with self._watched():
            self._backend.empty_log()

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Hold a lock shared by all replicas until the end of the transaction."""
        self._backend.lock(connection, lock)

    def close(self) -> None:
        """Close every connection."""
        self._backend.engine.dispose()
        self._backend.reserve.dispose()

    @contextmanager
    def _transaction(self, engine: Engine, name: str) -> Iterator[Connection]:
        with self._backend.turn, engine.connect() as connection:
            connection.exec_driver_sql(self._backend.begin_write)
            try:
                yield connection
                with failpoint(name):
                    connection.exec_driver_sql("COMMIT")
                FULL_DISKS.wrote(PLACE)
            except BaseException:
                _undo(connection)
                raise

    @contextmanager
    def _watched(self, *, always: bool = False) -> Iterator[None]:
        with self._breaker.guard(always=always), self._translated():
            self._backend.check()
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Convert the driver's exceptions to domain errors."""
        try:
            yield
        except SQLAlchemyError as error:
            fault = self._backend.fault(error)
            if fault is None:
                raise
            if isinstance(fault, StorageFull):
                FULL_DISKS.found_full(PLACE)
            raise fault from error


def _undo(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:
        # SQLite rolls back by itself if the disk is full, and a lost connection has no transaction. Discard
        # the connection in any case: its next user must not be in this transaction. The first error is
        # raised.
        connection.invalidate()
