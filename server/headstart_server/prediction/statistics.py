"""Counts of the calls of each version, and of the time of their stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from headstart_server.lru import LruCache

#: Versions that are counted; beyond it the least recently used one is dropped.
MAX_VERSIONS = 10_000


class StageTimes(NamedTuple):
    """Where the time of a call went, in seconds.

    Attributes:
        total: from the call to the finished answer.
        resolve: finding the versions, and loading those that were not in memory.
        decode: decoding, the longest of the inputs.
        queue: waiting for the device, the longest of the inputs.
        backbone: the backbone, the longest of the inputs' batches.
        head: versions' own tails, heads, calibration and choosing the top classes.
    """

    total: float = 0.0
    resolve: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    backbone: float = 0.0
    head: float = 0.0


@dataclass(slots=True)
class VersionCounts:
    """What is counted of a version since the server started, or since it was forgotten.

    Attributes:
        calls: calls that it answered.
        inputs: inputs of those.
        failed: calls that found it and then failed, or whose caller left.
        failed_seconds: the time of those.
        total: seconds of answered calls, from the call to the finished answer.
        decode: decoding, for each call the longest of its inputs.
        queue: waiting for the device, likewise.
        backbone: the backbone, likewise.
        head: tails, heads, calibration and choosing the top classes.
        last: time of its last call, in seconds since 1970; 0 for never.
    """

    calls: int = 0
    inputs: int = 0
    failed: int = 0
    failed_seconds: float = 0.0
    total: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    backbone: float = 0.0
    head: float = 0.0
    last: float = 0.0


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
