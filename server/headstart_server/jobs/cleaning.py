"""Periodic removal of old rows, by one replica at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, delete, insert, not_, select, update

from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.tables import job_events, jobs, turns
from headstart_server.errors import JobNotFinished, ServiceUnavailable, StorageFull
from headstart_server.jobs import webhook_rows
from headstart_server.jobs.job import Job, WebhookState

log = structlog.get_logger(__name__)

#: Maximum jobs that one transaction removes, and events: while it removes them, other writers may wait.
_AT_ONCE = 200
EVENTS_AT_ONCE = 10_000
# Built once: building a statement takes longer than executing it.
_UNTIL = select(turns.c.until).where(turns.c.name == bindparam("turn"))
_FIRST_TURN = insert(turns)
_TAKE_TURN = update(turns).where(turns.c.name == bindparam("turn"))
_REMOVE_EVENTS = delete(job_events).where(
    job_events.c.job_id == bindparam("job"), job_events.c.seq <= bindparam("until")
)


class JobCleaner:
    """Takes turns with other replicas for periodic tasks, and deletes old jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_cleaning_turn(self, task: str, seconds: float) -> bool:
        """Return whether this process runs a periodic task; a turn lasts the given seconds."""
        with self._database.write("_take_turn") as connection:
            self._database.lock(connection, Lock.CLEANING)
            now = self._database.now(connection)
            return _take_turn(connection, task, now=now, seconds=seconds)

    def forget(self, older_than: float) -> int:
        """Remove the jobs that ended more than `older_than` seconds ago, and return their number."""
        count = 0
        while found := self._ended(older_than):
            for row in found:
                # The newest events go with the job, so that a watcher of the job always finds its end.
                for until in range(EVENTS_AT_ONCE, row.seq, EVENTS_AT_ONCE):
                    with self._database.write("jobs.forget") as connection:
                        remove_events(connection, row.job_id, until)
            for part in _parts(found):
                with self._database.write("jobs.forget") as connection:
                    count += connection.execute(delete(jobs).where(jobs.c.job_id.in_(part))).rowcount
        return count

    def _ended(self, older_than: float) -> Sequence[Any]:
        """Return some jobs that ended more than `older_than` seconds ago and have no pending webhook."""
        with self._database.read() as connection:
            before = self._database.now(connection) - older_than
            query = (
                select(jobs.c.job_id, jobs.c.seq)
                .where(jobs.c.finished < before, not_(webhook_rows.is_pending()))
                .order_by(jobs.c.finished)
                .limit(_AT_ONCE)
            )
            return connection.execute(query).all()


def run_steps(steps: Mapping[str, Callable[[], object] | None]) -> None:
    """Run each step that is not None, even if others fail; log failures and the number that each removed."""
    for name, step in steps.items():
        if step is None:
            continue
        try:
            removed = step()
        except ServiceUnavailable as error:
            log.warning("cleanup_postponed", step=name, error=error.detail)
        except StorageFull as error:
            log.warning("cleanup_postponed", step=name, error=error.message)
        except Exception:
            log.exception("cleanup_failed", step=name)
        else:
            if removed and isinstance(removed, int):
                log.info("cleanup_finished", step=name, removed=removed)


def _take_turn(connection: Connection, name: str, *, now: float, seconds: float) -> bool:
    """Return whether this replica gets the turn of a task.

    A turn lasts for the given seconds. The caller holds the cleaning lock.
    """
    until = connection.execute(_UNTIL, {"turn": name}).scalar()
    # A later end than any turn has was set while the clock was ahead, and must not stop the task until then.
    if until is not None and now < until <= now + seconds:
        return False
    if until is None:
        connection.execute(_FIRST_TURN, {"name": name, "until": now + seconds})
    else:
        connection.execute(_TAKE_TURN, {"turn": name, "until": now + seconds})
    return True


def check_deletable(job: Job) -> None:
    """Check that a caller may delete a job."""
    metadata = {"job_id": job.job_id}
    if not job.state.is_terminal:
        raise JobNotFinished(
            f"Job '{job.job_id}' is {job.state.value}. Cancel it, or wait for its end, before you delete it.",
            metadata=metadata,
        )
    if job.webhook is not None and job.webhook.state is WebhookState.PENDING:
        raise JobNotFinished(
            f"The webhook of job '{job.job_id}' is not delivered yet. Delete the job once it is delivered or "
            "given up.",
            metadata=metadata,
        )


def remove_events(connection: Connection, job_id: str, until: int) -> None:
    """Remove the events of an ended job up to a number, `EVENTS_AT_ONCE` more than were removed before."""
    connection.execute(_REMOVE_EVENTS, {"job": job_id, "until": until})


def _parts(found: Sequence[Any]) -> Iterator[list[str]]:
    """Yield the IDs of jobs in lists that have at most `EVENTS_AT_ONCE` events together.

    Each of the jobs has at most that many left.
    """
    part: list[str] = []
    events = 0
    for row in found:
        count = min(row.seq, EVENTS_AT_ONCE)
        if part and events + count > EVENTS_AT_ONCE:
            yield part
            part, events = [], 0
        part.append(row.job_id)
        events += count
    if part:
        yield part
