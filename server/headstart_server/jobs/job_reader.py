"""Read-only queries of jobs and their events."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select

from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.tables import jobs
from headstart_server.jobs import job_queries, rows, watching
from headstart_server.jobs.job import Job, JobEvent, JobState
from headstart_server.jobs.watching import Position, Watched


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
        with self._database.snapshot() as connection:
            return job_queries.listed(
                connection, model=model, scope=scope, states=states, before=before, limit=limit
            )

    def events(self, job_id: str, after: int) -> Sequence[JobEvent]:
        """Return the events of a job with a number above `after`, in order."""
        with self._database.snapshot() as connection:
            return job_queries.events(connection, job_id, after)

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
            return job_queries.last_events(connection, job_ids)

    def count(self) -> Mapping[JobState, int]:
        """Return the number of jobs in each state."""
        with self._database.read() as connection:
            return job_queries.counted(connection)

    def is_under_way(self, model: str) -> bool:
        """Return whether a job for this model is queued or running."""
        with self._database.read() as connection:
            query = select(jobs.c.job_id).where(jobs.c.model == model, rows.under_way()).limit(1)
            return connection.execute(query).one_or_none() is not None

    def unfinished(self) -> set[str]:
        """Return the IDs of all jobs that are queued or running."""
        with self._database.read() as connection:
            return rows.unfinished(connection)
