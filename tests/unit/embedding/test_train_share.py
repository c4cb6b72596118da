"""How serving and training divide the time, on a clock that goes from the end of one turn to the next."""

import heapq
import math
import random
from collections.abc import Callable
from itertools import count, cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, RowFeatures, WorkItem
from headstart_server.embedding.train_budget import TrainBudget

ROW = np.zeros(1, np.float32)
PREDICT, TRAIN = Lane.PREDICT, Lane.TRAIN


def never() -> RowFeatures:
    raise AssertionError("the queue prepares nothing itself")


class Floor:
    """Threads that take turns from a queue, each for as long as a turn costs.

    Args:
        queue: what they take turns from.
        threads: how many.
        cost: seconds of an item.
        ended: called with each entry that has run.
    """

    def __init__(
        self,
        queue: LaneQueue,
        threads: int,
        cost: Callable[[WorkItem], float],
        ended: Callable[[PendingInput], None] = lambda entry: None,
    ) -> None:
        self.queue, self.idle, self.cost, self.ended = queue, threads, cost, ended
        self.now = 0.0
        self.spent = dict.fromkeys(Lane, 0.0)
        self.turns: list[WorkItem] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), act))

    def ask(self, lane: Lane) -> None:
        self.queue.add(PendingInput(prepare=never, lane=lane, since=self.now))

    def work(self, until: float) -> None:
        self._take()
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._take()

    def _take(self) -> None:
        while self.idle and (item := self.queue.next_item(self.now)) is not None:
            self.idle -= 1
            self.turns.append(item)
            seconds = self.cost(item)
            self.at(self.now + seconds, lambda item=item, seconds=seconds: self._finish(item, seconds))

    def _finish(self, item: WorkItem, seconds: float) -> None:
        self.idle += 1
        self.queue.finish(item, seconds)
        self.spent[item.lane] += seconds
        if item.prepare is not None:
            item.prepare.row = ROW
            self.queue.add(item.prepare)
        for entry in item.batch:
            self.ended(entry)


costs = st.lists(st.floats(0.02, 0.5), min_size=1, max_size=6)


@given(
    share=st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9]),
    threads=st.integers(1, 6),
    streams=st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    costs=st.fixed_dictionaries({PREDICT: costs, TRAIN: costs}),
)
@settings(max_examples=60)
def test_while_both_lanes_wait_training_gets_its_share_of_the_time_and_serving_the_rest(
    share: float, threads: int, streams: int, sizes: tuple[int, int], costs: dict[Lane, list[float]]
) -> None:
    at_once = max(1, math.ceil(share * threads))
    queue = LaneQueue(
        BatchSizes(sizes[0], sizes[1]), TrainBudget(share=share, items=at_once), streams=streams
    )
    turns = {lane: cycle(costs[lane]) for lane in Lane}

    def cost(item: WorkItem) -> float:
        if item.prepare:
            # The load is constant: for each entry that is prepared another comes.
            floor.ask(item.lane)
        return next(turns[item.lane])

    floor = Floor(queue, threads, cost)
    for lane in Lane:
        for _ in range(threads + 1):
            floor.ask(lane)
    floor.work(60.0)
    longest = {lane: max(costs[lane]) for lane in Lane}
    total = sum(floor.spent.values())
    assert total >= threads * (60 - max(longest.values())) - 1e-6
    # The share is reached to so many turns of training as are allowed at once, and of Predicts next to them.
    assert (
        abs(floor.spent[TRAIN] - share * total)
        <= at_once * longest[TRAIN] + share * threads * longest[PREDICT]
    )


def test_one_thread_keeps_the_share_within_a_turn() -> None:
    queue = LaneQueue(BatchSizes(2, 2), TrainBudget(share=0.2))
    floor = Floor(queue, 1, lambda item: 0.08 if item.lane is TRAIN else 0.01)
    for lane in Lane:
        for _ in range(4000):
            floor.ask(lane)
    for second in range(1, 30):
        floor.work(float(second))
        assert abs(floor.spent[TRAIN] - 0.2 * sum(floor.spent.values())) <= 0.08 + 0.01


def test_without_a_share_training_runs_in_the_gaps_only() -> None:
    queue = LaneQueue(BatchSizes(2, 2), TrainBudget(share=0.0))
    floor = Floor(queue, 1, lambda item: 0.01)
    for lane in Lane:
        for _ in range(100):
            floor.ask(lane)
    floor.work(1000.0)
    lanes = [item.lane for item in floor.turns]
    assert lanes == sorted(lanes, key=[PREDICT, TRAIN].index)
    assert floor.spent[TRAIN] > 0


#: Seconds of a closed loop, on its clock.
SECONDS = 4.0


def closed_loop(
    *,
    threads: int,
    callers: int,
    think: float,
    cost: Callable[[WorkItem], float],
    max_batch: int = 8,
    streams: int = 1,
    capacity: int | None = None,
    training: int = 32,
) -> tuple[Floor, list[float]]:
    """Callers that repeat after each response, next to a job; returns the floor and each latency."""
    queue = LaneQueue(
        BatchSizes(max_batch, 8),
        TrainBudget(items=math.ceil(0.2 * threads), capacity=capacity),
        streams=streams,
    )
    took: list[float] = []

    def ended(entry: PendingInput) -> None:
        if entry.lane is PREDICT:
            took.append(floor.now - entry.since)
            floor.at(floor.now + think, lambda: floor.ask(PREDICT))
        else:
            floor.ask(TRAIN)

    floor = Floor(queue, threads, cost, ended)
    for place in range(callers):
        floor.at(0.0001 * place, lambda: floor.ask(PREDICT))
    for _ in range(training):
        floor.ask(TRAIN)
    floor.work(SECONDS)
    return floor, took


@pytest.mark.parametrize(("callers", "slower", "least"), [(1, 1.0, 14), (4, 1.0, 11), (12, 1.05, 3)])
def test_next_to_training_predicts_take_little_longer_while_it_gets_the_rest(
    callers: int, slower: float, least: float
) -> None:
    # Sixteen cores with a stream each: decoding takes 1 ms, a row 4 ms, and callers pause for 2 ms.
    def cost(item: WorkItem) -> float:
        return 0.001 if item.prepare else 0.004 * len(item.batch)

    def measured(training: int) -> tuple[float, dict[Lane, float]]:
        floor, took = closed_loop(
            threads=16,
            callers=callers,
            think=0.002,
            cost=cost,
            max_batch=2,
            streams=16,
            capacity=16,
            training=training,
        )
        return float(np.percentile(took, 99)), floor.spent

    (alone, _), (next_to_training, spent) = measured(0), measured(96)
    assert next_to_training <= slower * alone + 1e-9
    # Cores.
    assert spent[TRAIN] / SECONDS >= least


def test_a_predict_that_comes_in_a_gap_waits_for_one_training_turn_at_most() -> None:
    def cost(item: WorkItem) -> float:
        return 0.08 if item.lane is TRAIN else 0.01

    floor, took = closed_loop(threads=1, callers=1, think=0.005, cost=cost)
    assert max(took) <= 0.08 + 2 * 0.01 + 1e-9
    assert floor.spent[TRAIN] > SECONDS / 2


@pytest.mark.parametrize("callers", [16, 64])
def test_moments_without_a_waiting_predict_do_not_give_training_the_busy_device(callers: int) -> None:
    # Much decoding next to one device: while a batch of Predicts runs, there are moments when no other waits.
    chance = random.Random(callers)

    def cost(item: WorkItem) -> float:
        return (0.005 if item.prepare else 0.001 * len(item.batch)) * chance.uniform(0.8, 1.2)

    floor, took = closed_loop(threads=17, callers=callers, think=0.001, cost=cost)
    assert 0.15 < floor.spent[TRAIN] / sum(floor.spent.values()) < 0.25
    # The device makes a thousand rows in a second.
    assert len(took) > 0.75 * 1000 * SECONDS


def test_what_training_did_alone_is_not_held_against_it() -> None:
    queue = LaneQueue(BatchSizes(1, 1), TrainBudget(share=0.2))
    floor = Floor(queue, 1, lambda item: 1.0)
    for _ in range(300):
        floor.ask(TRAIN)
    floor.work(500.0)
    assert floor.spent[TRAIN] > 400
    for _ in range(100):
        floor.ask(PREDICT)
    floor.work(510.0)
    # One turn ahead, of which four seconds of Predicts make up.
    assert [item.lane for item in floor.turns[-8:]].count(TRAIN) >= 1


def test_an_idle_job_saves_up_nothing() -> None:
    queue = LaneQueue(BatchSizes(1, 1), TrainBudget(share=0.2))
    floor = Floor(queue, 1, lambda item: 1.0)
    for _ in range(1000):
        floor.ask(PREDICT)
    floor.work(500.0)
    for _ in range(1000):
        floor.ask(TRAIN)
    before = floor.spent[TRAIN]
    floor.work(520.0)
    assert floor.spent[TRAIN] - before <= 0.2 * 20 + 1
