"""Queries of jobs and their events."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, tuple_, union_all

from headstart_server.auth.permissions import Scope
from headstart_server.database.locks import batched
from headstart_server.database.scoped import within
from headstart_server.database.tables import job_events, jobs
from headstart_server.jobs import rows
from headstart_server.jobs.job import Job, JobEvent, JobState

#: Maximum IDs in one statement.
_AT_ONCE = 500
# Built once: building a statement takes longer than executing it.
_EVENTS = (
    select(job_events, jobs.c.model)
    .join(jobs, jobs.c.job_id == job_events.c.job_id)
    .where(job_events.c.job_id == bindparam("job_id"), job_events.c.seq > bindparam("after"))
    .order_by(job_events.c.seq)
    .limit(bindparam("limit"))
)
#: More events than any job has.
_ALL_EVENTS = 1 << 31
_LAST_EVENTS = select(jobs.c.job_id, jobs.c.seq).where(
    jobs.c.job_id.in_(bindparam("job_ids", expanding=True))
)


def listed(
    connection: Connection,
    *,
    model: str,
    scope: Scope | None = None,
    states: Sequence[JobState],
    before: tuple[float, str] | None,
    limit: int,
) -> Sequence[Job]:
    """Return jobs, the newest first; see `JobReader.list`."""
    conditions = narrowed(model, scope)
    if before is not None:
        conditions.append(tuple_(jobs.c.created, jobs.c.job_id) < before)
    newest = (jobs.c.created.desc(), jobs.c.job_id.desc())
    # One query per state, so that each reads a range of an index even if the state is rare.
    parts = [
        select(jobs.c.created, jobs.c.job_id)
        .where(jobs.c.state == state.value, *conditions)
        .order_by(*newest)
        .limit(limit)
        .subquery()
        for state in dict.fromkeys(states or JobState)
    ]
    found = union_all(*(select(part.c.created, part.c.job_id) for part in parts)).subquery()
    chosen = select(found.c.job_id).order_by(found.c.created.desc(), found.c.job_id.desc()).limit(limit)
    job_ids = list(connection.execute(chosen).scalars())
    return [
        rows.job(connection, row)
        for part in batched(job_ids, _AT_ONCE)
        for row in connection.execute(select(jobs).where(jobs.c.job_id.in_(part)).order_by(*newest))
    ]


def narrowed(model: str, scope: Scope | None) -> list[ColumnElement[bool]]:
    """Return conditions on the model and scope of jobs; indexes begin with the first condition's column."""
    found: list[ColumnElement[bool]] = []
    if model:
        found.append(jobs.c.model == model)
    if scope is not None:
        if not model:
            found.append(jobs.c.tenant == scope.tenant)
        found.append(within(jobs.c.model, scope))
    return found


def events(connection: Connection, job_id: str, after: int) -> Sequence[JobEvent]:
    """Return the events of a job with a number above `after`, in order."""
    found = events_of(connection, job_id, after)
    if not found:
        rows.get(connection, job_id)
    return found


def events_of(
    connection: Connection, job_id: str, after: int, limit: int = _ALL_EVENTS
) -> Sequence[JobEvent]:
    """Return at most `limit` events of a job with a number above `after`, in order."""
    found = connection.execute(_EVENTS, {"job_id": job_id, "after": after, "limit": limit})
    return [
        JobEvent(
            job_id=job_id,
            number=row.seq,
            time=row.time,
            state=JobState(row.data["state"]),
            progress=rows.progress_of(row.data.get("progress")),
            model=row.model,
        )
        for row in found
    ]


def last_events(connection: Connection, job_ids: Collection[str]) -> Mapping[str, int]:
    """Return the number of the newest event of each existing job."""
    return {
        row.job_id: row.seq
        for part in batched(job_ids, _AT_ONCE)
        for row in connection.execute(_LAST_EVENTS, {"job_ids": part})
    }


def counted(connection: Connection) -> Mapping[JobState, int]:
    """Return the number of jobs in each state."""
    found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
    by_name = {str(state): int(number) for state, number in found}
    return {state: by_name.get(state.value, 0) for state in JobState}
