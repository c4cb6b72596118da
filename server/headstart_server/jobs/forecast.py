"""Estimates when jobs start and end, from the durations of recent jobs."""

import heapq
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from headstart_server.database.database import Database
from headstart_server.database.tables import jobs, replicas
from headstart_server.jobs.job import Job, JobState, JobStep

#: Maximum number of the newest successful jobs that are averaged.
LOOKED_AT = 30
#: Seconds for which a forecast is reused.
FRESH_SECONDS = 1.0
#: Steps whose duration is proportional to the number of examples.
_PASSES = (JobStep.SELECT_BACKBONE, JobStep.FEATURES)
_STATES = (JobState.QUEUED.value, JobState.RUNNING.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Estimated start and end of a job, in seconds since 1970; None if unknown."""

    start: float | None = None  # also None for a job that has started
    finish: float | None = None  # also None for a job that has ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Mean durations of recent jobs."""

    # seconds of features per example, by backbone; for `auto` summed over all candidates
    example_seconds: Mapping[str, float] = field(default_factory=dict)
    # seconds of all other steps, by backbone and recipe
    solve_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def seconds(self, payload: Mapping[str, Any]) -> float | None:
        """Return the estimated seconds of a job; None if no similar job has run."""
        backbone, recipe = _kind(payload)
        example, solve = self.example_seconds.get(backbone), self.solve_seconds.get((backbone, recipe))
        if example is None or solve is None:
            return None
        return example * int(payload["example_count"]) + solve


class Forecast:
    """Estimates when jobs start and end. Safe to use from many threads.

    It simulates the queue with the mean durations of the newest jobs. A job with a backbone or recipe that no
    job has used yet, and the jobs behind it, have no estimate.

    Args:
        slots: maximum concurrent jobs of this replica.
        lease_seconds: seconds after which a silent replica does not count.
        most: maximum concurrent jobs over all replicas; 0 means unlimited.
    """

    def __init__(self, database: Database, *, slots: int, lease_seconds: float, most: int = 0) -> None:
        self._database = database
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._most = most
        self._lock = threading.Lock()
        self._made = float("-inf")
        self._times: Mapping[str, Times] = {}
        self._next_start: float | None = None

    def of(self, job: Job) -> Times:
        """Return the estimated start and end of a job."""
        if job.state.is_terminal:
            return Times()
        times = self._refreshed().get(job.job_id)
        if times is None:
            # The job was accepted after the last refresh.
            times = self._refreshed(fresh_seconds=0.0).get(job.job_id, Times())
        return times

    def seconds_to_next_start(self) -> float | None:
        """Return the estimated seconds until a queued job starts; None if unknown."""
        self._refreshed()
        return self._next_start

    def _refreshed(self, fresh_seconds: float = FRESH_SECONDS) -> Mapping[str, Times]:
        with self._lock:
            if time.monotonic() - self._made < fresh_seconds:
                return self._times
            with self._database.snapshot() as connection:
                now = self._database.now(connection)
                rates, under_way = measured(connection), _under_way(connection)
                slots = max(self._slots, _slots(connection, now - self._lease_seconds))
            slots = min(slots, self._most or slots)
            self._times = schedule(under_way, rates, slots=slots, now=now)
            starts = [times.start for times in self._times.values() if times.start is not None]
            self._next_start = max(0.0, min(starts) - now) if starts else None
            self._made = time.monotonic()
            return self._times


def schedule(under_way: Iterable[Row[Any]], rates: Rates, *, slots: int, now: float) -> Mapping[str, Times]:
    """Simulate jobs in the order of their claims on `slots` slots; return their estimated times."""
    times: dict[str, Times] = {}
    ends: list[float] = []
    rows = list(under_way)
    for row in (row for row in rows if row.state == JobState.RUNNING.value):
        finish = _finish(row, rates, now)
        times[row.job_id] = Times(finish=finish)
        ends.append(float("inf") if finish is None else finish)
    # Slots of jobs that run beyond the current number of slots are not reused.
    free = heapq.nsmallest(slots, ends) if len(ends) > slots else ends + [now] * (slots - len(ends))
    heapq.heapify(free)
    for row in (row for row in rows if row.state == JobState.QUEUED.value):
        start, seconds = heapq.heappop(free), rates.seconds(row.payload)
        finish = float("inf") if seconds is None else start + seconds
        heapq.heappush(free, finish)
        times[row.job_id] = Times(start=_known(start), finish=_known(finish))
    return times


def measured(connection: Connection) -> Rates:
    """Return the mean durations of the newest successful jobs."""
    # Two queries, because a database may sort all successful jobs for a single one.
    newest = (
        select(jobs.c.job_id, jobs.c.state)
        .where(jobs.c.finished.is_not(None))
        .order_by(jobs.c.finished.desc())
        .limit(10 * LOOKED_AT)
    )
    ended = connection.execute(newest).all()
    succeeded = [row.job_id for row in ended if row.state == JobState.SUCCEEDED.value][:LOOKED_AT]
    found = connection.execute(
        select(jobs.c.payload, jobs.c.checkpoint).where(jobs.c.job_id.in_(succeeded))
    ).all()
    features: dict[str, list[tuple[float, int]]] = defaultdict(list)
    solves: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in found:
        steps = (row.checkpoint.get("findings") or {}).get("step_seconds") or {}
        backbone, recipe = _kind(row.payload)
        if JobStep.FEATURES.value in steps:
            seconds = sum(steps.get(step.value, 0.0) for step in _PASSES)
            features[backbone].append((seconds, int(row.payload["example_count"])))
        rest = [steps[step.value] for step in JobStep if step not in _PASSES and step.value in steps]
        if rest:
            solves[backbone, recipe].append(sum(rest))
    return Rates(
        example_seconds={
            name: sum(seconds for seconds, _ in pairs) / max(1, sum(count for _, count in pairs))
            for name, pairs in features.items()
        },
        solve_seconds={kind: sum(seconds) / len(seconds) for kind, seconds in solves.items()},
    )


def _under_way(connection: Connection) -> list[Any]:
    query = (
        select(jobs.c.job_id, jobs.c.state, jobs.c.payload, jobs.c.checkpoint, jobs.c.started, jobs.c.created)
        .where(or_(*(jobs.c.state == state for state in _STATES)))
        .order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.job_id)
    )
    return list(connection.execute(query).all())


def _slots(connection: Connection, since: float) -> int:
    query = select(func.sum(replicas.c.slots)).where(replicas.c.seen > since)
    return int(connection.execute(query).scalar() or 0)


def _finish(row: Row[Any], rates: Rates, now: float) -> float | None:
    """Return the estimated end of a running job, from similar jobs or else from its own progress."""
    fraction = float(((row.checkpoint or {}).get("progress") or {}).get("fraction") or 0.0)
    seconds = rates.seconds(row.payload)
    if seconds is not None:
        return now + seconds * (1 - fraction)
    elapsed = now - row.started
    # The first features are slow, and a tenth of a job predicts little about the rest.
    return now + elapsed * (1 - fraction) / fraction if fraction > 0.1 else None


def _kind(payload: Mapping[str, Any]) -> tuple[str, str]:
    spec = payload["spec"]
    return str(spec["backbone"]), next(iter(spec["recipe"]), "")


def _known(moment: float) -> float | None:
    return None if moment == float("inf") else moment
