"""Queries of jobs and their events."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, func, select

from headstart_server.auth.permissions import Scope
from headstart_server.database.scoped import within
from headstart_server.database.tables import job_events, jobs
from headstart_server.jobs import rows
from headstart_server.jobs.job import JobEvent, JobState

# Built once: building a statement takes longer than executing it.
_EVENTS = (
    select(job_events, jobs.c.model)
    .join(jobs, jobs.c.job_id == job_events.c.job_id)
    .where(job_events.c.job_id == bindparam("job_id"), job_events.c.seq > bindparam("after"))
    .order_by(job_events.c.seq)
    .limit(bindparam("limit"))
)


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


def events_of(connection: Connection, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
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


def counted(connection: Connection) -> Mapping[JobState, int]:
    """Return the number of jobs in each state."""
    found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
    by_name = {str(state): int(number) for state, number in found}
    return {state: by_name.get(state.value, 0) for state in JobState}
