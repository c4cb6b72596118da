"""Brings the tables of an earlier release up to date. New tables are made before, by themselves."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, update

from headstart_server.database.tables import SCHEMA_VERSION, schema_version

#: What each version of the schema adds to the one before. Steps are never changed once they are released.
STEPS: Mapping[int, Sequence[str]] = {
    2: (
        "ALTER TABLE versions ADD COLUMN promotion JSON",
        # Jobs that wait, or ran when the server stopped, need the archives of their own.
        "INSERT INTO archive_uses (holder, archive) "
        "SELECT job_id, job_id FROM jobs WHERE state IN ('queued', 'running')",
    ),
}


def migrate(connection: Connection, found: int) -> None:
    """Carry out the steps from a version of the schema to this release's, within one transaction."""
    for version in range(found + 1, SCHEMA_VERSION + 1):
        for statement in STEPS[version]:
            connection.exec_driver_sql(statement)
    if found < SCHEMA_VERSION:
        connection.execute(update(schema_version).values(version=SCHEMA_VERSION))
