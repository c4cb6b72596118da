"""Whose turn it is: every row exactly once, serving first, training never starved."""

from collections import Counter

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fakes import ManualClock
from headstart_server.embedding.queue import Batch, Entry, Lane, RowQueue

ROW = np.zeros(1, np.float32)
OTHER = {Lane.PREDICT: Lane.TRAIN, Lane.TRAIN: Lane.PREDICT}


def entry(lane: Lane, *, deadline: float | None = None) -> Entry:
    return Entry(row=ROW, lane=lane, queued_at=0.0, deadline=deadline)


def filled(predict: int, train: int, **bounds: int) -> RowQueue:
    queue = RowQueue(**{"max_batch": 4, "train_slice": 2, **bounds})
    for lane, count in ((Lane.PREDICT, predict), (Lane.TRAIN, train)):
        for _ in range(count):
            queue.put(entry(lane))
    return queue


class QueueMachine(RuleBasedStateMachine):
    """Any order of puts, takes, leaving callers and passing time, against two plain lists."""

    @initialize(max_batch=st.integers(1, 5), train_slice=st.integers(1, 4), patience=st.integers(1, 4))
    def begin(self, max_batch: int, train_slice: int, patience: int) -> None:
        self.queue = RowQueue(max_batch=max_batch, train_slice=train_slice, patience=patience)
        self.bounds = {Lane.PREDICT: max_batch, Lane.TRAIN: train_slice}
        self.patience = patience
        self.clock = ManualClock(0.0)
        self.lanes: dict[Lane, list[Entry]] = {Lane.PREDICT: [], Lane.TRAIN: []}
        self.came: list[Entry] = []
        self.left: set[int] = set()
        self.outcomes: Counter[int] = Counter()
        self.predict_batches_while_training_waits = 0

    @rule(lane=st.sampled_from(Lane), count=st.integers(1, 6), patience=st.none() | st.integers(0, 5))
    def put(self, lane: Lane, count: int, patience: int | None) -> None:
        deadline = None if patience is None else self.clock() + patience
        for _ in range(count):
            new = entry(lane, deadline=deadline)
            self.queue.put(new)
            self.lanes[lane].append(new)
            self.came.append(new)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiting = [one for lane in Lane for one in self.lanes[lane] if id(one) not in self.left]
        if waiting:
            one = data.draw(st.sampled_from(waiting))
            assert one.future.cancel()
            self.left.add(id(one))

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def take(self) -> None:
        if not len(self.queue):
            return
        training_waited = bool(self.lanes[Lane.TRAIN])
        predicts_waited = bool(self.lanes[Lane.PREDICT])
        batch = self.queue.take(self.clock())
        self.check_turn(batch, training_waited, predicts_waited)
        self.check_entries(batch)

    @rule()
    def drain(self) -> None:
        drained = self.queue.drain()
        assert {id(one) for one in drained} == {id(one) for lane in Lane for one in self.lanes[lane]}
        self.outcomes.update(id(one) for one in drained)
        self.lanes = {Lane.PREDICT: [], Lane.TRAIN: []}

    def check_turn(self, batch: Batch, training_waited: bool, predicts_waited: bool) -> None:
        if batch.lane is Lane.PREDICT:
            assert predicts_waited
            self.predict_batches_while_training_waits += training_waited
            if not training_waited:
                self.predict_batches_while_training_waits = 0
        else:
            assert training_waited
            # Training goes only if no Predict waits, or when its patience is at an end.
            assert not predicts_waited or self.predict_batches_while_training_waits == self.patience
            self.predict_batches_while_training_waits = 0
        assert self.predict_batches_while_training_waits <= self.patience

    def check_entries(self, batch: Batch) -> None:
        gone = len(batch.entries) + len(batch.expired) + batch.abandoned
        taken, self.lanes[batch.lane] = self.lanes[batch.lane][:gone], self.lanes[batch.lane][gone:]
        usable = [one for one in taken if id(one) not in self.left]
        late = [one for one in usable if one.deadline is not None and one.deadline <= self.clock()]
        in_time = [one for one in usable if one not in late]
        assert list(map(id, batch.entries)) == list(map(id, in_time))
        assert list(map(id, batch.expired)) == list(map(id, late))
        assert batch.abandoned == len(taken) - len(usable)
        assert len(batch.entries) <= self.bounds[batch.lane]
        assert all(one.future.running() for one in (*batch.entries, *batch.expired))
        # A batch is full as long as usable rows wait.
        assert len(batch.entries) == self.bounds[batch.lane] or not self.lanes[batch.lane]
        self.outcomes.update(map(id, taken))

    @invariant()
    def every_row_waits_or_was_answered_once(self) -> None:
        if hasattr(self, "queue"):
            waiting = Counter(id(one) for lane in Lane for one in self.lanes[lane])
            assert waiting + self.outcomes == Counter(map(id, self.came))
            for lane in Lane:
                assert self.queue.waiting(lane) == len(self.lanes[lane])
            assert len(self.queue) == sum(map(len, self.lanes.values()))


QueueMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrderOfOperations = QueueMachine.TestCase


def test_serving_goes_before_training_and_alone() -> None:
    queue = filled(predict=3, train=5)
    batch = queue.take(0.0)
    assert (batch.lane, len(batch.entries)) == (Lane.PREDICT, 3)
    assert all(one.lane is Lane.PREDICT for one in batch.entries)


def test_training_fills_the_gaps_slice_by_slice() -> None:
    queue = filled(predict=0, train=5)
    assert [len(queue.take(0.0).entries) for _ in range(3)] == [2, 2, 1]


def test_under_constant_load_training_gets_one_slice_after_each_patience() -> None:
    queue = filled(predict=0, train=100, patience=3)
    turns = []
    for _ in range(12):
        queue.put(entry(Lane.PREDICT))
        turns.append(queue.take(0.0).lane)
    assert turns == ([Lane.PREDICT] * 3 + [Lane.TRAIN]) * 3


def test_passing_over_is_counted_anew_after_a_gap() -> None:
    queue = filled(predict=0, train=100, patience=2)
    turns = []
    for predict_comes in (True, False, True, True, True):
        if predict_comes:
            queue.put(entry(Lane.PREDICT))
        turns.append(queue.take(0.0).lane)
    assert turns == [Lane.PREDICT, Lane.TRAIN, Lane.PREDICT, Lane.PREDICT, Lane.TRAIN]


def test_a_row_expires_at_its_deadline_and_not_before() -> None:
    queue = RowQueue(max_batch=4, train_slice=2)
    early, late = entry(Lane.PREDICT, deadline=10.0), entry(Lane.PREDICT, deadline=10.1)
    queue.put(early)
    queue.put(late)
    batch = queue.take(10.0)
    assert batch.expired == (early,)
    assert batch.entries == (late,)


def test_its_repr_tells_what_waits() -> None:
    queue = filled(predict=5, train=1)
    queue.take(0.0)
    assert repr(queue) == "RowQueue(predict=1, train=1, passed_over=1)"
