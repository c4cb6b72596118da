"""What is done next: every entry ends once, in order, serving first, and no thread idles without a reason."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from fakes import ManualClock
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, RowFeatures, WorkItem
from headstart_server.embedding.train_budget import HOLD_SECONDS, TrainBudget

ROW = np.zeros(1, np.float32)
#: A row of another shape: it never shares a batch with the other.
LONG = np.zeros(2, np.float32)
PREDICT, TRAIN = Lane.PREDICT, Lane.TRAIN


def never() -> RowFeatures:
    raise AssertionError("the queue prepares nothing itself")


def entry(
    lane: Lane, *, row: bool = False, deadline: float | None = None, of: NDArray[np.float32] = ROW
) -> PendingInput:
    return PendingInput(prepare=never, lane=lane, since=0.0, deadline=deadline, row=of if row else None)


def filled(lane: Lane, raw: int = 0, rows: int = 0, *, queue: LaneQueue | None = None) -> LaneQueue:
    if queue is None:
        queue = LaneQueue(BatchSizes(4, 2))
    for place in range(raw + rows):
        queue.add(entry(lane, row=place >= raw))
    return queue


def taken(queue: LaneQueue, now: float = 0.0) -> WorkItem:
    item = queue.next_item(now)
    assert item is not None
    return item


def kind(item: WorkItem | None) -> tuple[Lane, str, int] | None:
    if item is None:
        return None
    return item.lane, "prepare" if item.prepare else "run", len(item.batch)


def shape_of(one: PendingInput) -> tuple[int, ...] | None:
    return None if one.row is None else one.row.shape


@dataclass
class Waiting:
    """What waits in one lane, by the model."""

    raw: list[PendingInput] = field(default_factory=list)
    rows: list[PendingInput] = field(default_factory=list)
    turns: int = 0
    begun: int = 0
    #: Preparations begun when a row was ready, by the row's id.
    ready: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.raw) + len(self.rows)


class QueueMachine(RuleBasedStateMachine):
    """Any order of puts, takes, ends, leaving callers and passing time, against plain lists."""

    @initialize(
        sizes=st.tuples(st.integers(1, 5), st.integers(1, 4)),
        streams=st.integers(1, 3),
        train_share=st.sampled_from([0.0, 0.2, 0.5, 0.75]),
        train_turns=st.integers(1, 3),
        capacity=st.none() | st.integers(1, 8),
        pairing=st.booleans(),
    )
    def begin(
        self,
        sizes: tuple[int, int],
        streams: int,
        train_share: float,
        train_turns: int,
        capacity: int | None,
        pairing: bool,
    ) -> None:
        self.queue = LaneQueue(
            BatchSizes(sizes[0], sizes[1]),
            TrainBudget(share=train_share, items=train_turns, capacity=capacity),
            streams=streams,
            pairing=pairing,
        )
        self.capacity = capacity
        self.pairing = pairing
        self.sizes = dict(zip((PREDICT, TRAIN), sizes, strict=True))
        self.streams, self.train_share, self.train_turns = streams, train_share, train_turns
        self.clock = ManualClock(0.0)
        self.lanes = {lane: Waiting() for lane in Lane}
        self.out: list[WorkItem] = []
        self.owed = 0.0
        self.served = -1.0
        #: When a Predict came or its row was ready, and how many were under way then.
        self.demands: list[tuple[float, int]] = []
        self.came: list[PendingInput] = []
        self.ends: Counter[int] = Counter()

    @rule(
        lane=st.sampled_from(Lane),
        row=st.booleans(),
        shapes=st.lists(st.sampled_from([ROW, ROW, LONG]), min_size=1, max_size=6),
        patience=st.none() | st.integers(0, 5),
    )
    def put(self, lane: Lane, row: bool, shapes: list[NDArray[np.float32]], patience: int | None) -> None:
        deadline = None if patience is None else self.clock() + patience
        for shape in shapes:
            new = entry(lane, row=row, deadline=deadline, of=shape)
            new.since = self.clock()
            self.put_down(new, self.lanes[lane])
            self.came.append(new)

    def put_down(self, new: PendingInput, waiting: Waiting) -> None:
        self.queue.add(new)
        waiting.ready[id(new)] = waiting.begun
        (waiting.raw if new.row is None else waiting.rows).append(new)
        if new.lane is PREDICT:
            self.demands.append((self.clock(), len(waiting) + self.serving()))

    def serving(self) -> int:
        """How many Predict inputs are prepared or run."""
        return sum(len(item.batch) + bool(item.prepare) for item in self.out if item.lane is PREDICT)

    @precondition(lambda self: self.came)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.came))
        could = not (one.future.running() or one.future.done())
        assert one.future.cancel() == (could or one.future.cancelled())

    @rule(seconds=st.sampled_from([0.25, 1, 2, 3]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def take(self) -> None:
        can = {lane: self.can(lane) for lane in Lane}
        assert self.queue.has_work(self.clock()) == any(can.values())
        waited = {lane: len(self.lanes[lane]) > 0 for lane in Lane}
        item = self.queue.next_item(self.clock())
        if item is None:
            # Nothing is left undone but for these reasons.
            assert not any(can.values())
            return
        assert can[item.lane]
        if all(can.values()):
            assert item.lane is (TRAIN if self.owed > 0 else PREDICT)
        assert item.contended == all(waited.values())
        self.check_entries(item)
        if item.lane is PREDICT:
            self.served = self.clock()
        self.lanes[item.lane].turns += 1
        self.out.append(item)

    def can(self, lane: Lane) -> bool:
        """Whether a lane may have a turn: one is there, and next to Predicts training is within its bound."""
        waiting = self.lanes[lane]
        if lane is TRAIN and waiting.turns >= self.most_turns():
            return False
        return bool(waiting.raw or (waiting.rows and self.free()))

    def most_turns(self) -> float:
        """How many turns training may have at once."""
        if self.lanes[PREDICT]:
            return self.train_turns
        # Time passes in steps that are longer than a demand is remembered.
        recent = [count for time, count in self.demands if time == self.clock()]
        demand = max([self.serving(), *recent])
        return inf if self.capacity is None or not demand else max(self.train_turns, self.capacity - demand)

    def size(self, lane: Lane) -> int:
        """How many rows a batch may have."""
        is_quiet = not self.lanes[PREDICT] and not self.serving() and self.clock() >= self.served + 1
        half = max(1, self.sizes[PREDICT] // 2)
        return self.sizes[lane] if lane is PREDICT or is_quiet else min(self.sizes[TRAIN], half)

    def waits_for_another(self, lane: Lane) -> bool:
        """Whether a row waits for one more entry to be prepared, and for one only."""
        waiting = self.lanes[lane]
        alike = [one for one in waiting.rows if shape_of(one) == shape_of(waiting.rows[0])]
        if not self.pairing or len(alike) >= self.size(lane) or not waiting.raw:
            return False
        return waiting.ready[id(waiting.rows[0])] == waiting.begun

    def free(self) -> int:
        return self.streams - sum(bool(item.batch) for item in self.out)

    def check_entries(self, item: WorkItem) -> None:
        waiting = self.lanes[item.lane]
        runs = bool(waiting.rows) and self.free() > 0 and not self.waits_for_another(item.lane)
        stage, size = (waiting.rows, self.size(item.lane)) if runs else (waiting.raw, 1)
        chosen = item.batch if runs else (item.prepare,) if item.prepare else ()
        assert not (item.prepare if runs else item.batch)
        # Rows of the oldest one's shape, in their order; the others stay in theirs.
        alike = [one for one in stage if not runs or shape_of(one) == shape_of(stage[0])]
        gone = alike[: len(chosen) + len(item.expired) + item.abandoned]
        left = alike[len(gone) :]
        stage[:] = [one for one in stage if not any(one is other for other in gone)]
        there = [one for one in gone if not one.future.cancelled()]
        late = [one for one in there if one.deadline is not None and one.deadline <= self.clock()]
        assert list(map(id, chosen)) == [id(one) for one in there if one not in late]
        assert list(map(id, item.expired)) == list(map(id, late))
        assert len(chosen) <= size
        # QueueFullness, as long as usable entries wait.
        assert len(chosen) == size or not left
        assert all(one.future.running() for one in item.expired)
        # Who is prepared may still leave; who runs may not.
        assert all(one.future.running() == runs for one in chosen)
        self.ends.update(id(one) for one in gone if one not in chosen)
        waiting.begun += item.prepare is not None

    @precondition(lambda self: self.out)
    @rule(
        data=st.data(),
        seconds=st.integers(0, 9),
        answered=st.booleans(),
        shape=st.sampled_from([ROW, LONG]),
    )
    def finish(self, data: st.DataObject, seconds: int, answered: bool, shape: NDArray[np.float32]) -> None:
        item = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.queue.finish(item, float(seconds))
        self.lanes[item.lane].turns -= 1
        self.charge(item, seconds)
        self.ends.update(map(id, item.batch))
        if item.prepare is None:
            return
        if answered:
            self.ends[id(item.prepare)] += 1
        else:
            item.prepare.row, item.prepare.since = shape, self.clock()
            self.put_down(item.prepare, self.lanes[item.lane])

    def charge(self, item: WorkItem, seconds: int) -> None:
        if item.lane is PREDICT and item.contended:
            self.owed += seconds * self.train_share / (1 - self.train_share)
        elif item.lane is TRAIN:
            self.owed = self.owed - seconds if item.contended else min(self.owed, -seconds)

    @rule()
    def drain(self) -> None:
        drained = Counter(map(id, self.queue.drain()))
        assert drained == Counter(id(one) for lane in self.lanes.values() for one in (*lane.raw, *lane.rows))
        self.ends += drained
        for lane in self.lanes.values():
            lane.raw, lane.rows = [], []

    @invariant()
    def every_entry_is_at_one_place_or_ended_once(self) -> None:
        if not hasattr(self, "queue"):
            return
        waiting = Counter(id(one) for lane in self.lanes.values() for one in (*lane.raw, *lane.rows))
        busy = Counter(id(one) for item in self.out for one in (*item.batch, item.prepare) if one is not None)
        assert waiting + busy + self.ends == Counter(map(id, self.came))
        assert len(self.queue) == waiting.total()
        for lane in Lane:
            assert self.queue.waiting(lane) == len(self.lanes[lane])
        assert self.free() >= 0


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrderOfOperations = QueueMachine.TestCase


def test_serving_goes_before_training_and_alone() -> None:
    queue = filled(PREDICT, rows=3, queue=filled(TRAIN, rows=5))
    item = taken(queue)
    assert kind(item) == (PREDICT, "run", 3)
    assert all(one.lane is PREDICT for one in item.batch)


def test_rows_run_before_further_entries_are_prepared() -> None:
    queue = filled(PREDICT, raw=2, rows=1)
    assert [kind(queue.next_item(0.0)) for _ in range(4)] == [
        (PREDICT, "run", 1),
        (PREDICT, "prepare", 0),
        (PREDICT, "prepare", 0),
        None,
    ]


def test_the_row_that_waited_longest_decides_whose_shape_runs() -> None:
    queue = LaneQueue(BatchSizes(4, 2))
    came = [entry(PREDICT, row=True, of=of) for of in (LONG, ROW, ROW, LONG, ROW, ROW, ROW)]
    for one in came:
        queue.add(one)
    batches = []
    while (item := queue.next_item(0.0)) is not None:
        queue.finish(item, 0.0)
        batches.append([next(place for place, each in enumerate(came) if each is one) for one in item.batch])
    assert batches == [[0, 3], [1, 2, 4, 5], [6]]


def test_a_row_of_a_rare_shape_is_not_starved_by_a_stream_of_others() -> None:
    queue = LaneQueue(BatchSizes(2, 2))
    rare = entry(PREDICT, row=True, of=LONG)
    filled(PREDICT, rows=1, queue=queue)
    queue.add(rare)
    ran = []
    for _ in range(3):
        filled(PREDICT, rows=2, queue=queue)
        item = taken(queue)
        queue.finish(item, 0.0)
        ran.append(any(one is rare for one in item.batch))
    # The one row before it, then itself, however many come meanwhile.
    assert ran == [False, True, False]


def test_rows_of_a_shape_may_have_smaller_batches_of_their_own() -> None:
    queue = LaneQueue(BatchSizes(4, 3, most_rows={(2,): 2, (1,): None}.__getitem__))
    # A second after the last Predict training has its largest batches.
    for lane, now, most in ((PREDICT, 0.0, 4), (TRAIN, 1.0, 3)):
        for of in (LONG, ROW):
            for _ in range(5):
                queue.add(entry(lane, row=True, of=of))
        sizes = []
        while (item := queue.next_item(now)) is not None:
            queue.finish(item, 0.0)
            sizes.append((item.batch[0].row is LONG, len(item.batch)))
        assert sizes == [(True, 2), (True, 2), (True, 1), (False, most), (False, 5 - most)]


@pytest.mark.parametrize(("now", "long", "short"), [(0.9, 1, 2), (1.0, 2, 4)])
def test_soon_after_a_predict_training_batches_are_half_as_large(now: float, long: int, short: int) -> None:
    queue = LaneQueue(BatchSizes(4, 4, most_rows={(2,): 2, (1,): None}.__getitem__))
    queue.finish(taken(filled(PREDICT, rows=1, queue=queue)), 0.0)
    for of in (LONG, LONG, ROW, ROW, ROW, ROW):
        queue.add(entry(TRAIN, row=True, of=of))
    sizes = []
    while (item := queue.next_item(now)) is not None:
        queue.finish(item, 0.0)
        sizes.append(len(item.batch))
    assert sizes == [long] * (2 // long) + [short] * (4 // short)


def test_training_leaves_as_many_turns_as_predicts_used_a_moment_ago() -> None:
    queue = filled(TRAIN, raw=9, queue=LaneQueue(BatchSizes(4, 4), TrainBudget(capacity=4), streams=4))
    predicts = [taken(filled(PREDICT, raw=1, queue=queue)) for _ in range(3)]
    assert kind(taken(queue)) == (TRAIN, "prepare", 0)
    assert queue.next_item(0.0) is None
    for item in predicts:
        queue.finish(item, 0.0)
    # In the pause of three callers, too, but not for long.
    assert queue.next_item(HOLD_SECONDS) is None
    assert not queue.has_work(HOLD_SECONDS)
    assert queue.has_work(2 * HOLD_SECONDS)
    for _ in range(8):
        assert kind(taken(queue, 2 * HOLD_SECONDS)) == (TRAIN, "prepare", 0)


def test_while_one_shape_waits_to_be_filled_another_that_is_full_runs() -> None:
    queue = LaneQueue(BatchSizes(2, 2), max_delay=2.0)
    queue.add(entry(PREDICT, row=True, of=LONG))
    filled(PREDICT, rows=2, queue=queue)
    assert [one.row is ROW for one in taken(queue, 1.0).batch] == [True, True]
    assert queue.delay(1.0) is None  # no stream is free


def test_a_row_may_wait_for_one_more_so_that_two_run_together() -> None:
    queue = filled(PREDICT, raw=3, rows=1, queue=LaneQueue(BatchSizes(2, 2), pairing=True))
    another = taken(queue)
    assert kind(another) == (PREDICT, "prepare", 0)
    assert another.prepare is not None
    another.prepare.row = ROW
    queue.finish(another, 0.0)
    queue.add(another.prepare)
    assert kind(queue.next_item(0.0)) == (PREDICT, "run", 2)


def test_a_row_waits_for_no_second_one_and_for_none_that_is_not_there() -> None:
    queue = filled(PREDICT, raw=3, rows=1, queue=LaneQueue(BatchSizes(2, 2), pairing=True))
    # Whatever becomes of the first that is prepared: it may be slow, or cannot be read.
    assert [kind(queue.next_item(0.0)) for _ in range(2)] == [(PREDICT, "prepare", 0), (PREDICT, "run", 1)]
    alone = filled(PREDICT, rows=1, queue=LaneQueue(BatchSizes(2, 2), pairing=True))
    assert kind(alone.next_item(0.0)) == (PREDICT, "run", 1)


def test_while_no_stream_is_free_entries_are_prepared_and_rows_wait() -> None:
    queue = filled(PREDICT, raw=1, rows=5)
    first = taken(queue)
    assert kind(first) == (PREDICT, "run", 4)
    assert kind(queue.next_item(0.0)) == (PREDICT, "prepare", 0)
    assert queue.next_item(0.0) is None
    queue.finish(first, 1.0)
    assert kind(queue.next_item(0.0)) == (PREDICT, "run", 1)


def test_training_prepares_while_predicts_wait_for_a_stream() -> None:
    queue = filled(PREDICT, rows=5, queue=filled(TRAIN, raw=2))
    taken(queue)
    assert kind(queue.next_item(0.0)) == (TRAIN, "prepare", 0)
    # The second of them waits: next to Predicts there is one training turn at once.
    assert queue.next_item(0.0) is None


def test_training_alone_takes_every_turn_slice_by_slice() -> None:
    queue = filled(TRAIN, raw=2, rows=5, queue=LaneQueue(BatchSizes(4, 2), streams=3))
    assert [kind(queue.next_item(0.0)) for _ in range(6)] == [
        (TRAIN, "run", 2),
        (TRAIN, "run", 2),
        (TRAIN, "run", 1),
        (TRAIN, "prepare", 0),
        (TRAIN, "prepare", 0),
        None,
    ]


def test_training_alone_fills_a_device_with_large_batches() -> None:
    queue = LaneQueue(BatchSizes(4, 2, train_quiet=4), streams=3)
    filled(TRAIN, rows=10, queue=queue)
    assert [kind(queue.next_item(0.0)) for _ in range(4)] == [
        (TRAIN, "run", 4),
        (TRAIN, "run", 4),
        (TRAIN, "run", 2),
        None,
    ]


def test_next_to_predicts_training_runs_one_small_batch_on_a_device_at_a_time() -> None:
    queue = LaneQueue(BatchSizes(4, 2, train_quiet=4), streams=3)
    filled(TRAIN, rows=10, queue=queue)
    filled(PREDICT, rows=1, queue=queue)
    queue.finish(taken(queue, 5.0), 0.0)
    first = taken(queue, 5.0)
    assert kind(first) == (TRAIN, "run", 2)
    assert queue.next_item(5.0) is None
    queue.finish(first, 0.0)
    assert kind(queue.next_item(5.5)) == (TRAIN, "run", 2)
    # A second after the last Predict the device belongs to training again, whatever runs.
    assert kind(queue.next_item(6.0)) == (TRAIN, "run", 4)


def test_what_ends_of_itself_takes_no_stream() -> None:
    queue = LaneQueue(BatchSizes(4, 2))
    late, left, fine = entry(PREDICT, row=True, deadline=1.0), entry(PREDICT, row=True), entry(PREDICT)
    for one in (late, left, fine):
        queue.add(one)
    left.future.cancel()
    item = taken(queue, 1.0)
    assert (item.batch, item.expired, item.abandoned) == ((), (late,), 1)
    filled(PREDICT, rows=1, queue=queue)
    assert kind(queue.next_item(1.0)) == (PREDICT, "run", 1)


@pytest.mark.parametrize("row", [False, True])
def test_an_entry_expires_at_its_deadline_and_not_before(row: bool) -> None:
    queue = LaneQueue(BatchSizes(4, 2))
    early, late = entry(PREDICT, row=row, deadline=10.0), entry(PREDICT, row=row, deadline=10.1)
    queue.add(early)
    queue.add(late)
    item = taken(queue, 10.0)
    assert item.expired == (early,)
    assert (item.prepare or item.batch[0]) is late


def test_a_batch_waits_to_be_filled_no_longer_than_it_may() -> None:
    queue = filled(PREDICT, rows=3, queue=LaneQueue(BatchSizes(4, 2), max_delay=2.0))
    assert queue.next_item(1.5) is None
    assert queue.delay(1.5) == 0.5
    # A thread that waits is to look again then.
    assert queue.has_work(1.5)
    assert kind(queue.next_item(2.0)) == (PREDICT, "run", 3)
    assert queue.delay(2.0) is None


def test_a_full_batch_and_training_wait_for_nothing() -> None:
    queue = filled(PREDICT, rows=4, queue=LaneQueue(BatchSizes(4, 2), max_delay=2.0))
    first = taken(queue)
    assert kind(first) == (PREDICT, "run", 4)
    queue.finish(first, 0.0)
    filled(TRAIN, rows=1, queue=queue)
    assert kind(queue.next_item(0.0)) == (TRAIN, "run", 1)


def test_while_a_batch_waits_further_entries_are_prepared() -> None:
    queue = filled(PREDICT, raw=1, rows=1, queue=LaneQueue(BatchSizes(4, 2), max_delay=2.0))
    assert kind(queue.next_item(0.0)) == (PREDICT, "prepare", 0)
    assert queue.next_item(0.0) is None


def test_its_repr_reports_what_waits() -> None:
    queue = filled(PREDICT, raw=2, rows=5, queue=filled(TRAIN, raw=1))
    queue.next_item(0.0)
    assert repr(queue) == "LaneQueue(predict=2+1, train=1+0, free=0)"
