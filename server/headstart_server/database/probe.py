"""Examines a database without changing it."""

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Column, Connection, NullPool, create_engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from headstart_server.database.address import address_of
from headstart_server.database.data_facts import TABLES, DataFacts, read_data_facts
from headstart_server.database.postgres import Postgres, state_and_message
from headstart_server.database.tables import SCHEMA_VERSION, metadata, schema_version
from headstart_server.database.tables import identity as database_identity
from headstart_server.errors import DatabaseUnavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFacts:
    """The state of a database."""

    product: str  # its software and release
    schema: int | None  # the schema version of its tables; None without tables
    identity: str | None  # its ID, which no other database has; None without tables
    missing_tables: tuple[str, ...]  # the tables that this release would add
    skew: float  # seconds by which its clock is ahead of this machine's
    latency: float  # seconds of one query
    may_create: bool  # whether this user may create tables
    is_read_only: bool  # whether it rejects writes, as a standby does
    data: DataFacts | None = None  # the state of the data loop; None if its tables are not complete

    @property
    def is_newer(self) -> bool:
        """Whether a newer Headstart wrote the tables."""
        return self.schema is not None and self.schema > SCHEMA_VERSION


class ProbeError(RuntimeError):
    """A database cannot be examined.

    Args:
        state: its SQLSTATE; empty if the connection failed.
    """

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(message)
        self.state = state


def examine(target: Path | str, clock: Callable[[], float] = time.time) -> DatabaseFacts:
    """Return the state of a database without changing it.

    Args:
        target: an SQLite file, or the URL of either kind of database.
        clock: this machine's clock, in seconds since 1970.

    Raises:
        ValueError: the target is invalid.
        FileNotFoundError: the SQLite file does not exist yet.
        ProbeError: the database cannot be reached, or refuses the user.
        ModuleNotFoundError: the driver is not installed.
    """
    address = address_of(target)
    try:
        if address.get_backend_name() == "sqlite":
            return _examine_sqlite(Path(str(address.database)), clock)
        return _examine_postgres(address, clock)
    except DatabaseUnavailable as error:
        raise ProbeError(error.detail) from error
    except SQLAlchemyError as error:
        original = getattr(error, "orig", None) or error
        state, message = state_and_message(original)
        raise ProbeError(message if state else _message(original), state) from error


def _message(error: BaseException) -> str:
    """Return the message of the operating system or of the driver, whichever caused an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _examine_sqlite(path: Path, clock: Callable[[], float]) -> DatabaseFacts:
    if not path.stat().st_size:
        raise FileNotFoundError(path)
    # Without a journal, no process uses the file. It can then be read without locks, which would create files
    # next to it.
    options = {"mode": "ro", "uri": "true"}
    if not path.with_name(f"{path.name}-wal").exists():
        options["immutable"] = "1"
    url = URL.create("sqlite", database=f"file:{quote(os.fsencode(path.absolute()))}", query=options)
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        started = time.monotonic()
        version = connection.execute(select(func.sqlite_version())).scalar_one()
        latency = time.monotonic() - started
        schema, identity, missing = _tables(connection)
        data = _data(connection, missing, clock())
    return DatabaseFacts(
        product=f"SQLite {version}",
        schema=schema,
        identity=identity,
        missing_tables=missing,
        skew=0.0,
        latency=latency,
        may_create=True,
        is_read_only=False,
        data=data,
    )


def _examine_postgres(address: URL, clock: Callable[[], float]) -> DatabaseFacts:
    backend = Postgres(address)
    try:
        with backend.engine.connect() as connection:
            # The first query also opens the transaction.
            version = str(connection.execute(text("SHOW server_version")).scalar_one())
            sent, started = clock(), time.monotonic()
            now = backend.now(connection)
            latency = time.monotonic() - started
            rights = text(
                "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), "
                "pg_is_in_recovery()"
            )
            may_create, in_recovery = connection.execute(rights).one()
            read_only = connection.execute(text("SHOW default_transaction_read_only")).scalar_one() == "on"
            schema, identity, missing = _tables(connection)
            data = _data(connection, missing, now)
    finally:
        backend.engine.dispose()
    return DatabaseFacts(
        product=f"PostgreSQL {version}",
        schema=schema,
        identity=identity,
        missing_tables=missing,
        # The database read its clock halfway through the query.
        skew=now - (sent + latency / 2),
        latency=latency,
        may_create=bool(may_create),
        is_read_only=bool(in_recovery) or read_only,
        data=data,
    )


def _data(connection: Connection, missing: Collection[str], now: float) -> DataFacts | None:
    if TABLES.intersection(missing):
        return None
    try:
        return read_data_facts(connection, now)
    except SQLAlchemyError:
        # Columns are missing, which the next start adds, or this user may not read the tables.
        return None


def _tables(connection: Connection) -> tuple[int | None, str | None, tuple[str, ...]]:
    """Return schema version, identity and missing tables."""
    present = set(inspect(connection).get_table_names())

    def value(column: Column[Any]) -> Any:
        return connection.execute(select(column)).scalar() if column.table.name in present else None

    missing = tuple(table.name for table in metadata.sorted_tables if table.name not in present)
    return value(schema_version.c.version), value(database_identity.c.id), missing
