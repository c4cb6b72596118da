"""Bringing the tables of an earlier Headstart up to date, without taking anything from them.

Tables, columns and indexes are only ever added, so servers of two releases can share them while one replaces
the other. What is missing is found by comparing, not by counting releases.
"""

import uuid
from contextlib import suppress

from sqlalchemy import Connection, Table, insert, inspect, select, update
from sqlalchemy.schema import CreateColumn

from headstart_server.database.tables import (
    JOBS,
    REGISTRY,
    SCHEMA_VERSION,
    archive_uses,
    counters,
    identity,
    jobs,
    metadata,
    schema_version,
    webhook_receivers,
)
from headstart_server.errors import HeadstartError

#: What a table gets when it is added to those of an earlier release.
_FILLED = {
    # Jobs that wait, or ran when the server stopped, need the archives of their own.
    archive_uses.name: "INSERT INTO archive_uses (holder, archive) "
    "SELECT job_id, job_id FROM jobs WHERE state IN ('queued', 'running')",
    # That of the POSTs that an earlier release has written.
    webhook_receivers.name: "INSERT INTO webhook_receivers (receiver) VALUES ('')",
}


#: Columns of jobs that are filled from the payload when they are added.
_OF_PAYLOAD = "backbone"


class SchemaError(HeadstartError):
    """The database cannot be used: a newer Headstart wrote it, or it refuses its tables or this user."""


def migrate(connection: Connection, name: str) -> None:
    """Make what is missing.

    Args:
        connection: in a transaction that nobody else migrates in.
        name: of the database, for the message.

    Raises:
        SchemaError: the tables were written by a newer Headstart that this one cannot share them with.
    """
    earlier = set(inspect(connection).get_table_names())
    if schema_version.name in earlier:
        _check(connection, name)
    metadata.create_all(connection, checkfirst=True)
    if connection.execute(select(schema_version.c.version)).first() is None:
        connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
    for counter in (REGISTRY, JOBS):
        if connection.execute(select(counters.c.value).where(counters.c.name == counter)).first() is None:
            connection.execute(insert(counters).values(name=counter, value=0))
    if connection.execute(select(identity.c.id)).first() is None:
        connection.execute(insert(identity).values(id=uuid.uuid4().hex))
    for table in metadata.sorted_tables:
        if table.name in earlier:
            added = _complete(connection, table)
            if table is jobs and _OF_PAYLOAD in added:
                _fill_jobs(connection)
        elif table.name in _FILLED and jobs.name in earlier:
            connection.exec_driver_sql(_FILLED[table.name])
    connection.execute(
        update(schema_version).where(schema_version.c.version < SCHEMA_VERSION).values(version=SCHEMA_VERSION)
    )


def _check(connection: Connection, name: str) -> None:
    found = connection.execute(select(schema_version.c.version)).scalar()
    if found is not None and found > SCHEMA_VERSION:
        raise SchemaError(
            f"The database {name} has schema {found}; this Headstart knows {SCHEMA_VERSION} at most. "
            "Start it with the Headstart that wrote it, or a newer one."
        )


def _fill_jobs(connection: Connection) -> None:
    """Fill the columns that claims read of the jobs that have not ended; a claim fails unreadable ones."""
    unfinished = select(jobs.c.job_id).where(jobs.c.finished.is_(None), jobs.c.backbone.is_(None))
    for job_id in connection.execute(unfinished).scalars().all():
        mine = jobs.c.job_id == job_id
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            spec = connection.execute(select(jobs.c.payload).where(mine)).scalar_one()["spec"]
            # PostgreSQL takes no NUL in a text, and no driver takes half a surrogate pair.
            name = str(spec["backbone"]).encode(errors="replace").decode().replace("\0", "?")[:256]
            trains = int("partial" in spec.get("recipe", {}))
            connection.execute(update(jobs).where(mine).values(backbone=name, trains_network=trains))


def _complete(connection: Connection, table: Table) -> set[str]:
    """Add what a table lacks, and return the names of the columns added."""
    inspector = inspect(connection)
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    quote = connection.dialect.identifier_preparer.format_table
    added = {column.name for column in table.columns} - columns
    for column in table.columns:
        if column.name in added:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {definition}")
    indexes = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexes:
            index.create(connection)
    return added
