"""Counts of the calls of each version, and of the time of their stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from headstart_server.lru import LruCache

#: Versions that are counted; beyond it the least recently used one is dropped.
MAX_VERSIONS = 10_000


class StageTimes(NamedTuple):
    """Where the time of a call went, in seconds."""

    total: float = 0.0  # from the call to the finished answer
    resolve: float = 0.0  # finding the versions, and loading those that were not in memory
    decode: float = 0.0  # decoding, the longest of the inputs
    queue: float = 0.0  # waiting for the device, the longest of the inputs
    backbone: float = 0.0  # the backbone, the longest of the inputs' batches
    head: float = 0.0  # versions' own tails, heads, calibration and choosing the top classes


@dataclass(slots=True)
class VersionCounts:
    """What is counted of a version since the server started, or since it was forgotten."""

    calls: int = 0  # calls that it answered
    inputs: int = 0  # inputs of those
    failed: int = 0  # calls that found it and then failed, or whose caller left
    failed_seconds: float = 0.0  # the time of those
    total: float = 0.0  # seconds of answered calls, from the call to the finished answer
    decode: float = 0.0  # decoding, for each call the longest of its inputs
    queue: float = 0.0  # waiting for the device, likewise
    backbone: float = 0.0  # the backbone, likewise
    head: float = 0.0  # tails, heads, calibration and choosing the top classes
    last: float = 0.0  # time of its last call, in seconds since 1970; 0 for never


class Statistics:
    """Counts by version. One event loop uses it, so it has no lock.

    Args:
        now: seconds since 1970.
        most: versions that are counted.
    """

    def __init__(self, now: Callable[[], float] = time.time, *, most: int = MAX_VERSIONS) -> None:
        self._now = now
        self._counts: LruCache[tuple[str, int], VersionCounts] = LruCache(most)

    def answered(self, model: str, number: int, inputs: int, times: StageTimes) -> None:
        """A version answered a call of so many inputs."""
        counts = self._of(model, number)
        counts.calls += 1
        counts.inputs += inputs
        counts.total += times.total
        counts.decode += times.decode
        counts.queue += times.queue
        counts.backbone += times.backbone
        counts.head += times.head

    def failed(self, model: str, number: int, seconds: float) -> None:
        """A version did not answer a call, after so long."""
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
