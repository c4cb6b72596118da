"""Recovery of jobs whose process died: they return to the queue, and run alone next.

If a process dies, all its jobs are suspected. Each runs alone next, and only a crash of a process that ran no
other job counts against the job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select, update

from headstart_server.database.tables import jobs
from headstart_server.errors import CrashedRepeatedly
from headstart_server.jobs import rows
from headstart_server.jobs.job import Isolation, JobError, JobState

#: A job fails after this many crashes, so that a poison job cannot take down every replica.
MAX_CRASHES = 3
_RUNNING, _QUEUED = JobState.RUNNING.value, JobState.QUEUED.value


@dataclass(frozen=True, kw_only=True, slots=True)
class RecoveredJob:
    """A job that was taken from a dead process."""

    job_id: str
    owner: str | None  # the process; None if it is unknown
    crashes: int
    has_ended: bool  # whether the job failed or was canceled instead of being queued again


def recover(connection: Connection, dead: Sequence[Row[Any]], owner: str, now: float) -> list[RecoveredJob]:
    """Put jobs of dead processes back into the queue; fail jobs that crashed too often.

    Args:
        dead: rows of jobs whose lease has expired, as `columns` selects them.
        owner: this process. A job that only the row assigns to it is a claim with a lost reply, not a crash.
    """
    counts = _running(connection, {row.owner for row in dead if row.owner})
    crowded = [name for name, count in counts.items() if count > 1 and name != owner]
    found = []
    for row in dead:
        crashed = row.owner != owner
        is_lone = row.isolation == Isolation.ALONE or (
            row.isolation == Isolation.SHARED and row.owner not in crowded
        )
        crashes = row.crashes + (crashed and is_lone)
        state = _next_state(row, crashes)
        isolation = max(row.isolation, Isolation.SUSPECTED) if crashed else row.isolation
        _release(connection, row, state, now=now, crashes=crashes, isolation=int(isolation))
        if crashed or state is not JobState.QUEUED:
            found.append(
                RecoveredJob(
                    job_id=row.job_id,
                    owner=row.owner,
                    crashes=crashes,
                    has_ended=state is not JobState.QUEUED,
                )
            )
    if crowded:
        # The lease of another job of the process may end later. It must then not look like the only job.
        connection.execute(
            update(jobs)
            .where(
                jobs.c.owner.in_(crowded),
                jobs.c.state == _RUNNING,
                jobs.c.isolation == Isolation.SHARED.value,
            )
            .values(isolation=Isolation.SUSPECTED.value)
        )
    return found


def end(connection: Connection, row: Row[Any], state: JobState, *, now: float, **values: Any) -> None:
    """End a job without a run; raise its attempt, so that an earlier run cannot write."""
    values = {
        "state": state.value,
        "attempt": row.attempt + 1,
        "owner": None,
        "lease_until": None,
        "finished": now,
        "choosing": None,
        **values,
    }
    _write(connection, row, values, now)


def _running(connection: Connection, owners: set[str]) -> Mapping[str, int]:
    """Return the number of running jobs of each process."""
    if not owners:
        return {}
    query = (
        select(jobs.c.owner, func.count())
        .where(and_(jobs.c.state == _RUNNING, jobs.c.owner.in_(owners)))
        .group_by(jobs.c.owner)
    )
    return {str(name): int(count) for name, count in connection.execute(query)}


def _next_state(row: Row[Any], crashes: int) -> JobState:
    if row.cancel:
        return JobState.CANCELLED
    return JobState.FAILED if crashes >= MAX_CRASHES else JobState.QUEUED


def _release(
    connection: Connection, row: Row[Any], state: JobState, *, now: float, crashes: int, isolation: int
) -> None:
    values: dict[str, Any] = {"crashes": crashes, "isolation": isolation}
    if state is JobState.FAILED:
        error = JobError(
            reason=CrashedRepeatedly.reason,
            message=f"The server's process ended {crashes} times while it ran this job alone. Use fewer or "
            "smaller examples, or another recipe, and send the fine-tune again.",
            metadata={"crashes": str(crashes)},
        )
        values["error"] = asdict(error)
    if state is JobState.QUEUED:
        _write(connection, row, {**values, "state": _QUEUED, "owner": None, "lease_until": None}, now)
    else:
        end(connection, row, state, now=now, **values)


def _write(connection: Connection, row: Row[Any], values: Mapping[str, Any], now: float) -> None:
    number = row.seq + 1
    connection.execute(update(jobs).where(jobs.c.job_id == row.job_id).values(seq=number, **values))
    rows.add_event(
        connection,
        row.job_id,
        number,
        now=now,
        attempt=values.get("attempt", row.attempt),
        state=JobState(values["state"]),
        progress=None,
    )
