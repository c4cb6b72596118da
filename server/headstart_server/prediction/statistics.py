"""Counts of the calls of each version, and of the time of their stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from headstart_server.lru import LruCache

#: Maximum counted versions; the least recently used one is dropped.
MAX_VERSIONS = 10_000


class StageTimes(NamedTuple):
    """The time of each stage of a call, in seconds."""

    total: float = 0.0  # from the call to the finished answer
    resolve: float = 0.0  # finding the versions, and loading those that were not in memory
    decode: float = 0.0  # longest decoding of an input
    queue: float = 0.0  # longest wait of an input for the device
    backbone: float = 0.0  # longest batch of the backbone
    head: float = 0.0  # versions' own tails, heads, calibration and choosing the top classes


@dataclass(slots=True)
class VersionCounts:
    """The counts of a version since the server started, or since its counts were dropped."""

    calls: int = 0  # answered calls
    inputs: int = 0  # inputs of answered calls
    failed: int = 0  # calls that resolved it and then failed, or whose caller left
    failed_seconds: float = 0.0  # seconds of failed calls
    total: float = 0.0  # seconds of answered calls, from the call to the finished answer
    decode: float = 0.0  # decoding, for each call its longest
    queue: float = 0.0  # waiting for the device, likewise
    backbone: float = 0.0  # the backbone, likewise
    head: float = 0.0  # tails, heads, calibration and choosing the top classes
    last: float = 0.0  # time of its last call, in seconds since 1970; 0 for never


class Statistics:
    """Counts by version. One event loop uses it, so it has no lock.

    Args:
        now: seconds since 1970.
        most: maximum counted versions.
    """

    def __init__(self, now: Callable[[], float] = time.time, *, most: int = MAX_VERSIONS) -> None:
        self._now = now
        self._counts: LruCache[tuple[str, int], VersionCounts] = LruCache(most)

    def answered(self, model: str, number: int, inputs: int, times: StageTimes) -> None:
        """Count a call that a version answered."""
        counts = self._of(model, number)
        counts.calls += 1
        counts.inputs += inputs
        counts.total += times.total
        counts.decode += times.decode
        counts.queue += times.queue
        counts.backbone += times.backbone
        counts.head += times.head

    def failed(self, model: str, number: int, seconds: float) -> None:
        """Count a call that failed after so many seconds."""
        counts = self._of(model, number)
        counts.failed += 1
        counts.failed_seconds += seconds

    def counts(self, model: str, number: int) -> VersionCounts:
        """Return the counts of a version; zeros if it was not used."""
        found = self._counts.peek((model, number))
        return VersionCounts() if found is None else replace(found)

    def counted(self) -> list[tuple[str, int]]:
        """Return models and numbers of the counted versions, sorted."""
        return sorted(self._counts)

    def _of(self, model: str, number: int) -> VersionCounts:
        key = model, number
        counts = self._counts.get(key)
        if counts is None:
            counts = VersionCounts()
            self._counts.add(key, counts)
        counts.last = self._now()
        return counts
