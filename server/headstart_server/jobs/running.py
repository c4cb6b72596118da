"""Fenced writes of a run, which fail if the job belongs to another attempt or was canceled."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from headstart_server.database.tables import jobs
from headstart_server.jobs import rows
from headstart_server.jobs.job import Job, JobState, Progress

# The condition that a job belongs to this attempt.
_MINE = and_(
    jobs.c.job_id == bindparam("mine"),
    jobs.c.attempt == bindparam("my_attempt"),
    jobs.c.state == bindparam("my_state"),
)
# Built once: building a statement takes longer than executing it.
_CANCEL = select(jobs.c.cancel).where(_MINE)
_WRITTEN = select(jobs.c.job_id).where(_MINE)


def _write_if(*conditions: ColumnElement[bool]) -> ReturningUpdate[Any]:
    return update(jobs).where(_MINE, *conditions).values(seq=jobs.c.seq + 1).returning(jobs.c.seq)


_WRITE, _WRITE_UNLESS_CANCELLED = _write_if(), _write_if(jobs.c.cancel == 0)


class JobLostError(Exception):
    """The job belongs to another attempt, so the results of this run are discarded."""


class ExampleErasedError(Exception):
    """An example was erased during training. Train again without it."""


class JobCancelledError(Exception):
    """The job was canceled."""


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
    """Change a running job and add an event.

    Raise JobCancelledError if it was canceled, and JobLostError if it belongs to another attempt.
    """
    if state.is_terminal:
        values["finished"] = now
        # Needed only for another attempt: the version contains the result of the selection.
        values["choosing"] = None
    if state is not JobState.RUNNING:
        values |= {"owner": None, "lease_until": None}
    mine = {"mine": job.job_id, "my_attempt": job.attempt, "my_state": JobState.RUNNING.value}
    statement = _WRITE_UNLESS_CANCELLED if unless_cancelled else _WRITE
    row = connection.execute(statement, {**mine, "state": state.value, **values}).one_or_none()
    if row is None:
        still_mine = connection.execute(_CANCEL, mine).scalar()
        raise JobCancelledError(job.job_id) if still_mine else JobLostError(job.job_id)
    rows.add_event(
        connection, job.job_id, row.seq, now=now, attempt=job.attempt, state=state, progress=progress
    )


def is_written(connection: Connection, job: Job, state: JobState) -> bool:
    """Return whether this attempt has set the job's state.

    The reply to a commit can be lost with the connection. No other attempt has this number.
    """
    mine = {"mine": job.job_id, "my_attempt": job.attempt, "my_state": state.value}
    return connection.execute(_WRITTEN, mine).first() is not None
