"""The inputs that wait for a backbone, in two lanes, and the decision what is done next."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from math import inf

import numpy as np
from numpy.typing import NDArray

from headstart_server.embedding.ready_rows import ReadyRows

Row = NDArray[np.generic]


class Lane(Enum):
    """The priority at which inputs enter a backbone's queue."""

    PREDICT = "predict"
    TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowFeatures:
    """What a backbone gave for one input.

    Attributes:
        views: a feature vector for each view, [D], and for each cut that was asked for its activation; of a
            tail's pass a matrix, [n, D].
        decoded: seconds its decoding took; 0 if it came from the cache.
        queued: seconds it waited, for its decoding and for the device; 0 if it came from the cache.
        ran: seconds its batch took; 0 if it came from the cache.
        batch_rows: number of rows in its batch.
    """

    views: Mapping[str, NDArray[np.float32]]
    decoded: float = 0.0
    queued: float = 0.0
    ran: float = 0.0
    batch_rows: int = 1


def stacked(rows: Sequence[RowFeatures], views: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Features [n, D] of n inputs by view, or activations by cut."""
    return {view: np.stack([row.views[view] for row in rows]) for view in views}


@dataclass(kw_only=True, slots=True, eq=False)
class PendingInput:
    """One input on its way to its features.

    Attributes:
        prepare: gives its row, what `Backbone.decode` makes, or features that are known already.
        lane: its priority.
        since: when it began to wait for its next turn, on the queue's clock.
        deadline: when its caller stops waiting, on the same clock; None for never.
        future: where its features go.
        row: its row, once it is prepared.
        decoded: seconds that took.
        queued: seconds it had waited before.
        begun: preparations that its lane had begun when its row was ready; the queue's.
        cuts: names of the cuts whose activations are wanted beside its views.
        is_continuation: whether its inputs have had their turns before: it goes before all others of its
            lane, so that what was begun first is answered first.
    """

    prepare: Callable[[], "Row | RowFeatures"]
    lane: Lane
    since: float
    deadline: float | None = None
    future: "Future[RowFeatures]" = field(default_factory=Future)
    row: Row | None = None
    decoded: float = 0.0
    queued: float = 0.0
    begun: int = 0
    cuts: frozenset[str] = frozenset()
    is_continuation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WorkItem:
    """What `LaneQueue.next_item` decided: one entry to prepare, or a batch of rows to run, or neither.

    Attributes:
        lane: whose entries they are.
        prepare: the entry to prepare.
        batch: the entries to run together, oldest first.
        expired: entries whose deadline passed before their turn.
        abandoned: number of entries whose caller left.
        contended: whether entries of the other lane waited, too, when it was taken.
    """

    lane: Lane
    prepare: PendingInput | None = None
    batch: tuple[PendingInput, ...] = ()
    expired: tuple[PendingInput, ...] = ()
    abandoned: int = 0
    contended: bool = False


class _LaneState:
    """What waits in one lane, and what is being done for it."""

    def __init__(self) -> None:
        self.continuations: deque[PendingInput] = deque()
        self.raw: deque[PendingInput] = deque()
        self.rows: ReadyRows[PendingInput] = ReadyRows()
        self.turns = 0
        #: Entries whose preparation was begun.
        self.begun = 0

    def __len__(self) -> int:
        return len(self.continuations) + len(self.raw) + len(self.rows)


class LaneQueue:
    """Two first-in-first-out lanes with one rule for what is done next. Not locked: the batcher does that.

    An entry has two turns: it is prepared (read and decoded), then its row runs in a batch of rows of its
    shape: that of the row that has waited longest. In a lane rows run before further entries are prepared, so
    that what was begun first is answered first. Where batches take a core from preparing anyway, a row may
    wait while one more entry is prepared (`pairing`), so that two run together: that costs nothing, and they
    take less time than one after the other.

    Serving goes first and alone: a Predict never shares its batch with training rows, which would only make
    it longer, so it waits for one training turn at most. While both lanes wait, training is given turns up to
    `train_share` of the time spent, so that it ends under any load; alone it takes everything, which is not
    held against it.

    Args:
        max_batch: most rows of a Predict batch.
        train_slice: most rows of a training batch.
        streams: batches that may run at once.
        train_share: part of the time that training gets while Predicts wait, from 0 to below 1.
        train_turns: most training turns at once while Predicts wait.
        max_delay: seconds that a Predict's row may wait for its batch to fill although the device is free.
        pairing: whether a row waits for one more entry to be prepared, if any is there.
        most_rows: the most rows of a shape in any batch, None for no less than above.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        train_slice: int,
        streams: int = 1,
        train_share: float = 0.2,
        train_turns: int = 1,
        max_delay: float = 0.0,
        pairing: bool = False,
        most_rows: Callable[[tuple[int, ...]], int | None] = lambda _: None,
    ) -> None:
        self._lanes = {lane: _LaneState() for lane in Lane}
        self._sizes = {Lane.PREDICT: max_batch, Lane.TRAIN: train_slice}
        self._free = streams
        self._train_weight = train_share / (1.0 - train_share)
        self._train_turns = train_turns
        self._max_delay = max_delay
        self._pairing = pairing
        self._most_rows = most_rows
        #: Seconds that training may take while Predicts wait; below 0 it had more than its share.
        self._owed = 0.0

    def __repr__(self) -> str:
        waiting = ", ".join(
            f"{lane.value}={len(state.continuations) + len(state.raw)}+{len(state.rows)}"
            for lane, state in self._lanes.items()
        )
        return f"LaneQueue({waiting}, free={self._free})"

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def waiting(self, lane: Lane) -> int:
        """Number of entries that wait in a lane, for either turn."""
        return len(self._lanes[lane])

    def add(self, entry: PendingInput) -> None:
        """Add an entry at the end of its lane: to be prepared, or to be run if it has its row.

        One that goes on is never run as a row: preparing it is all there is to do.
        """
        state = self._lanes[entry.lane]
        entry.begun = state.begun
        if entry.is_continuation:
            state.continuations.append(entry)
        else:
            (state.raw if entry.row is None else state.rows).append(entry)

    def next_item(self, now: float) -> WorkItem | None:
        """Decide what is done next, dropping what nobody waits for any more.

        Args:
            now: the time on the clock that deadlines are on.

        Returns:
            The work item, to be given back by `finish`; None if nothing can be done now. Inputs that run or
            that expired are marked as running. It may hold dropped inputs only.
        """
        lane = self._next_lane(now)
        if lane is None:
            return None
        state = self._lanes[lane]
        shape = None if state.continuations else self._ready(lane, now)
        item = self._preparation(lane, now) if shape is None else self._batch(lane, shape, now)
        state.turns += 1
        self._free -= bool(item.batch)
        return item

    def has_work(self) -> bool:
        """Whether `next_item` would give a turn now, or will when `delay` has passed."""
        return self._next_lane(inf) is not None

    def delay(self, now: float) -> float | None:
        """Seconds until a batch that waits to be filled goes as it is; None if none waits for that."""
        rows = self._lanes[Lane.PREDICT].rows
        if not rows or not self._free or self._ready(Lane.PREDICT, now) is not None:
            return None
        return self._max_delay - (now - rows.oldest().since)

    def finish(self, item: WorkItem, seconds: float) -> None:
        """Give back a turn that took some seconds."""
        self._lanes[item.lane].turns -= 1
        self._free += bool(item.batch)
        if item.lane is Lane.PREDICT:
            self._owed += self._train_weight * seconds if item.contended else 0.0
        elif item.contended:
            self._owed -= seconds
        else:
            # What it did alone is no debt, but for the turn that a Predict may have come in: otherwise each
            # that comes in a gap would wait for a second one.
            self._owed = min(self._owed, -seconds)

    def drain(self) -> list[PendingInput]:
        """Take out everything that waits, for a batcher that stops."""
        entries = [
            entry
            for state in self._lanes.values()
            for entry in (*state.continuations, *state.rows, *state.raw)
        ]
        for state in self._lanes.values():
            state.continuations.clear()
            state.rows.clear()
            state.raw.clear()
        return entries

    def _batch(self, lane: Lane, shape: tuple[int, ...], now: float) -> WorkItem:
        rows = self._lanes[lane].rows
        expired: list[PendingInput] = []
        batch: list[PendingInput] = []
        abandoned = 0
        contended = self._is_contended()
        size = self._size(lane, shape)
        while len(batch) < size and (entry := rows.pop(shape)) is not None:
            if not entry.future.set_running_or_notify_cancel():
                abandoned += 1
            elif _is_late(entry, now):
                expired.append(entry)
            else:
                batch.append(entry)
        return WorkItem(
            lane=lane,
            batch=tuple(batch),
            expired=tuple(expired),
            abandoned=abandoned,
            contended=contended,
        )

    def _size(self, lane: Lane, shape: tuple[int, ...]) -> int:
        """The most rows of a batch."""
        size, most = self._sizes[lane], self._most_rows(shape)
        return size if most is None else min(size, most)

    def _preparation(self, lane: Lane, now: float) -> WorkItem:
        state = self._lanes[lane]
        raw = state.continuations or state.raw
        expired: list[PendingInput] = []
        chosen = None
        abandoned = 0
        contended = self._is_contended()
        while raw and chosen is None:
            entry = raw.popleft()
            if entry.future.cancelled():
                entry.future.set_running_or_notify_cancel()
                abandoned += 1
            elif not _is_late(entry, now):
                # Not marked as running: its caller may leave until its row runs.
                chosen = entry
                state.begun += 1
            elif entry.future.set_running_or_notify_cancel():
                expired.append(entry)
            else:
                abandoned += 1
        return WorkItem(
            lane=lane, prepare=chosen, expired=tuple(expired), abandoned=abandoned, contended=contended
        )

    def _is_contended(self) -> bool:
        return all(map(len, self._lanes.values()))

    def _next_lane(self, now: float) -> Lane | None:
        for lane in (Lane.TRAIN, Lane.PREDICT) if self._owed > 0 else (Lane.PREDICT, Lane.TRAIN):
            if self._can(lane, now):
                return lane
        return None

    def _can(self, lane: Lane, now: float) -> bool:
        state = self._lanes[lane]
        if lane is Lane.TRAIN and self._lanes[Lane.PREDICT] and state.turns >= self._train_turns:
            return False
        return bool(state.continuations or state.raw) or self._ready(lane, now) is not None

    def _ready(self, lane: Lane, now: float) -> tuple[int, ...] | None:
        """The shape of the rows that run next, that of the oldest that may; None if none may."""
        state = self._lanes[lane]
        if not self._free or not state.rows:
            return None
        for shape, first, count in state.rows.firsts():
            filled = count >= self._size(lane, shape)
            # At most one: a row must not wait for as long as entries come that cannot be decoded. And nothing
            # goes before it meanwhile.
            if self._pairing and not filled and state.raw and state.begun == first.begun:
                return None
            if filled or lane is Lane.TRAIN or now - first.since >= self._max_delay:
                return shape
        return None


def _is_late(entry: PendingInput, now: float) -> bool:
    return entry.deadline is not None and entry.deadline <= now
