"""Batches: everybody answered once, and no caller's trouble is another's."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import PATIENCE, FakeBackbone, ManualClock, Recorder
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import Entry, Lane, RowFeatures, RowQueue
from headstart_server.errors import DeadlineExceeded, Draining


def row(value: float, size: int = 4) -> NDArray[np.float32]:
    return np.full(size, value, np.float32)


class Gate:
    """Stops the backbone in the middle of a batch until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, rows: object) -> None:
        self.entered.set()
        assert self.opened.wait(PATIENCE)


class Bench:
    """A batcher with all that it works with."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backbone = FakeBackbone()
        self.seen = Recorder()
        self.queue = RowQueue(max_batch=4, train_slice=2)
        self.batcher = Batcher(self.backbone.run, self.queue, self.seen, clock=self.clock)

    def stop_in_first_batch(self) -> tuple[Gate, "Future[RowFeatures]"]:
        """Start the thread and hold it in a batch of one row; later batches pass."""
        gate = Gate()

        def first_only(rows: NDArray[np.generic]) -> None:
            self.backbone.before_run = lambda rows: None
            gate(rows)

        self.backbone.before_run = first_only
        self.batcher.start()
        future = self.batcher.submit(row(0), Lane.PREDICT)
        assert gate.entered.wait(PATIENCE)
        return gate, future


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.batcher.close()


def first_of(future: "Future[RowFeatures]") -> float:
    return float(future.result(PATIENCE).views["last"][0])


def test_rows_that_wait_together_run_together_and_each_gets_its_own_answer(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    futures = [bench.batcher.submit(row(value), Lane.PREDICT) for value in (1, 2, 3)]
    assert bench.batcher.waiting(Lane.PREDICT) == 3
    gate.opened.set()
    assert [first_of(future) for future in futures] == [1, 2, 3]
    assert bench.backbone.batches == [1, 3]
    assert futures[0].result().batch_rows == 3
    assert bench.seen.batches == [(Lane.PREDICT, 1), (Lane.PREDICT, 3)]


def test_a_failure_of_the_runtime_reaches_its_own_batch_only(bench: Bench) -> None:
    gate, first = bench.stop_in_first_batch()
    unlucky = [bench.batcher.submit(row(value), Lane.PREDICT) for value in (1, 2, 3, 4)]
    later = bench.batcher.submit(row(5), Lane.PREDICT)

    def once(rows: NDArray[np.generic]) -> None:
        bench.backbone.before_run = lambda rows: None
        raise RuntimeError("out of memory")

    bench.backbone.before_run = once
    gate.opened.set()
    assert first_of(first) == 0
    for future in unlucky:
        with pytest.raises(RuntimeError, match="out of memory"):
            future.result(PATIENCE)
    assert first_of(later) == 5


def test_rows_that_do_not_fit_together_fail_and_the_thread_goes_on(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    futures = [bench.batcher.submit(row(1, size=size), Lane.PREDICT) for size in (4, 5)]
    gate.opened.set()
    for future in futures:
        assert isinstance(future.exception(PATIENCE), ValueError)
    assert first_of(bench.batcher.submit(row(7), Lane.PREDICT)) == 7


def test_a_runtime_that_answers_too_few_rows_fails_its_batch_and_the_thread_goes_on() -> None:
    answers = [1, None]

    def run(rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        return {"last": rows[: answers.pop(0)].astype(np.float32)}

    queue = RowQueue(max_batch=4, train_slice=2)
    batcher = Batcher(run, queue, Recorder())
    futures = [batcher.submit(row(value), Lane.PREDICT) for value in (1, 2)]
    batcher.start()
    assert all(isinstance(future.exception(PATIENCE), IndexError) for future in futures)
    assert first_of(batcher.submit(row(3), Lane.PREDICT)) == 3
    batcher.close()


def test_closing_finishes_the_batch_that_runs_and_fails_what_waits(bench: Bench) -> None:
    gate, running = bench.stop_in_first_batch()
    waiting = [bench.batcher.submit(row(1), lane) for lane in Lane]
    abandoned = bench.batcher.submit(row(2), Lane.TRAIN)
    abandoned.cancel()
    closing = threading.Thread(target=bench.batcher.close)
    closing.start()
    for future in waiting:
        assert isinstance(future.exception(PATIENCE), Draining)
    assert not running.done()
    gate.opened.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert first_of(running) == 0
    assert bench.backbone.batches == [1]


def test_nothing_is_taken_after_closing(bench: Bench) -> None:
    bench.batcher.start()
    bench.batcher.close()
    with pytest.raises(Draining):
        bench.batcher.submit(row(1), Lane.PREDICT)
    bench.batcher.close()


def test_a_batcher_that_never_started_closes_too(bench: Bench) -> None:
    waiting = bench.batcher.submit(row(1), Lane.PREDICT)
    bench.batcher.close()
    assert isinstance(waiting.exception(PATIENCE), Draining)


def test_a_row_whose_caller_left_never_runs(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    left, stayed = (bench.batcher.submit(row(value), Lane.TRAIN) for value in (1, 2))
    assert left.cancel()
    gate.opened.set()
    assert first_of(stayed) == 2
    assert bench.backbone.batches == [1, 1]
    assert bench.seen.dropped == [(Lane.TRAIN, 1, "abandoned")]


def test_a_row_whose_deadline_passed_is_told_and_never_runs(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    late = bench.batcher.submit(row(1), Lane.PREDICT, deadline=bench.clock() + 1)
    in_time = bench.batcher.submit(row(2), Lane.PREDICT, deadline=bench.clock() + 3)
    bench.clock.advance(2)
    gate.opened.set()
    assert isinstance(late.exception(PATIENCE), DeadlineExceeded)
    assert first_of(in_time) == 2
    assert bench.seen.dropped == [(Lane.PREDICT, 1, "expired")]


def test_a_batch_of_nothing_usable_does_not_reach_the_runtime(bench: Bench) -> None:
    left = bench.batcher.submit(row(1), Lane.PREDICT)
    left.cancel()
    bench.batcher.execute(bench.queue.take(bench.clock()))
    assert bench.backbone.batches == []
    assert bench.seen.batches == []


def test_times_are_those_of_waiting_and_of_the_batch(bench: Bench) -> None:
    future = bench.batcher.submit(row(1), Lane.PREDICT)
    bench.clock.advance(2.0)
    bench.backbone.before_run = lambda rows: bench.clock.advance(0.5)
    bench.batcher.execute(bench.queue.take(bench.clock()))
    features = future.result(0)
    assert (features.queued, features.ran, features.batch_rows) == (2.0, 0.5, 1)


def test_an_answer_does_not_keep_its_batch_in_memory(bench: Bench) -> None:
    futures = [bench.batcher.submit(row(value), Lane.PREDICT) for value in (1, 2)]
    bench.batcher.execute(bench.queue.take(bench.clock()))
    for future in futures:
        assert all(vector.base is None for vector in future.result(0).views.values())


def test_many_callers_at_once_all_get_their_own_answers(bench: Bench) -> None:
    bench.batcher.start()
    answers: dict[int, float] = {}

    def call(value: int) -> None:
        lane = Lane.TRAIN if value % 3 else Lane.PREDICT
        answers[value] = first_of(bench.batcher.submit(row(value), lane))

    threads = [threading.Thread(target=call, args=(value,)) for value in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == {value: float(value) for value in range(60)}
    assert sum(bench.backbone.batches) == 60
    assert all(rows <= (4 if lane is Lane.PREDICT else 2) for lane, rows in bench.seen.batches)


def test_the_queue_marks_entries_as_running_before_they_run() -> None:
    queue = RowQueue(max_batch=1, train_slice=1)
    entry = Entry(row=row(1), lane=Lane.PREDICT, queued_at=0.0)
    queue.put(entry)
    queue.take(0.0)
    # From here on its caller can no longer take it out, so that nobody is answered twice.
    assert not entry.future.cancel()
