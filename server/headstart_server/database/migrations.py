"""Bringing the tables of an earlier Headstart up to date, without taking anything from them.

Tables, columns and indexes are only ever added, so servers of two releases can share them while one replaces
the other. What is missing is found by comparing, not by counting releases.
"""

import uuid

from sqlalchemy import Connection, Table, insert, inspect, select, update
from sqlalchemy.schema import CreateColumn

from headstart_server.database.tables import (
    REGISTRY,
    SCHEMA_VERSION,
    archive_uses,
    counters,
    identity,
    jobs,
    metadata,
    schema_version,
)
from headstart_server.errors import HeadstartError

#: What a table gets when it is added to those of an earlier release.
_FILLED = {
    # Jobs that wait, or ran when the server stopped, need the archives of their own.
    archive_uses.name: "INSERT INTO archive_uses (holder, archive) "
    "SELECT job_id, job_id FROM jobs WHERE state IN ('queued', 'running')",
}


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
    if connection.execute(select(counters.c.value).where(counters.c.name == REGISTRY)).first() is None:
        connection.execute(insert(counters).values(name=REGISTRY, value=0))
    if connection.execute(select(identity.c.id)).first() is None:
        connection.execute(insert(identity).values(id=uuid.uuid4().hex))
    for table in metadata.sorted_tables:
        if table.name in earlier:
            _complete(connection, table)
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


def _complete(connection: Connection, table: Table) -> None:
    inspector = inspect(connection)
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    quote = connection.dialect.identifier_preparer.format_table
    for column in table.columns:
        if column.name not in columns:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {definition}")
    indexes = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexes:
            index.create(connection)
