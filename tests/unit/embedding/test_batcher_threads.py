"""A batcher's threads: none sleeps while something can be done."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import PATIENCE, ManualClock, Recorder
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, Row, WorkItem
from headstart_server.embedding.train_budget import TrainBudget

PREDICT, TRAIN = Lane.PREDICT, Lane.TRAIN
#: What a thread is doing: preparing an input, or running some.
Work = tuple[str, tuple[int, ...]]


class ToldQueue(LaneQueue):
    """A queue that reports each change."""

    def __init__(self, changed: threading.Condition, sizes: BatchSizes, streams: int, items: int) -> None:
        super().__init__(sizes, TrainBudget(items=items), streams=streams)
        self._changed = changed

    def add(self, entry: PendingInput) -> None:
        super().add(entry)
        self._tell()

    def finish(self, item: WorkItem, seconds: float) -> None:
        super().finish(item, seconds)
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Held:
    """A batcher whose threads stop in each turn until the test lets them go on.

    A second queue gets the same calls: what as many threads would do at once is what they must do.
    """

    def __init__(self, threads: int, sizes: BatchSizes, *, streams: int, items: int) -> None:
        self.threads = threads
        self.changed = threading.Condition()
        self.held: set[Work] = set()
        self.entries: list[PendingInput] = []
        self.queue = ToldQueue(self.changed, sizes, streams, items)
        self.batcher = Batcher(
            self.run, self.queue, Recorder(), threads=threads, clock=ManualClock(0.0), name="held"
        )
        self.twin = LaneQueue(sizes, TrainBudget(items=items), streams=streams)
        self.twins: list[PendingInput] = []
        self.expected: dict[Work, WorkItem] = {}
        self.batcher.start()

    def hold(self, work: Work) -> None:
        with self.changed:
            self.held.add(work)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: work not in self.held, PATIENCE)

    def prepare(self, number: int) -> Row:
        self.hold(("prepare", (number,)))
        return np.array([number])

    def run(self, rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        self.hold(("run", tuple(rows[:, 0].tolist())))
        return {"last": rows.astype(np.float32)}

    def submit(self, lane: Lane, count: int = 1) -> None:
        """Inputs come, one by one."""
        for _ in range(count):
            number = len(self.entries)
            entry = PendingInput(prepare=lambda number=number: self.prepare(number), lane=lane, since=0.0)
            twin = PendingInput(prepare=lambda: np.zeros(1), lane=lane, since=0.0)
            self.entries.append(entry)
            self.twins.append(twin)
            self.twin.add(twin)
            self.batcher.submit(entry)
            self.settle()

    def release(self, work: Work) -> None:
        """End one turn."""
        item = self.expected.pop(work)
        self.twin.finish(item, 0.0)
        if item.prepare is not None:
            item.prepare.row = np.zeros(1)
            self.twin.add(item.prepare)
        with self.changed:
            self.held.remove(work)
            self.changed.notify_all()
        self.settle()

    def settle(self) -> None:
        """Wait until every thread that can do something does it, and check that it is the right thing."""
        while len(self.expected) < self.threads and (item := self.twin.next_item(0.0)) is not None:
            self.expected[self.work_of(item)] = item
        with self.changed:
            done = self.changed.wait_for(self.is_settled, PATIENCE)
            assert done, (
                f"Expected {sorted(self.expected)} and {self.twin}. "
                f"Received: {sorted(self.held)} and {self.queue}."
            )

    def is_settled(self) -> bool:
        # Of the second queue too: a thread that was let go on may not have given its turn back yet.
        return self.held == set(self.expected) and repr(self.queue) == repr(self.twin)

    def work_of(self, item: WorkItem) -> Work:
        numbers = {id(twin): number for number, twin in enumerate(self.twins)}
        if item.prepare is not None:
            return "prepare", (numbers[id(item.prepare)],)
        return "run", tuple(numbers[id(twin)] for twin in item.batch)

    def end(self) -> None:
        """End every turn until all inputs are answered."""
        while self.expected:
            self.release(min(self.expected))
        answers = [entry.future.result(PATIENCE).views["last"].tolist() for entry in self.entries]
        assert answers == [[number] for number in range(len(self.entries))]
        self.batcher.close()


@pytest.mark.parametrize("time", range(5))
def test_a_turn_that_makes_room_for_several_wakes_a_thread_for_each(time: int) -> None:
    held = Held(4, BatchSizes(4, 1), streams=1, items=1)
    held.submit(TRAIN)
    held.release(("prepare", (0,)))
    held.submit(TRAIN, 2)
    held.submit(PREDICT)
    held.submit(TRAIN, 4)
    for number in (3, 1, 2):
        held.release(("prepare", (number,)))
    # The stream is taken, the Predict's row waits for it, and during a Predict training has one turn:
    # three threads sleep. When the batch ends the Predict runs, and all of training's inputs are free.
    assert held.held == {("run", (0,))}
    held.release(("run", (0,)))
    assert held.held == {("run", (3,)), ("prepare", (4,)), ("prepare", (5,)), ("prepare", (6,))}
    held.end()


@given(
    threads=st.integers(1, 4),
    sizes=st.builds(BatchSizes, st.integers(1, 3), st.integers(1, 2)),
    streams=st.integers(1, 3),
    items=st.integers(1, 3),
    script=st.lists(st.sampled_from(Lane) | st.integers(0, 3), max_size=30),
)
@settings(max_examples=100)
def test_no_thread_sleeps_while_something_can_be_done(
    threads: int, sizes: BatchSizes, streams: int, items: int, script: Sequence[Lane | int]
) -> None:
    held = Held(threads, sizes, streams=streams, items=items)
    for action in script:
        if isinstance(action, Lane):
            held.submit(action)
        elif held.expected:
            held.release(sorted(held.expected)[action % len(held.expected)])
    held.end()
