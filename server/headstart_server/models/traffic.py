"""The traffic of versions, summed over replicas: requests, errors, latencies, unknown inputs and drift.

Each replica counts in memory, and writes the counts of a time bucket into rows that only it writes. So
writing them again changes nothing. Reading sums the rows.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, log2
from typing import Any

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from headstart_server.database.database import Database
from headstart_server.database.tables import traffic
from headstart_server.models import rows

#: Seconds of a bucket, and seconds after which rows are removed.
BUCKET_SECONDS, KEPT_SECONDS = 300, 7 * 86_400
#: Maximum intervals of a window, not counting the last one, which is incomplete.
_INTERVALS = 48
#: Maximum versions that a replica counts in a bucket.
MAX_VERSIONS = 200
#: Latencies are counted in bins: the end of the first one in seconds, and the number of bins per doubling.
_FIRST, _BINS_OF_TWO, _LAST_BIN = 1e-4, 4, 80
_DRIFTS = ("feature_drift", "prediction_drift", "confidence_drift")
_OLDEST = select(func.min(traffic.c.bucket))
_COUNTS = ("requests", "errors", "inputs", "unknowns", "samples", "compared", "agreed")


@dataclass(kw_only=True, slots=True)
class Counts:
    """The counts of a version."""

    requests: int = 0  # requests, including those that failed
    errors: int = 0  # requests that failed, or whose caller left
    inputs: int = 0  # inputs of the requests that were answered
    unknowns: int = 0  # inputs that were unknown, if the request enabled abstention
    samples: int = 0  # inputs that were sampled for drift
    compared: int = 0  # sampled inputs that were also predicted by the other version of a traffic split
    agreed: int = 0  # compared inputs for which both versions predict the same
    # number of answered requests, by the bin of their latency
    latencies: dict[int, int] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        """Add later counts; drifts are weighted by their samples."""
        samples = self.samples + other.samples
        for name, value in other.drift.items():
            mine = self.drift.get(name)
            part = other.samples / samples if samples else 1.0
            self.drift[name] = value if mine is None else mine + (value - mine) * part
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for place, count in other.latencies.items():
            self.latencies[place] = self.latencies.get(place, 0) + count

    def latency(self, quantile: float) -> float | None:
        """Return a quantile of the latency in seconds, within 10 %; None without an answered request."""
        total = sum(self.latencies.values())
        if not total:
            return None
        left = quantile * total
        for place in sorted(self.latencies):
            count = self.latencies[place]
            if left <= count:
                break
            left -= count
        return float(_FIRST * 2 ** ((place - 1 + left / count) / _BINS_OF_TWO))


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """The requests in an interval of a window, over all versions."""

    start: float  # the beginning, in seconds since 1970
    requests: int  # requests, including those that failed
    errors: int  # requests that failed, or whose caller left


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The traffic of a model in a window of time."""

    start: float  # the beginning of the first bucket, in seconds since 1970
    end: float
    versions: Mapping[int, Counts]
    intervals: Sequence[Interval]  # the requests over time, the oldest first, without gaps


class Traffic:
    """Counts the traffic of this replica. Safe to use from many threads."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Counts] = {}
        # One write at a time: the rows of the bucket, as last written.
        self._writing = threading.Lock()
        self._bucket = 0
        self._written: Mapping[tuple[str, int], Counts] = {}

    def answered(self, model: str, number: int, *, inputs: int, unknowns: int, seconds: float) -> None:
        """Count a request that a version answered."""
        place = 0 if seconds <= _FIRST else min(int(log2(seconds / _FIRST) * _BINS_OF_TWO) + 1, _LAST_BIN)
        with self._lock:
            counts = self._of(model, number)
            if counts is not None:
                counts.requests += 1
                counts.inputs += inputs
                counts.unknowns += unknowns
                counts.latencies[place] = counts.latencies.get(place, 0) + 1

    def failed(self, model: str, number: int) -> None:
        """Count a request that a version did not answer."""
        with self._lock:
            counts = self._of(model, number)
            if counts is not None:
                counts.requests += 1
                counts.errors += 1

    def drifted(self, model: str, number: int, inputs: int, drift: Mapping[str, float]) -> None:
        """Count inputs that were sampled for drift, and record their current drift."""
        with self._lock:
            counts = self._of(model, number)
            if counts is not None:
                counts.samples += inputs
                counts.drift.update(drift)

    def split_compared(self, model: str, number: int, inputs: int, agreed: int) -> None:
        """Count inputs that a version of a traffic split and the version of the alias predicted."""
        with self._lock:
            counts = self._of(model, number)
            if counts is not None:
                counts.compared += inputs
                counts.agreed += agreed

    def write(self) -> None:
        """Write the new counts; after DatabaseUnavailable or StorageFull the next call writes them."""
        with self._writing:
            with self._lock:
                pending, self._pending = self._pending, {}
            if not pending:
                return
            try:
                self._write(pending)
            except BaseException:
                with self._lock:
                    for key, counts in self._pending.items():
                        pending.setdefault(key, Counts()).add(counts)
                    self._pending = pending
                raise

    def clean(self) -> int:
        """Remove expired rows, and return their number."""
        removed = 0
        while count := self._clean_bucket():
            removed += count
        return removed

    def _clean_bucket(self) -> int:
        """Remove the rows of the oldest bucket if it has expired, and return their number."""
        with self._database.write("traffic.clean") as connection:
            oldest = connection.execute(_OLDEST).scalar()
            if oldest is None or oldest >= self._database.now(connection) - KEPT_SECONDS:
                return 0
            return connection.execute(delete(traffic).where(traffic.c.bucket == oldest)).rowcount

    def _of(self, model: str, number: int) -> Counts | None:
        counts = self._pending.get((model, number))
        if counts is None and len(self._pending) < MAX_VERSIONS:
            counts = self._pending[model, number] = Counts()
        return counts

    def _write(self, pending: Mapping[tuple[str, int], Counts]) -> None:
        with self._database.write("traffic.write") as connection:
            bucket = _bucket(self._database.now(connection))
            before = self._written if bucket == self._bucket else {}
            after: dict[tuple[str, int], Counts] = {}
            room = MAX_VERSIONS - len(before)
            for key, counts in pending.items():
                if key not in before:
                    if not room:
                        continue
                    room -= 1
                after[key] = _copied(before.get(key, Counts()))
                after[key].add(counts)
            if after:
                insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(traffic)
                changed = {name: insert.excluded[name] for name in (*_COUNTS, *_DRIFTS, "latencies")}
                here = {"bucket": bucket, "replica": self._owner}
                connection.execute(
                    insert.on_conflict_do_update(index_elements=traffic.primary_key.columns, set_=changed),
                    [{**here, **_values(key, after[key])} for key in sorted(after)],
                )
        self._bucket, self._written = bucket, {**before, **after}


def read_window(database: Database, model: str, seconds: float, number: int | None = None) -> Window:
    """Return the traffic of all versions or one in recent seconds, from the beginning of a bucket."""
    with database.snapshot() as connection:
        rows.require_model(connection, model)
        now = database.now(connection)
        start = _bucket(now - seconds)
        query = select(traffic).where(traffic.c.model == model, traffic.c.bucket >= start)
        if number is not None:
            query = query.where(traffic.c.number == number)
        found = connection.execute(query.order_by(traffic.c.bucket)).all()
    intervals = _intervals(found, start, now)
    return Window(start=float(start), end=now, versions=_summed(found), intervals=intervals)


def _bucket(time: float) -> int:
    return int(time // BUCKET_SECONDS * BUCKET_SECONDS)


def _copied(counts: Counts) -> Counts:
    return replace(counts, latencies=dict(counts.latencies), drift=dict(counts.drift))


def _values(key: tuple[str, int], counts: Counts) -> dict[str, Any]:
    return {
        "model": key[0],
        "number": key[1],
        **{name: getattr(counts, name) for name in _COUNTS},
        **{name: counts.drift.get(name) for name in _DRIFTS},
        "latencies": [[place, count] for place, count in sorted(counts.latencies.items())],
    }


def _intervals(found: Iterable[Row[Any]], start: int, end: float) -> Sequence[Interval]:
    """Return the requests in intervals of equally many buckets."""
    buckets = ceil((end - start) / BUCKET_SECONDS)
    length = ceil(buckets / (_INTERVALS + 1)) * BUCKET_SECONDS
    sums = [[0, 0] for _ in range(max(1, ceil((end - start) / length)))]
    for row in found:
        # A replica with a faster clock may have begun the next bucket.
        place = min(int(row.bucket - start) // length, len(sums) - 1)
        sums[place][0] += int(row.requests)
        sums[place][1] += int(row.errors)
    return [
        Interval(start=float(start + place * length), requests=requests, errors=errors)
        for place, (requests, errors) in enumerate(sums)
    ]


def _summed(found: Iterable[Row[Any]]) -> Mapping[int, Counts]:
    versions: dict[int, Counts] = {}
    for row in found:
        latencies: Sequence[tuple[int, int]] = row.latencies
        counts = Counts(
            **{name: int(getattr(row, name)) for name in _COUNTS},
            latencies=dict(latencies),
            drift={name: value for name in _DRIFTS if (value := getattr(row, name)) is not None},
        )
        versions.setdefault(int(row.number), Counts()).add(counts)
    return versions
