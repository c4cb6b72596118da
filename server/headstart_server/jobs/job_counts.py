"""Counts of jobs and stored data that need not read all rows at each scrape."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from headstart_server.database.capture_tables import READY, capture_batches
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import datasets
from headstart_server.database.tables import jobs
from headstart_server.jobs import dataset_usage, job_queries
from headstart_server.jobs.job import JobState
from headstart_server.jobs.rows import under_way
from headstart_server.models import feedback_rows

# Built once: building a statement takes longer than executing it.
_DATASETS = select(datasets.c.state, func.count()).group_by(datasets.c.state)
_CAPTURED = select(func.sum(capture_batches.c.entries)).where(capture_batches.c.state == READY)


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedData:
    """Data stored by all tenants."""

    datasets: Mapping[str, int] = field(default_factory=dict)  # number of datasets by state
    dataset_bytes: int = 0  # bytes of their archives
    captured_inputs: int = 0  # number of captured inputs
    # number of feedbacks that no version was trained on, by state
    feedback: Mapping[str, int] = field(default_factory=dict)
    feedback_bytes: int = 0  # bytes of their archives


class DataCounts:
    """Caches the counts of the last refresh.

    Args:
        database: holds the rows.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.counted = CountedData()

    def refresh(self) -> CountedData:
        """Count and return the data; raise DatabaseUnavailable if the database does not answer."""
        with self._database.snapshot() as connection:
            self.counted = count_data(connection)
        return self.counted

    def dataset_counts(self) -> Mapping[str, float]:
        """Return the number of datasets by state."""
        return {state: float(count) for state, count in self.counted.datasets.items()}

    def feedback_counts(self) -> Mapping[str, float]:
        """Return the number of feedbacks that no version was trained on, by state."""
        return {state: float(count) for state, count in self.counted.feedback.items()}


def count_data(connection: Connection) -> CountedData:
    """Return counts of the data of all tenants."""
    there = {str(state): int(count) for state, count in connection.execute(_DATASETS)}
    return CountedData(
        datasets={"open": 0, "ready": 0, **there},
        dataset_bytes=dataset_usage.dataset_bytes(connection),
        captured_inputs=int(connection.execute(_CAPTURED).scalar() or 0),
        feedback=feedback_rows.stored_counts(connection),
        feedback_bytes=feedback_rows.stored_bytes(connection),
    )


class JobCounts:
    """Counts unfinished jobs, and adds the jobs that ended since the last count of all jobs.

    Safe to use from many threads. Jobs that were removed since that count are still included.
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
    """Return the number of unfinished jobs, and of jobs that ended after a time, by state."""
    # Filters instead of groups, because a database may read all jobs for groups.
    per_state = [func.count().filter(jobs.c.state == state.value) for state in JobState]
    found: Counter[str] = Counter()
    for condition in (under_way(), jobs.c.finished > since):
        numbers = connection.execute(select(*per_state).where(condition)).one()
        found.update(dict(zip((state.value for state in JobState), numbers, strict=True)))
    return found
