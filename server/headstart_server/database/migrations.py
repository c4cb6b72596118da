"""Add missing tables, columns and indexes to a database; remove nothing.

Servers of two releases can therefore share a database while one replaces the other. The missing parts are
found by comparing the database with `tables`, not by counting releases. A new column needs a default or must
be nullable.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from sqlalchemy import Connection, Table, insert, inspect, select, update
from sqlalchemy.schema import CreateColumn

# Registers its tables.
from headstart_server.database import capture_tables, dataset_tables, feedback_tables  # noqa: F401
from headstart_server.database.tables import (
    JOBS,
    REGISTRY,
    SCHEMA_VERSION,
    counters,
    identity,
    metadata,
    schema_version,
)
from headstart_server.errors import HeadstartError


class SchemaError(HeadstartError):
    """The database cannot be used: a newer Headstart wrote it, or it rejects the tables or this user."""


def migrate(
    connection: Connection,
    name: str,
    slowly: Callable[[Connection], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Create missing tables, columns and indexes; raise SchemaError for incompatible newer tables.

    Args:
        slowly: lets statements of a connection take as long as an index of a large table does.
    """
    earlier = set(inspect(connection).get_table_names())
    if schema_version.name in earlier:
        _check(connection, name)
    tables = metadata.sorted_tables
    # The schema lock is held, so the single tables need no check.
    metadata.create_all(
        connection, [table for table in tables if table.name not in earlier], checkfirst=False
    )
    if connection.execute(select(schema_version.c.version)).first() is None:
        connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
    for counter in (REGISTRY, JOBS):
        if connection.execute(select(counters.c.value).where(counters.c.name == counter)).first() is None:
            connection.execute(insert(counters).values(name=counter, value=0))
    if connection.execute(select(identity.c.id)).first() is None:
        connection.execute(insert(identity).values(id=uuid.uuid4().hex))
    if changes := list(_missing(connection, [table for table in tables if table.name in earlier])):
        with slowly(connection):
            for change in changes:
                change()
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


def _missing(connection: Connection, tables: Sequence[Table]) -> Iterator[Callable[[], object]]:
    """Yield functions that add the columns and indexes that the tables lack.

    A few statements read those of all tables: PostgreSQL takes long for one per table.
    """
    if not tables:
        return
    inspector = inspect(connection)
    names = [table.name for table in tables]
    columns = inspector.get_multi_columns(filter_names=names)
    indexes = inspector.get_multi_indexes(filter_names=names)
    quote = connection.dialect.identifier_preparer.format_table
    for table in tables:
        present = {column["name"] for column in columns[None, table.name]}
        for column in table.columns:
            if column.name not in present:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                yield partial(
                    connection.exec_driver_sql, f"ALTER TABLE {quote(table)} ADD COLUMN {definition}"
                )
        present = {str(index["name"]) for index in indexes[None, table.name]}
        for index in table.indexes:
            if index.name not in present:
                yield partial(index.create, connection)
