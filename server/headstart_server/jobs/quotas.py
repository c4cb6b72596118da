"""What one model may hold."""

from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, union

from headstart_server.database.tables import aliases, jobs, versions
from headstart_server.errors import QuotaExceeded
from headstart_server.jobs.rows import under_way
from headstart_server.models import alias_rows

# Built once: building a statement takes longer than executing it.
_ALIASES = union(
    select(aliases.c.name).where(aliases.c.model == bindparam("model")),
    select(jobs.c.alias).where(jobs.c.model == bindparam("model"), jobs.c.alias.is_not(None), under_way()),
).limit(alias_rows.MAX_ALIASES + 1)


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


def check_aliases(connection: Connection, model: str, alias: str | None) -> None:
    """Check that a model may have the alias of one more job; aliases that unfinished jobs will make count.

    Args:
        connection: of the transaction that accepts the job.
        model: the model.
        alias: the alias that the job moves; None for none.

    Raises:
        QuotaExceeded: the model has too many aliases for a new one.
    """
    if alias is None:
        return
    names = connection.execute(_ALIASES, {"model": model}).scalars().all()
    if alias not in names:
        alias_rows.check_count(model, len(names))


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())
