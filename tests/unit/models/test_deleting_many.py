"""Deleting a model with many rows reads each of them a few times, although its transaction deletes parts."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Table, insert, text

from fakes import Publisher
from headstart_server.database.feedback_tables import feedback
from headstart_server.database.tables import versions
from headstart_server.models import feedback_rows, rows
from postgres import PostgresServer

MANY = 20_000
#: Entries of all indexes of a table that the session has read, with those of rows that it has deleted.
_ENTRIES = text(
    "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index "
    "WHERE indrelid = CAST(:name AS regclass)"
)


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    # SQLite removes the entries of deleted rows immediately.
    return postgres.empty_database()


def multiply(connection: Connection, table: Table, **values: str) -> None:
    """Copy the only row of a table with other values, which are expressions of `copied`."""
    names = [column.name for column in table.columns]
    given = ", ".join(values.get(name, name) for name in names)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) "
        f"SELECT {given} FROM {table.name}, generate_series(2, {MANY}) AS copied"
    )


def add_feedback(publisher: Publisher) -> None:
    row = {
        "feedback_id": "1",
        "number": 1,
        "model": "pets",
        "state": "learned",
        "request_hash": "",
        "principal": "",
        "created": 0.0,
        "example_id": "",
        "digest": "",
        "kind": "text",
        "nbytes": 0,
        "answer": "label",
        "week": 0,
        "sampled": 0,
    }
    with publisher.database.write() as connection:
        connection.execute(insert(feedback), row)
        multiply(connection, feedback, feedback_id="copied", number="copied")


def add_versions(publisher: Publisher) -> None:
    publisher.publish()
    with publisher.database.write() as connection:
        artifact = "'a' || copied"
        multiply(connection, versions, number="copied", job_id=artifact, artifact=artifact)


@pytest.mark.parametrize(
    ("table", "add", "delete"),
    [
        (feedback, add_feedback, feedback_rows.delete_model),
        (versions, add_versions, rows.delete_versions),
    ],
    ids=["feedback", "versions"],
)
def test_rows_deleted_before_are_not_read_again(
    publisher: Publisher,
    table: Table,
    add: Callable[[Publisher], None],
    delete: Callable[[Connection, str], object],
) -> None:
    add(publisher)
    with publisher.database.write() as connection:
        # Otherwise the plan depends on whether the server has analyzed the table meanwhile.
        connection.exec_driver_sql(f"ANALYZE {table.name}")
        count = connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
        before = connection.execute(_ENTRIES, {"name": table.name}).scalar_one()
        delete(connection, "pets")
        entries = connection.execute(_ENTRIES, {"name": table.name}).scalar_one() - before
        left = connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
    assert (count, left) == (MANY, 0)
    assert entries <= 5 * MANY
