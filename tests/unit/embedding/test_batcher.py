"""Batches: everybody answered once, and no caller's trouble is another's."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import PATIENCE, FakeBackbone, ManualClock, Recorder
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, Row, RowFeatures
from headstart_server.errors import DeadlineExceeded, Draining, UndecodableInput


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
    """A batcher with all that it works with; its turns are done by its thread, or by the test with `work`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backbone = FakeBackbone()
        self.seen = Recorder()
        self.queue = LaneQueue(BatchSizes(4, 2))
        self.batcher = Batcher(self.backbone.run, self.queue, self.seen, clock=self.clock)
        #: Called whenever an entry is prepared.
        self.before_prepare = lambda: None

    def submit(
        self, made: Row | RowFeatures | Exception, lane: Lane = Lane.PREDICT, deadline: float | None = None
    ) -> "Future[RowFeatures]":
        """Queue an input that preparing makes this of."""

        def prepare() -> Row | RowFeatures:
            self.before_prepare()
            if isinstance(made, Exception):
                raise made
            return made

        entry = PendingInput(prepare=prepare, lane=lane, since=self.clock(), deadline=deadline)
        self.batcher.submit(entry)
        return entry.future

    def work(self) -> None:
        """Do all that can be done, in this thread."""
        while self.batcher.step():
            pass

    def stop_in_first_batch(self) -> tuple[Gate, "Future[RowFeatures]"]:
        """Start the thread and hold it in a batch of one row; later batches pass."""
        gate = Gate()

        def first_only(rows: NDArray[np.generic]) -> None:
            self.backbone.before_run = lambda rows: None
            gate(rows)

        self.backbone.before_run = first_only
        self.batcher.start()
        future = self.submit(row(0))
        assert gate.entered.wait(PATIENCE)
        return gate, future


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.batcher.close()


def first_of(future: "Future[RowFeatures]", patience: float = PATIENCE) -> float:
    return float(future.result(patience).views["last"][0])


# Batches


def test_rows_that_wait_together_run_together_and_each_gets_its_own_answer(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    futures = [bench.submit(row(value)) for value in (1, 2, 3)]
    bench.work()
    assert bench.batcher.waiting(Lane.PREDICT) == 3
    gate.opened.set()
    assert [first_of(future) for future in futures] == [1, 2, 3]
    assert bench.backbone.batches == [1, 3]
    assert futures[0].result().batch_rows == 3
    assert bench.seen.batches == [(Lane.PREDICT, 1), (Lane.PREDICT, 3)]


def test_a_failure_of_the_runtime_reaches_its_own_batch_only(bench: Bench) -> None:
    gate, first = bench.stop_in_first_batch()
    unlucky = [bench.submit(row(value)) for value in (1, 2, 3, 4)]
    later = bench.submit(row(5))
    bench.work()

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


def test_rows_of_different_shapes_run_apart_each_shape_together(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    futures = [bench.submit(row(place, size=size)) for place, size in enumerate((4, 5, 4, 5, 5))]
    bench.work()
    gate.opened.set()
    assert [first_of(future) for future in futures] == [0, 1, 2, 3, 4]
    assert bench.seen.batches == [(Lane.PREDICT, 1), (Lane.PREDICT, 2), (Lane.PREDICT, 3)]


def test_a_runtime_that_answers_too_few_rows_fails_its_batch_and_the_thread_goes_on() -> None:
    answers = [1, None]

    def run(rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        return {"last": rows[: answers.pop(0)].astype(np.float32)}

    def prepared(value: float) -> PendingInput:
        return PendingInput(prepare=lambda: row(value), row=row(value), lane=Lane.PREDICT, since=0.0)

    batcher = Batcher(run, LaneQueue(BatchSizes(4, 2)), Recorder())
    entries = [prepared(1), prepared(2)]
    for entry in entries:
        batcher.submit(entry)
    batcher.start()
    assert all(isinstance(entry.future.exception(PATIENCE), IndexError) for entry in entries)
    last = prepared(3)
    batcher.submit(last)
    assert first_of(last.future) == 3
    batcher.close()


def test_a_stream_whose_batch_failed_is_free_again(bench: Bench) -> None:
    def fail(rows: object) -> None:
        raise RuntimeError("no memory")

    bench.backbone.before_run = fail
    for _ in range(3):
        failed = bench.submit(row(1))
        bench.work()
        assert isinstance(failed.exception(0), RuntimeError)
    bench.backbone.before_run = lambda rows: None
    fine = bench.submit(row(2))
    bench.work()
    assert first_of(fine, 0) == 2


def test_an_answer_does_not_keep_its_batch_in_memory(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    futures = [bench.submit(row(value)) for value in (1, 2)]
    bench.work()
    gate.opened.set()
    for future in futures:
        assert future.result(PATIENCE).batch_rows == 2
        assert all(vector.base is None for vector in future.result().views.values())


def test_a_thread_that_waits_does_not_keep_its_last_rows_in_memory(bench: Bench) -> None:
    bench.batcher.start()
    gone = threading.Event()
    gc.collect()
    gc.disable()
    try:
        value = row(1)
        weakref.finalize(value, gone.set)
        future = bench.submit(value)
        del value
        future.result(PATIENCE)
        assert gone.wait(PATIENCE)
    finally:
        gc.enable()


# Preparing


def test_an_input_that_cannot_be_prepared_gets_its_error_and_the_others_go_on(bench: Bench) -> None:
    broken = bench.submit(UndecodableInput("Expected an image. Received: a text."))
    fine = bench.submit(row(1))
    bench.work()
    assert isinstance(broken.exception(0), UndecodableInput)
    assert first_of(fine, 0) == 1
    assert bench.backbone.batches == [1]


def test_features_that_are_known_already_never_run(bench: Bench) -> None:
    known = RowFeatures(views={"last": row(5)})
    future = bench.submit(known)
    bench.work()
    assert future.result(0) is known
    assert bench.backbone.batches == []


@pytest.mark.parametrize(
    "made", [row(1), RowFeatures(views={"last": row(1)}), RuntimeError("gone")], ids=["row", "known", "error"]
)
def test_a_caller_that_leaves_while_its_input_is_prepared_gets_nothing_and_nothing_runs(
    bench: Bench, made: Row | RowFeatures | Exception
) -> None:
    future = bench.submit(made)
    bench.before_prepare = lambda: future.cancel() and None
    bench.work()
    assert future.cancelled()
    assert bench.backbone.batches == []


# Closing


def test_closing_finishes_the_batch_that_runs_and_fails_what_waits(bench: Bench) -> None:
    gate, running = bench.stop_in_first_batch()
    prepared = bench.submit(row(1))
    bench.work()
    waiting = [prepared, *(bench.submit(row(1), lane) for lane in Lane)]
    abandoned = bench.submit(row(2), Lane.TRAIN)
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


@pytest.mark.parametrize(
    ("made", "end"),
    [(row(1), Draining), (UndecodableInput("no image"), UndecodableInput)],
    ids=["row", "error"],
)
def test_an_input_that_is_prepared_while_the_batcher_closes_is_answered(
    bench: Bench, made: Row | Exception, end: type[Exception]
) -> None:
    gate = Gate()
    bench.before_prepare = lambda: gate(None)
    bench.batcher.start()
    future = bench.submit(made)
    assert gate.entered.wait(PATIENCE)
    closing = threading.Thread(target=bench.batcher.close)
    closing.start()
    # The batcher is closed by now, or this is answered when it is.
    assert isinstance(bench.submit(row(2)).exception(PATIENCE), Draining)
    assert not future.done()
    gate.opened.set()
    assert isinstance(future.exception(PATIENCE), end)
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert bench.backbone.batches == []


def test_nothing_is_taken_after_closing(bench: Bench) -> None:
    bench.batcher.start()
    bench.batcher.close()
    refused = bench.submit(row(1))
    assert isinstance(refused.exception(0), Draining)
    assert not bench.batcher.step()
    bench.batcher.close()


def test_a_batcher_that_never_started_closes_too(bench: Bench) -> None:
    waiting = bench.submit(row(1))
    bench.batcher.close()
    assert isinstance(waiting.exception(PATIENCE), Draining)


# Drops


def test_a_row_whose_caller_left_never_runs(bench: Bench) -> None:
    gate, _ = bench.stop_in_first_batch()
    left, stayed = (bench.submit(row(value), Lane.TRAIN) for value in (1, 2))
    bench.work()
    assert left.cancel()
    gate.opened.set()
    assert first_of(stayed) == 2
    assert bench.backbone.batches == [1, 1]
    assert bench.seen.dropped == [(Lane.TRAIN, 1, "abandoned")]


def test_an_input_whose_caller_left_is_not_even_prepared(bench: Bench) -> None:
    left = bench.submit(AssertionError("prepared"))
    assert left.cancel()
    bench.work()
    assert bench.seen.dropped == [(Lane.PREDICT, 1, "abandoned")]
    assert left.cancelled()


@pytest.mark.parametrize("prepared", [False, True])
def test_an_input_whose_deadline_passed_is_reported_and_never_runs(bench: Bench, prepared: bool) -> None:
    gate, _ = bench.stop_in_first_batch()
    late = bench.submit(row(1), deadline=bench.clock() + 1)
    in_time = bench.submit(row(2), deadline=bench.clock() + 3)
    if prepared:
        bench.work()
    bench.clock.advance(2)
    gate.opened.set()
    assert isinstance(late.exception(PATIENCE), DeadlineExceeded)
    assert first_of(in_time) == 2
    assert bench.seen.dropped == [(Lane.PREDICT, 1, "expired")]


def test_a_batch_of_nothing_usable_does_not_reach_the_runtime(bench: Bench) -> None:
    left = bench.submit(row(1))
    assert bench.batcher.step()
    left.cancel()
    assert bench.batcher.step()
    assert not bench.batcher.step()
    assert bench.backbone.batches == []
    assert bench.seen.batches == []


# Times


def test_times_are_those_of_preparing_of_both_waits_and_of_the_batch(bench: Bench) -> None:
    future = bench.submit(row(1))
    bench.clock.advance(2.0)
    bench.before_prepare = lambda: bench.clock.advance(0.25)
    assert bench.batcher.step()
    bench.clock.advance(4.0)
    bench.backbone.before_run = lambda rows: bench.clock.advance(0.5)
    assert bench.batcher.step()
    features = future.result(0)
    assert (features.queued, features.decoded, features.ran) == (6.0, 0.25, 0.5)


def test_the_time_of_a_turn_counts_for_its_lane(bench: Bench) -> None:
    # A Predict of a second earns training a quarter of one, so that it is next; and then no more.
    bench.before_prepare = lambda: bench.clock.advance(1.0)
    lanes: list[Lane] = []
    for lane in Lane:
        for _ in range(8):
            bench.submit(RowFeatures(views={}), lane).add_done_callback(
                lambda _, lane=lane: lanes.append(lane)
            )
    bench.work()
    predict, train = Lane.PREDICT, Lane.TRAIN
    assert lanes[:7] == [predict, train, predict, predict, predict, predict, train]


# Threads


def test_many_callers_at_once_all_get_their_own_answers(bench: Bench) -> None:
    bench.batcher.start()
    answers: dict[int, float] = {}

    def call(value: int) -> None:
        lane = Lane.TRAIN if value % 3 else Lane.PREDICT
        answers[value] = first_of(bench.submit(row(value), lane))

    threads = [threading.Thread(target=call, args=(value,)) for value in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == {value: float(value) for value in range(60)}
    assert sum(bench.backbone.batches) == 60
    assert all(rows <= (4 if lane is Lane.PREDICT else 2) for lane, rows in bench.seen.batches)


def test_who_runs_can_no_longer_leave_so_that_no_one_is_answered_twice(bench: Bench) -> None:
    future = bench.submit(row(1))
    left: list[bool] = []
    bench.backbone.before_run = lambda rows: left.append(future.cancel())
    bench.work()
    assert left == [False]
    assert first_of(future, 0) == 1


def test_a_batch_that_may_wait_goes_when_it_is_full_or_has_waited() -> None:
    backbone = FakeBackbone()

    def entry(value: float) -> PendingInput:
        return PendingInput(prepare=lambda: row(value), lane=Lane.PREDICT, since=0.0)

    queue = LaneQueue(BatchSizes(3, 2), max_delay=0.05)
    batcher = Batcher(backbone.run, queue, Recorder(), threads=2)
    entries = [entry(value) for value in range(4)]
    for one in entries:
        batcher.submit(one)
    batcher.start()
    assert [first_of(one.future) for one in entries] == [0, 1, 2, 3]
    assert backbone.batches == [3, 1]
    batcher.close()


def test_a_batcher_that_cannot_start_all_threads_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    batcher = Batcher(
        FakeBackbone().run, LaneQueue(BatchSizes(4, 2)), Recorder(), threads=4, name="backbone-x"
    )
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            batcher.start()
    assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)
    entry = PendingInput(prepare=lambda: row(1.0), lane=Lane.PREDICT, since=0.0)
    assert isinstance(batcher.submit(entry).exception(PATIENCE), Draining)
