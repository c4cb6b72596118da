"""What one model may hold."""

from typing import Any

from sqlalchemy import Connection, Select, func, select

from headstart_server.database.tables import jobs, versions
from headstart_server.errors import QuotaExceeded
from headstart_server.jobs.rows import under_way


def check_versions(connection: Connection, limit: int, model: str) -> None:
    """Check that a model may have one more version; a job that waits or runs counts as the one it would make.

    Args:
        connection: of the transaction that accepts the job, so that of two at once one is first.
        limit: most versions of a model; 0 for none.
        model: the model.

    Raises:
        QuotaExceeded: it may not.
    """
    if not limit:
        return
    made = _count(connection, select(func.count()).select_from(versions).where(versions.c.model == model))
    to_come = _count(
        connection,
        select(func.count()).select_from(jobs).where(jobs.c.model == model, under_way()),
    )
    if made + to_come >= limit:
        raise QuotaExceeded(
            f"Expected at most {limit} versions of model '{model}'. Received: one more, with {made} there "
            f"and {to_come} to come. Delete one, or give them a time to live.",
            metadata={
                "subject": f"model {model}",
                "limit": str(limit),
                "versions": str(made),
                "jobs": str(to_come),
            },
        )


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())
