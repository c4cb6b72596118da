"""The rows that wait for a backbone, in two lanes, and the decision which of them go next."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Lane(Enum):
    """The priority at which rows enter a backbone's queue."""

    PREDICT = "predict"
    TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowFeatures:
    """What a backbone gave for one row.

    Attributes:
        views: a feature vector for each view, [D].
        queued: seconds the row waited for the device; 0 if it came from the cache.
        ran: seconds its batch took; 0 if it came from the cache.
        batch_rows: number of rows in its batch.
        decoded: seconds its decoding took; 0 if it came from the cache.
    """

    views: Mapping[str, NDArray[np.float32]]
    decoded: float = 0.0
    queued: float = 0.0
    ran: float = 0.0
    batch_rows: int = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Entry:
    """One waiting row.

    Attributes:
        row: what `Backbone.decode` made.
        lane: its priority.
        queued_at: when it was put, on the queue's clock.
        deadline: when its caller stops waiting, on the same clock; None for never.
        future: where its features go.
    """

    row: NDArray[np.generic]
    lane: Lane
    queued_at: float
    deadline: float | None = None
    future: "Future[RowFeatures]" = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """What `RowQueue.take` decided.

    Attributes:
        lane: whose rows they are.
        entries: the rows to run together, oldest first.
        expired: rows whose deadline passed before their turn.
        abandoned: number of rows whose caller left.
    """

    lane: Lane
    entries: tuple[Entry, ...]
    expired: tuple[Entry, ...]
    abandoned: int


class RowQueue:
    """Two first-in-first-out lanes with one rule for whose turn it is. Not locked: the batcher does that.

    Serving goes first and alone: a Predict never shares its batch with training rows, which would only make
    it longer, so it waits for one training slice at most. When training has been passed over `patience` times
    in a row it gets one slice, so that it ends under any load.

    Args:
        max_batch: most rows of a Predict batch.
        train_slice: most rows of a training batch.
        patience: predict batches in a row before waiting training rows get a slice.
    """

    def __init__(self, *, max_batch: int, train_slice: int, patience: int = 8) -> None:
        self._lanes: dict[Lane, deque[Entry]] = {lane: deque() for lane in Lane}
        self._sizes = {Lane.PREDICT: max_batch, Lane.TRAIN: train_slice}
        self._patience = patience
        self._passed_over = 0

    def __repr__(self) -> str:
        waiting = ", ".join(f"{lane.value}={len(entries)}" for lane, entries in self._lanes.items())
        return f"RowQueue({waiting}, passed_over={self._passed_over})"

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def waiting(self, lane: Lane) -> int:
        """Number of rows that wait in a lane."""
        return len(self._lanes[lane])

    def put(self, entry: Entry) -> None:
        """Add a row at the end of its lane."""
        self._lanes[entry.lane].append(entry)

    def take(self, now: float) -> Batch:
        """Take the rows whose turn it is, dropping those that nobody waits for any more.

        Args:
            now: the time on the clock that deadlines are on.

        Returns:
            The decision. Its entries are marked as running; they are empty only if nothing usable waits.
        """
        lane = self._next_lane()
        expired: list[Entry] = []
        entries: list[Entry] = []
        abandoned = 0
        waiting = self._lanes[lane]
        while waiting and len(entries) < self._sizes[lane]:
            entry = waiting.popleft()
            if not entry.future.set_running_or_notify_cancel():
                abandoned += 1
            elif entry.deadline is not None and entry.deadline <= now:
                expired.append(entry)
            else:
                entries.append(entry)
        return Batch(lane=lane, entries=tuple(entries), expired=tuple(expired), abandoned=abandoned)

    def drain(self) -> list[Entry]:
        """Take out everything, for a batcher that stops."""
        entries = [entry for waiting in self._lanes.values() for entry in waiting]
        for waiting in self._lanes.values():
            waiting.clear()
        return entries

    def _next_lane(self) -> Lane:
        if not self._lanes[Lane.PREDICT]:
            self._passed_over = 0
            return Lane.TRAIN
        if not self._lanes[Lane.TRAIN]:
            self._passed_over = 0
            return Lane.PREDICT
        if self._passed_over >= self._patience:
            self._passed_over = 0
            return Lane.TRAIN
        self._passed_over += 1
        return Lane.PREDICT
