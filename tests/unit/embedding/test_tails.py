"""Activations at cuts and passes of tails: for whom they are, in whose threads, and before whom."""

import threading

import numpy as np
import pytest

from fakes import FakeTail, make_tail
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import TAIL_ROWS
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, RowFeatures
from headstart_server.embedding.tails import VersionTail, with_tail
from headstart_server.errors import ArtifactDamaged, Draining
from unit.embedding.test_embedder import Bench

CUT = frozenset({"cut1"})


def activations(count: int) -> np.ndarray:
    return np.arange(count * 36, dtype=np.float32).reshape(count, 1, 3, 12)


# Activations


def test_one_pass_gives_activations_to_those_who_requested_them() -> None:
    bench = Bench()
    bench.embedder.predict([b"a"])
    (cut,) = bench.embedder.predict([b"b"], cuts=CUT)
    (plain,) = bench.embedder.predict([b"c"])
    for _ in range(3):
        bench.batcher.step()
    bench.pump()
    assert cut.result(0).views.keys() == {"last", "taps", "cut1"}
    assert plain.result(0).views.keys() == {"last", "taps"}
    assert cut.result(0).views["cut1"].shape == (1, 3, 12)


def test_features_are_cached_without_their_activations_which_are_computed_again() -> None:
    bench = Bench(cache_predictions=True)
    for _ in range(2):
        (future,) = bench.embedder.predict([b"a"], cuts=CUT)
        bench.pump()
        assert "cut1" in future.result(0).views
    assert sum(bench.backbone.batches) == 2
    (again,) = bench.embedder.predict([b"a"])
    bench.pump()
    assert again.result(0).views.keys() == {"last", "taps"}
    assert sum(bench.backbone.batches) == 2


def test_a_dataset_with_activations_passes_the_backbone_whatever_is_cached() -> None:
    bench = Bench()
    contents = [b"a", b"b", b"c"]
    list(bench.extract(contents))
    digests = [str(place) for place in range(3)]
    found = dict(
        extract(bench.embedder, digests, contents.__getitem__, window=2, cuts=CUT, checkpoint=bench.pump)
    )
    assert all(isinstance(row, RowFeatures) and "cut1" in row.views for row in found.values())
    assert sum(bench.backbone.batches) == 6


# Passes of tails


def test_a_tails_passes_are_divided_and_put_together_in_order() -> None:
    bench = Bench()
    rows = activations(2 * TAIL_ROWS + 3)
    futures = bench.embedder.run_tail(FakeTail(np.ones(12, np.float32)), rows, Lane.PREDICT)
    assert len(futures) == 3
    bench.pump()
    views = with_tail({"last": rows[:, 0, 0], "taps": rows[:, 0, 0, :3]}, [one.result(0) for one in futures])
    assert np.allclose(views["last"], rows.mean(axis=(1, 2)) + 1)
    assert np.array_equal(views["taps"], rows[:, 0, 0, :3])


def test_what_a_tail_raises_is_its_callers() -> None:
    bench = Bench()
    (future,) = bench.embedder.run_tail(FakeTail(np.ones(7, np.float32)), activations(1), Lane.PREDICT)
    bench.pump()
    assert isinstance(future.exception(0), ValueError)


def test_a_tail_whose_server_stops_is_reported() -> None:
    bench = Bench()
    (future,) = bench.embedder.run_tail(FakeTail(np.ones(12, np.float32)), activations(1), Lane.PREDICT)
    bench.batcher.close()
    assert isinstance(future.exception(0), Draining)


def entry(name: str, lane: Lane, order: list[str], *, is_continuation: bool = False) -> PendingInput:
    def prepare() -> RowFeatures:
        order.append(name)
        return RowFeatures(views={})

    return PendingInput(prepare=prepare, lane=lane, since=0.0, is_continuation=is_continuation)


def test_what_goes_on_goes_before_what_is_not_but_serving_before_training() -> None:
    order: list[str] = []
    queue = LaneQueue(BatchSizes(4, 2))
    queue.add(entry("new", Lane.PREDICT, order))
    queue.add(entry("tail of a job", Lane.TRAIN, order, is_continuation=True))
    queue.add(entry("first tail", Lane.PREDICT, order, is_continuation=True))
    queue.add(entry("second tail", Lane.PREDICT, order, is_continuation=True))
    assert queue.waiting(Lane.PREDICT) == 3
    while (item := queue.next_item(0.0)) is not None:
        assert item.prepare is not None
        item.prepare.prepare()
        queue.finish(item, 0.0)
    assert order == ["first tail", "second tail", "new", "tail of a job"]


def test_nothing_that_goes_on_is_forgotten_when_the_queue_is_drained() -> None:
    queue = LaneQueue(BatchSizes(4, 2))
    begun = entry("tail", Lane.PREDICT, [], is_continuation=True)
    queue.add(begun)
    assert queue.drain() == [begun]
    assert len(queue) == 0


# Versions' tails


def test_a_tail_requested_from_many_threads_is_made_ready_once() -> None:
    bench = Bench()
    tail = VersionTail(make_tail(), "cut1", "pets")
    threads = [threading.Thread(target=tail.prepare, args=(bench.embedder,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tail.is_ready
    assert bench.backbone.tails_made == 1


def test_a_tail_of_another_backbone_is_refused() -> None:
    tail = VersionTail(make_tail(blocks=3), "cut1", "pets")
    with pytest.raises(ArtifactDamaged, match="Received: 3"):
        tail.prepare(Bench().embedder)
    assert not tail.is_ready
