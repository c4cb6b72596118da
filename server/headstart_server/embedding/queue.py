"""Inputs that wait for a backbone in two lanes, and the choice of the next work."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Truncation
from headstart_server.embedding.ready_rows import ReadyRows
from headstart_server.embedding.row_heads import RowHead, RowOutputs
from headstart_server.embedding.train_budget import TrainBudget

Row = NDArray[np.generic]
#: The row of a text, and its truncation; None if the row contains all of the text.
TextRow = tuple[Row, Truncation | None]

#: Seconds without a Predict after which training runs in its largest batches.
QUIET_SECONDS = 1.0


class Lane(Enum):
    """Priority of inputs in a backbone's queue."""

    PREDICT = "predict"
    TRAIN = "train"

    # Lanes are dictionary keys, and `Enum` would hash their names in Python code.
    __hash__ = object.__hash__


class RowFeatures(NamedTuple):
    """Features of one input, with timings that are 0 if they came from the cache."""

    # a feature vector per view, [D], and the activation per requested cut; matrices [n, D] for a tail
    views: Mapping[str, NDArray[np.float32]]
    decoded: float = 0.0  # seconds of decoding
    queued: float = 0.0  # seconds of waiting, for decoding and for the device
    ran: float = 0.0  # seconds of the batch
    batch_rows: int = 1  # rows in the batch
    # outputs of the requested heads; None if the features came from the cache
    outputs: RowOutputs | None = None
    # truncation of the input; None if the backbone read all of it, or if that is unknown
    truncation: Truncation | None = None
    from_cache: bool = False  # whether the input was not read, so that its truncation is unknown


def stacked(rows: Sequence[RowFeatures], views: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Stack the views or activations of n inputs into matrices [n, D]."""
    if len(rows) == 1:
        return {view: rows[0].views[view][np.newaxis] for view in views}
    return {view: np.stack([row.views[view] for row in rows]) for view in views}


@dataclass(kw_only=True, slots=True, eq=False)
class PendingInput:
    """One input that waits for its features."""

    # returns its row, with the truncation of a text, or its features if they are known
    prepare: Callable[[], "Row | TextRow | RowFeatures"]
    lane: Lane  # its priority
    since: float  # when it began to wait for its next turn, on the queue's clock
    deadline: float | None = None  # when its caller stops waiting, on the same clock; None for never
    future: "Future[RowFeatures]" = field(default_factory=Future)  # receives the features
    row: Row | None = None  # its row, once prepared
    decoded: float = 0.0  # seconds of its preparation
    queued: float = 0.0  # seconds it waited for its preparation
    begun: int = 0  # number of preparations that its lane had begun when its row was ready; set by the queue
    cuts: frozenset[str] = frozenset()  # cuts whose activations are returned in addition to the views
    heads: Sequence[RowHead] = ()  # heads that predict from its row's views
    truncation: Truncation | None = None  # truncation of its text
    # whether it continues inputs that were already processed. It precedes all others of its lane, so that
    # work that began first ends first.
    is_continuation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WorkItem:
    """The result of `LaneQueue.next_item`: one input to prepare, a batch of rows to run, or neither."""

    lane: Lane  # lane of the inputs
    prepare: PendingInput | None = None  # input to prepare
    batch: tuple[PendingInput, ...] = ()  # inputs to run together, oldest first
    expired: tuple[PendingInput, ...] = ()  # inputs whose deadline passed before their turn
    abandoned: int = 0  # number of inputs whose caller left
    contended: bool = False  # whether inputs of the other lane waited too

    @property
    def inputs(self) -> int:
        """The number of inputs that are prepared or run."""
        return len(self.batch) + (self.prepare is not None)


class _LaneState:
    """Waiting inputs and running items of one lane."""

    def __init__(self) -> None:
        self.continuations: deque[PendingInput] = deque()
        self.raw: deque[PendingInput] = deque()
        self.rows: ReadyRows[PendingInput] = ReadyRows()
        self.turns = 0
        #: Inputs whose preparation has begun.
        self.begun = 0

    def __len__(self) -> int:
        return len(self.continuations) + len(self.raw) + len(self.rows)


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Maximum rows of a batch, by lane."""

    predict: int  # maximum rows for Predicts
    train: int  # maximum rows for training next to Predicts; at most half of a Predict batch
    # maximum rows for training without Predicts for `QUIET_SECONDS`; `train` if that is larger
    train_quiet: int = 0
    # returns the maximum rows of a shape; None for no such limit
    most_rows: Callable[[tuple[int, ...]], int | None] = lambda _: None

    @property
    def trains_in_turn(self) -> bool:
        """Whether training fills a device that runs its batches in turn."""
        return self.train_quiet > self.train

    def of(self, lane: Lane, shape: tuple[int, ...], is_quiet: bool) -> int:
        """Return the maximum number of rows of a batch."""
        if lane is Lane.PREDICT:
            size = self.predict
        else:
            size = max(self.train, self.train_quiet) if is_quiet else self.train
        most = self.most_rows(shape)
        if lane is Lane.TRAIN and not is_quiet:
            return min(size, max(1, (self.predict if most is None else min(self.predict, most)) // 2))
        return size if most is None else min(size, most)


class LaneQueue:
    """Two first-in-first-out lanes with one rule for the next work item. The batcher locks it.

    An input has two turns: it is prepared (read and decoded), then its row runs in a batch of rows of the
    same shape, the shape of the oldest row first. In a lane, rows run before further inputs are prepared, so
    that work that began first ends first. If a batch occupies a core anyway, a row may wait while one more
    input is prepared (`pairing`), so that two rows run together. This costs nothing and saves time.

    Predicts run first, and never share a batch with training rows, which would only make it longer. So a
    Predict waits for at most one training item. `TrainBudget` decides how much training runs next to
    Predicts, and `BatchSizes` limits its batches to half the size meanwhile.

    Args:
        sizes: maximum rows of a batch.
        training: time and concurrent items of training next to Predicts; not shared with other queues.
        streams: maximum number of concurrent batches.
        max_delay: maximum seconds that a Predict's row waits for its batch to fill on a free device.
        pairing: whether a row waits for one more input to be prepared, if one is waiting.
    """

    def __init__(
        self,
        sizes: BatchSizes,
        training: TrainBudget | None = None,
        *,
        streams: int = 1,
        max_delay: float = 0.0,
        pairing: bool = False,
    ) -> None:
        self._lanes = {lane: _LaneState() for lane in Lane}
        self._sizes = sizes
        self._budget = training or TrainBudget()
        #: Training batches that run now, and the end of the last Predict batch.
        self._training = 0
        self._served = -inf
        self._free = streams
        #: Predict inputs that are prepared or run.
        self._serving = 0
        self._max_delay = max_delay
        self._pairing = pairing

    def __repr__(self) -> str:
        waiting = ", ".join(
            f"{lane.value}={len(state.continuations) + len(state.raw)}+{len(state.rows)}"
            for lane, state in self._lanes.items()
        )
        return f"LaneQueue({waiting}, free={self._free})"

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def waiting(self, lane: Lane) -> int:
        """Return the number of inputs that wait in a lane, for either turn."""
        return len(self._lanes[lane])

    def add(self, entry: PendingInput) -> None:
        """Add an input to its lane, to be prepared, or to be run if it has its row.

        A continuation never runs as a row, because its preparation is all its work.
        """
        state = self._lanes[entry.lane]
        entry.begun = state.begun
        if entry.is_continuation:
            state.continuations.append(entry)
        else:
            (state.raw if entry.row is None else state.rows).append(entry)
        if entry.lane is Lane.PREDICT:
            self._budget.observe(self._under_way(), entry.since)

    def next_item(self, now: float) -> WorkItem | None:
        """Choose the next work item, dropping inputs without a waiting caller.

        Return None if nothing can be done now. The caller gives the item back with `finish`. Inputs that run
        or expired are marked as running. An item may contain dropped inputs only.
        """
        lane = self._next_lane(now)
        if lane is None:
            return None
        state = self._lanes[lane]
        shape = None if state.continuations else self._ready(lane, now)
        item = self._preparation(lane, now) if shape is None else self._batch(lane, shape, now)
        state.turns += 1
        self._free -= bool(item.batch)
        self._training += bool(item.batch) and lane is Lane.TRAIN
        if lane is Lane.PREDICT:
            self._served = now
            self._serving += item.inputs
        return item

    def has_work(self, now: float) -> bool:
        """Return whether `next_item` returns an item now, or will after `delay`."""
        return self._can(Lane.TRAIN, now) or self._can(Lane.PREDICT, inf)

    def delay(self, now: float) -> float | None:
        """Return the seconds until an incomplete batch runs; None if none is delayed."""
        rows = self._lanes[Lane.PREDICT].rows
        if not rows or not self._free or self._ready(Lane.PREDICT, now) is not None:
            return None
        return self._max_delay - (now - rows.oldest().since)

    def finish(self, item: WorkItem, seconds: float) -> None:
        """Account for the seconds of a finished item."""
        self._lanes[item.lane].turns -= 1
        self._free += bool(item.batch)
        self._training -= bool(item.batch) and item.lane is Lane.TRAIN
        if item.lane is Lane.PREDICT:
            self._serving -= item.inputs
            if item.contended:
                self._budget.served(seconds)
        else:
            self._budget.trained(seconds, contended=item.contended)

    def drain(self) -> list[PendingInput]:
        """Remove and return all waiting inputs."""
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
        size = self._size(lane, shape, now)
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

    def _size(self, lane: Lane, shape: tuple[int, ...], now: float) -> int:
        return self._sizes.of(lane, shape, lane is Lane.TRAIN and self._is_quiet(now))

    def _is_quiet(self, now: float) -> bool:
        """Return whether no Predict is expected soon, so that a long batch would not delay it."""
        return not self._under_way() and now - self._served >= QUIET_SECONDS

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
                # Not marked as running, because its caller may cancel until its row runs.
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
        return bool(self._lanes[Lane.TRAIN] and self._lanes[Lane.PREDICT])

    def _next_lane(self, now: float) -> Lane | None:
        for lane in (Lane.TRAIN, Lane.PREDICT) if self._budget.is_owed else (Lane.PREDICT, Lane.TRAIN):
            if self._can(lane, now):
                return lane
        return None

    def _can(self, lane: Lane, now: float) -> bool:
        state = self._lanes[lane]
        if not (state.raw or state.rows or state.continuations):
            return False
        if lane is Lane.TRAIN:
            waiting = bool(self._lanes[Lane.PREDICT])
            if state.turns >= self._budget.most_items(waiting, self._serving, now):
                return False
        return bool(state.continuations or state.raw) or self._ready(lane, now) is not None

    def _under_way(self) -> int:
        return len(self._lanes[Lane.PREDICT]) + self._serving

    def _leaves_device(self, lane: Lane, now: float) -> bool:
        """Return whether a training batch must wait, because the device runs all batches in turn."""
        if lane is not Lane.TRAIN or not self._training:
            return False
        return self._sizes.trains_in_turn and not self._is_quiet(now)

    def _ready(self, lane: Lane, now: float) -> tuple[int, ...] | None:
        """Return the shape of the oldest rows that may run now; None if none may."""
        state = self._lanes[lane]
        if not self._free or not state.rows or self._leaves_device(lane, now):
            return None
        for shape, first, count in state.rows.firsts():
            filled = count >= self._size(lane, shape, now)
            # At most one preparation, because a row must not wait while undecodable inputs arrive. Nothing
            # precedes the row meanwhile.
            if self._pairing and not filled and state.raw and state.begun == first.begun:
                return None
            if filled or lane is Lane.TRAIN or now - first.since >= self._max_delay:
                return shape
        return None


def _is_late(entry: PendingInput, now: float) -> bool:
    return entry.deadline is not None and entry.deadline <= now
