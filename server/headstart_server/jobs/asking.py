"""Questions about jobs and their events."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, func, select, tuple_

from headstart_server.access.rights import Scope
from headstart_server.database.scoped import within
from headstart_server.database.tables import job_events, jobs
from headstart_server.jobs import rows
from headstart_server.jobs.job import Job, JobEvent, JobState

#: Ids in one statement.
_AT_ONCE = 500


def listed(
    connection: Connection,
    *,
    model: str,
    scope: Scope | None = None,
    states: Sequence[JobState],
    before: tuple[float, str] | None,
    limit: int,
) -> Sequence[Job]:
    """Jobs, the newest first, as `Ledger.list` says."""
    query = select(jobs)
    if model:
        query = query.where(jobs.c.model == model)
    if scope is not None:
        query = query.where(within(jobs.c.model, scope))
    if states:
        query = query.where(jobs.c.state.in_([state.value for state in states]))
    if before is not None:
        query = query.where(tuple_(jobs.c.created, jobs.c.job_id) < before)
    query = query.order_by(jobs.c.created.desc(), jobs.c.job_id.desc()).limit(limit)
    return [rows.job(connection, row) for row in connection.execute(query).all()]


def events(connection: Connection, job_id: str, after: int) -> Sequence[JobEvent]:
    """The events of a job with a number above `after`, in order.

    Raises:
        JobNotFound: there is no such job.
    """
    found = connection.execute(
        select(job_events)
        .where(job_events.c.job_id == job_id, job_events.c.seq > after)
        .order_by(job_events.c.seq)
    ).all()
    if not found:
        rows.get(connection, job_id)
    return [
        JobEvent(
            job_id=job_id,
            number=row.seq,
            time=row.time,
            state=JobState(row.data["state"]),
            progress=rows.progress_of(row.data.get("progress")),
        )
        for row in found
    ]


def last_events(connection: Connection, job_ids: Collection[str]) -> Mapping[str, int]:
    """The number of the newest event of each job that there is."""
    ids = list(job_ids)
    found: dict[str, int] = {}
    for start in range(0, len(ids), _AT_ONCE):
        query = select(jobs.c.job_id, jobs.c.seq).where(jobs.c.job_id.in_(ids[start : start + _AT_ONCE]))
        found.update((row.job_id, row.seq) for row in connection.execute(query))
    return found


def counted(connection: Connection) -> Mapping[JobState, int]:
    """Number of jobs in each state."""
    found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
    by_name = {str(state): int(number) for state, number in found}
    return {state: by_name.get(state.value, 0) for state in JobState}
