"""Read-only queries of jobs and their events."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import bindparam, select, tuple_, union_all

from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.locks import batched
from headstart_server.database.tables import jobs
from headstart_server.jobs import rows, watching
from headstart_server.jobs.job import Job, JobEvent, JobState
from headstart_server.jobs.job_queries import counted, events_of, narrowed
from headstart_server.jobs.watching import Position, Watched

#: Maximum IDs in one statement, and events that are read at once: a long job has 100,000.
_AT_ONCE = 500
EVENTS_AT_ONCE = 1000
# Built once: building a statement takes longer than executing it.
_LAST_EVENTS = select(jobs.c.job_id, jobs.c.seq).where(
    jobs.c.job_id.in_(bindparam("job_ids", expanding=True))
)


class JobReader:
    """Reads jobs and their events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Job:
        """Return a job; raise JobNotFound if it does not exist."""
        with self._database.snapshot() as connection:
            return rows.get(connection, job_id)

    def list(
        self,
        *,
        model: str,
        scope: Scope | None = None,
        states: Sequence[JobState],
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[Job]:
        """Return jobs, the newest first, of a model (if not empty), a scope and some states (if any).

        `before` is the (created, job_id) of the job after which the list continues.
        """
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
        with self._database.snapshot() as connection:
            job_ids = list(connection.execute(chosen).scalars())
            return [
                rows.job(connection, row)
                for part in batched(job_ids, _AT_ONCE)
                for row in connection.execute(select(jobs).where(jobs.c.job_id.in_(part)).order_by(*newest))
            ]

    def events(self, job_id: str, after: int) -> Sequence[JobEvent]:
        """Return the first `EVENTS_AT_ONCE` events of a job with a number above `after`, in order."""
        with self._database.snapshot() as connection:
            found = events_of(connection, job_id, after, EVENTS_AT_ONCE)
            if not found:
                rows.get(connection, job_id)
            return found

    def position(self) -> Position:
        """Return the start position of a watcher of all jobs: the jobs that have not ended."""
        with self._database.read() as connection:
            return watching.current(connection)

    def watched(self, position: Position, *, model: str, scope: Scope | None) -> Watched:
        """Return the events after a position, of all jobs or of the jobs of a model or scope."""
        with self._database.snapshot() as connection:
            return watching.step(connection, position, model=model, scope=scope)

    def unfinished_events(self) -> tuple[int, Mapping[str, int]]:
        """Return the number of the newest job, and the last event of each job that has not ended."""
        with self._database.snapshot() as connection:
            return watching.unfinished(connection)

    def last_events(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """Return the number of the newest event of each existing job."""
        with self._database.read() as connection:
            return {
                row.job_id: row.seq
                for part in batched(job_ids, _AT_ONCE)
                for row in connection.execute(_LAST_EVENTS, {"job_ids": part})
            }

    def count(self) -> Mapping[JobState, int]:
        """Return the number of jobs in each state."""
        with self._database.read() as connection:
            return counted(connection)

    def is_under_way(self, model: str) -> bool:
        """Return whether a job for this model is queued or running."""
        with self._database.read() as connection:
            query = select(jobs.c.job_id).where(jobs.c.model == model, rows.under_way()).limit(1)
            return connection.execute(query).one_or_none() is not None

    def unfinished(self) -> set[str]:
        """Return the IDs of all jobs that are queued or running."""
        with self._database.read() as connection:
            return rows.unfinished(connection)
