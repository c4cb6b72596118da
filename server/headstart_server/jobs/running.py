"""What a run may write: only while the job is still its own, and was not asked to cancel."""

from typing import Any

from sqlalchemy import Connection, and_, select, update

from headstart_server.database.tables import jobs
from headstart_server.jobs import rows
from headstart_server.jobs.job import Job, JobState, Progress


class JobLostError(Exception):
    """The job belongs to another attempt by now: nothing of this run counts."""


class JobCancelledError(Exception):
    """The job was asked to cancel."""


def write(
    connection: Connection,
    job: Job,
    state: JobState,
    progress: Progress | None,
    *,
    now: float,
    unless_cancelled: bool = True,
    **values: Any,
) -> None:
    """Change a running job and add an event of it.

    Raises:
        JobCancelledError: it was asked to cancel.
        JobLostError: it belongs to another attempt.
    """
    mine = and_(
        jobs.c.job_id == job.job_id,
        jobs.c.attempt == job.attempt,
        jobs.c.state == JobState.RUNNING.value,
    )
    allowed = and_(mine, jobs.c.cancel == 0) if unless_cancelled else mine
    if state.is_terminal:
        values["finished"] = now
        # Only for a next attempt: what was found goes with the version.
        values["choosing"] = None
    if state is not JobState.RUNNING:
        values |= {"owner": None, "lease_until": None}
    row = connection.execute(
        update(jobs)
        .where(allowed)
        .values(state=state.value, seq=jobs.c.seq + 1, **values)
        .returning(jobs.c.seq)
    ).one_or_none()
    if row is None:
        still_mine = connection.execute(select(jobs.c.cancel).where(mine)).scalar()
        raise JobCancelledError(job.job_id) if still_mine else JobLostError(job.job_id)
    rows.add_event(
        connection, job.job_id, row.seq, now=now, attempt=job.attempt, state=state, progress=progress
    )


def is_written(connection: Connection, job: Job, state: JobState) -> bool:
    """Whether this very attempt has put the job into a state, though it was not told so.

    The answer to a commit can be lost with the connection. No other attempt has this number.
    """
    query = select(jobs.c.job_id).where(
        jobs.c.job_id == job.job_id, jobs.c.attempt == job.attempt, jobs.c.state == state.value
    )
    return connection.execute(query).first() is not None
