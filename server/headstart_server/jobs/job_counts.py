"""Number of jobs in each state, without counting all of them for each scrape of the metrics."""

import threading
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, func, select

from headstart_server.database.database import Database
from headstart_server.database.tables import jobs
from headstart_server.jobs import job_queries
from headstart_server.jobs.job import JobState
from headstart_server.jobs.rows import under_way


class JobCounts:
    """Counts the jobs under way, and those that ended since all of them were counted.

    Safe to use from many threads. Jobs that were removed since then still count.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: tuple[float, Mapping[JobState, int]] | None = None

    def refresh(self) -> tuple[float, Mapping[JobState, int]]:
        """Count all jobs; return when the last of them ended, and their number in each state."""
        with self._database.snapshot() as connection:
            ended = connection.execute(select(func.max(jobs.c.finished))).scalar() or 0.0
            counted = (float(ended), job_queries.counted(connection))
        with self._lock:
            self._counted = counted
        return counted

    def __call__(self) -> Mapping[str, float]:
        """Return the number of jobs in each state."""
        with self._lock:
            counted = self._counted
        since, before = counted or self.refresh()
        with self._database.snapshot() as connection:
            now = _by_state(connection, since)
        found = {state.value: float(before[state]) for state in JobState if state.is_terminal}
        return {state: found.get(state, 0.0) + count for state, count in now.items()}


def _by_state(connection: Connection, since: float) -> Mapping[str, int]:
    """Return the number of jobs under way, and of those that ended after a time, by state."""
    # Filters instead of groups: for groups a database may choose to read all jobs.
    per_state = [func.count().filter(jobs.c.state == state.value) for state in JobState]
    found: Counter[str] = Counter()
    for condition in (under_way(), jobs.c.finished > since):
        numbers = connection.execute(select(*per_state).where(condition)).one()
        found.update(dict(zip((state.value for state in JobState), numbers, strict=True)))
    return found
