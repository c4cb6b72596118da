"""Inputs to features: admission, decoding, the cache, and every way out."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from fakes import FakeBackbone, ManualClock, Recorder, make_head
from headstart_server.backbones.contract.backbone import Content, Modality, Truncation
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache, content_digest, shared_key, tenant_key, working_for
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import MAX_IMMEDIATE_NUMBERS, Embedder
from headstart_server.embedding.feature_store import FeatureStore
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, RowFeatures
from headstart_server.errors import (
    ArtifactDamaged,
    BackboneQueueFull,
    DeadlineExceeded,
    Draining,
    UndecodableInput,
)


class Bench:
    """An embedder whose threads are the test: `pump` does all that waits, `batcher.step` one turn of it."""

    def __init__(
        self,
        *,
        cache_predictions: bool = False,
        cache_bytes: int = 1 << 20,
        store: FeatureStore | None = None,
        cache_key: Callable[[str], str | None] = shared_key,
        least_window: int = 0,
        backbone: FakeBackbone | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.backbone = backbone or FakeBackbone()
        self.seen = Recorder()
        self.queue = LaneQueue(BatchSizes(4, 2))
        self.batcher = Batcher(self.backbone.run, self.queue, self.seen, clock=self.clock)
        self.cache = FeatureCache(cache_bytes, store)
        self.embedder = Embedder(
            self.backbone,
            self.batcher,
            self.cache,
            max_pending=4,
            cache_predictions=cache_predictions,
            cache_key=cache_key,
            least_window=least_window,
        )

    def pump(self) -> None:
        while self.batcher.step():
            pass

    def extract(
        self, contents: Sequence[Content], window: int = 3
    ) -> Iterator[tuple[int, RowFeatures | Exception]]:
        return extract(
            self.embedder,
            [content_digest(content) for content in contents],
            lambda place: contents[place],
            window=window,
            checkpoint=self.pump,
        )


def values(future: "Future[RowFeatures]") -> list[float]:
    return future.result(0).views["last"].tolist()


def expected(content: bytes) -> list[float]:
    backbone = FakeBackbone()
    return backbone.run(backbone.decode(content)[None])["last"][0].tolist()


# Predict


def test_each_input_gets_its_own_features_in_order() -> None:
    bench = Bench()
    futures = bench.embedder.predict([b"a", b"b", b"a"])
    bench.pump()
    assert [values(future) for future in futures] == [expected(b"a"), expected(b"b"), expected(b"a")]
    assert bench.seen.batches == [(Lane.PREDICT, 1)] * 3
    assert bench.embedder.pending == 0


def test_an_immediate_backbone_computes_small_rows_without_its_queue() -> None:
    bench, head = Bench(), make_head()
    assert bench.embedder.predict_now([np.zeros(2)], [head]) is None
    bench.backbone.is_immediate = True
    rows = [np.frombuffer(text, np.uint8) for text in (b"a", b"broken", b"b")]
    one, broken, two = bench.embedder.predict_now(rows, [head]) or []
    assert isinstance(broken, UndecodableInput)
    for found, content in ((one, b"a"), (two, b"b")):
        assert isinstance(found, RowFeatures)
        assert found.views["last"].tolist() == expected(content)
        assert found.outputs is not None
        np.testing.assert_array_equal(
            found.outputs[head], head.outputs({"last": found.views["last"][None]})[0]
        )
    assert bench.seen.batches == [(Lane.PREDICT, 2)]
    # Large inputs, and a server that caches predictions, take the queue.
    assert bench.embedder.predict_now([np.zeros(MAX_IMMEDIATE_NUMBERS + 1)], [head]) is None
    caching = Bench(cache_predictions=True)
    caching.backbone.is_immediate = True
    assert caching.embedder.predict_now(rows, [head]) is None


def test_heads_predict_in_the_batches_of_their_rows() -> None:
    bench, head = Bench(), make_head()
    (future,) = bench.embedder.predict([b"a"], heads=[head])
    (without,) = bench.embedder.predict([b"b"])
    bench.pump()
    found = future.result(0)
    assert found.outputs is not None
    np.testing.assert_array_equal(found.outputs[head], head.outputs({"last": found.views["last"][None]})[0])
    assert not without.result(0).outputs


def test_a_call_is_taken_whole_or_not_at_all() -> None:
    bench = Bench()
    bench.embedder.predict([b"a", b"b", b"c"])
    with pytest.raises(BackboneQueueFull) as caught:
        bench.embedder.predict([b"d", b"e"])
    assert bench.embedder.pending == 3
    assert caught.value.message == (
        "Backbone 'fake' holds 3 inputs, of at most 4, and the call has 2 more. Try again in a second, or "
        "send fewer in one call."
    )
    assert caught.value.retry_after == 1.0
    bench.embedder.predict([b"d"])
    assert bench.embedder.pending == 4
    bench.pump()
    assert bench.embedder.pending == 0
    assert sum(bench.backbone.batches) == 4


def test_a_call_larger_than_the_bound_is_refused_even_when_nothing_waits() -> None:
    bench = Bench()
    with pytest.raises(BackboneQueueFull):
        bench.embedder.predict([b"a"] * 5)
    assert bench.embedder.pending == 0


def test_inputs_are_released_when_they_cannot_be_decoded() -> None:
    bench = Bench()
    broken, fine = bench.embedder.predict([b"broken", b"fine"])
    bench.pump()
    assert isinstance(broken.exception(0), UndecodableInput)
    assert values(fine) == expected(b"fine")
    assert bench.embedder.pending == 0


def test_inputs_are_released_when_they_expire() -> None:
    bench = Bench()
    (late,) = bench.embedder.predict([b"a"], deadline=bench.clock() + 1)
    bench.clock.advance(1)
    bench.pump()
    assert isinstance(late.exception(0), DeadlineExceeded)
    assert bench.embedder.pending == 0
    assert bench.backbone.batches == []


def test_inputs_are_released_when_the_runtime_fails() -> None:
    bench = Bench()

    def fail(rows: object) -> None:
        raise RuntimeError("no memory")

    bench.backbone.before_run = fail
    futures = bench.embedder.predict([b"a", b"b"])
    bench.pump()
    assert all(isinstance(future.exception(0), RuntimeError) for future in futures)
    assert bench.embedder.pending == 0


def test_inputs_are_released_when_their_caller_leaves_before_they_are_decoded() -> None:
    bench = Bench()
    futures = bench.embedder.predict([b"a", b"b"])
    assert all(future.cancel() for future in futures)
    assert bench.embedder.pending == 0
    bench.pump()
    assert not bench.backbone.decoded
    assert len(bench.queue) == 0
    assert bench.seen.dropped == [(Lane.PREDICT, 2, "abandoned")]


def test_inputs_are_released_when_their_caller_leaves_while_they_are_decoded() -> None:
    bench = Bench()
    decode = bench.backbone.decode

    def leave_meanwhile(content: Content) -> object:
        assert left.cancel()
        assert bench.embedder.pending == 0
        return decode(content)

    bench.backbone.decode = leave_meanwhile
    (left,) = bench.embedder.predict([b"a"])
    bench.pump()
    assert bench.backbone.batches == []
    assert bench.embedder.pending == 0


def test_inputs_are_released_when_their_caller_leaves_while_they_wait_for_the_device() -> None:
    bench = Bench()
    (left,) = bench.embedder.predict([b"a"])
    assert bench.batcher.step()
    assert bench.backbone.decoded == {b"a": 1}
    assert len(bench.queue) == 1
    assert left.cancel()
    assert bench.embedder.pending == 0
    bench.pump()
    assert bench.backbone.batches == []
    assert bench.seen.dropped == [(Lane.PREDICT, 1, "abandoned")]


def test_inputs_whose_caller_leaves_while_they_run_are_released_when_they_ran() -> None:
    bench = Bench()
    (left,) = bench.embedder.predict([b"a"])
    pending: list[int] = []

    def leave_meanwhile(rows: object) -> None:
        assert not left.cancel()
        pending.append(bench.embedder.pending)

    bench.backbone.before_run = leave_meanwhile
    bench.pump()
    assert pending == [1]
    assert bench.embedder.pending == 0


def test_inputs_are_released_when_the_server_stops() -> None:
    bench = Bench()
    (decoded,) = bench.embedder.predict([b"a"])
    assert bench.batcher.step()
    (undecoded,) = bench.embedder.predict([b"b"])
    bench.embedder.close()
    assert isinstance(decoded.exception(0), Draining)
    assert isinstance(undecoded.exception(0), Draining)
    (late,) = bench.embedder.predict([b"c"])
    assert isinstance(late.exception(0), Draining)
    assert bench.embedder.pending == 0
    assert bench.backbone.decoded == {b"a": 1}


def test_inputs_are_released_when_the_server_stops_while_they_are_decoded() -> None:
    bench = Bench()
    decode = bench.backbone.decode

    def stop_meanwhile(content: Content) -> object:
        bench.embedder.close()
        return decode(content)

    bench.backbone.decode = stop_meanwhile
    (caught,) = bench.embedder.predict([b"a"])
    bench.pump()
    assert isinstance(caught.exception(0), Draining)
    assert bench.embedder.pending == 0


@pytest.mark.parametrize("content", [b"known", b"broken"])
def test_inputs_that_never_run_are_released_too(content: bytes) -> None:
    bench = Bench(cache_predictions=True)
    bench.embedder.predict([b"known"])
    bench.pump()
    (future,) = bench.embedder.predict([content])
    assert bench.embedder.pending == 1
    bench.pump()
    assert future.done()
    assert bench.backbone.batches == [1]
    assert bench.embedder.pending == 0


def test_predictions_leave_the_cache_alone_by_default() -> None:
    bench = Bench()
    for _ in range(2):
        bench.embedder.predict([b"a"])
        bench.pump()
    assert bench.backbone.batches == [1, 1]
    assert len(bench.cache) == 0


def test_predictions_that_may_be_cached_run_once_and_are_shared_with_training() -> None:
    bench = Bench(cache_predictions=True)
    bench.embedder.predict([b"a"])
    bench.pump()
    (again,) = bench.embedder.predict([b"a"])
    bench.pump()
    assert values(again) == expected(b"a")
    assert (again.result().ran, again.result().decoded) == (0.0, 0.0)
    ((_, trained),) = bench.extract([b"a"])
    assert trained.views is again.result().views
    assert bench.backbone.batches == [1]
    assert bench.embedder.pending == 0


@pytest.mark.parametrize("cache_predictions", [True, False])
def test_after_a_restart_predictions_that_may_be_cached_come_from_the_disk(
    tmp_path: Path, cache_predictions: bool
) -> None:
    for run in (2, 0 if cache_predictions else 2):
        store = FeatureStore(tmp_path / "features.sqlite3", 1 << 20)
        bench = Bench(cache_predictions=cache_predictions, store=store)
        futures = bench.embedder.predict([b"a", b"b"])
        bench.pump()
        assert [values(future) for future in futures] == [expected(b"a"), expected(b"b")]
        assert sum(bench.backbone.batches) == run
        bench.cache.close()


def test_the_time_of_decoding_is_reported() -> None:
    bench = Bench()
    decode = bench.backbone.decode

    def slowly(content: Content) -> object:
        bench.clock.advance(0.25)
        return decode(content)

    bench.backbone.decode = slowly
    (future,) = bench.embedder.predict([b"a"])
    bench.pump()
    assert future.result(0).decoded == 0.25


def test_decode_only_checks() -> None:
    bench = Bench()
    bench.embedder.decode(b"fine")
    with pytest.raises(UndecodableInput):
        bench.embedder.decode(b"broken")
    assert len(bench.queue) == 0


# Training


def test_each_different_content_is_decoded_and_run_once() -> None:
    bench = Bench()
    contents = [b"a", b"b", b"a", b"c", b"b"]
    found = dict(bench.extract(contents))
    assert list(found) == [0, 1, 3]
    assert [found[place].views["last"].tolist() for place in (0, 1, 3)] == [
        expected(b"a"),
        expected(b"b"),
        expected(b"c"),
    ]
    assert bench.backbone.decoded == {b"a": 1, b"b": 1, b"c": 1}
    assert sum(bench.backbone.batches) == 3
    assert all(lane is Lane.TRAIN for lane, _ in bench.seen.batches)


@pytest.mark.parametrize("with_store", [False, True])
def test_features_of_a_tenant_can_be_its_own(tmp_path: Path, with_store: bool) -> None:
    store = FeatureStore(tmp_path / "features", 1 << 22) if with_store else None
    cache_bytes = 0 if with_store else 1 << 20
    bench = Bench(cache_key=tenant_key, cache_predictions=True, store=store, cache_bytes=cache_bytes)

    def runs(*contents: bytes) -> int:
        before = sum(bench.backbone.batches)
        found = dict(bench.extract(contents))
        assert [row.views["last"].tolist() for row in found.values()] == list(map(expected, contents))
        return sum(bench.backbone.batches) - before

    for tenant in ("red", "blue", ""):
        with working_for(tenant):
            assert runs(b"a", b"b") == 2
            # Its own are found again, by training and by Predict.
            assert runs(b"a", b"b") == 0
            (future,) = bench.embedder.predict([b"a"])
            bench.pump()
            assert (values(future), future.result().batch_rows) == (expected(b"a"), 1)
            assert future.result().ran == 0.0
    # Without a tenant, nothing is found and nothing kept.
    assert (runs(b"a"), runs(b"a")) == (1, 1)
    # An example that is deleted goes for all.
    bench.cache.remove([content_digest(b"a")])
    for tenant in ("red", "blue"):
        with working_for(tenant):
            assert runs(b"a", b"b") == 1
    bench.cache.close()


def test_what_was_seen_before_is_neither_read_nor_run_again() -> None:
    bench = Bench()
    first = dict(bench.extract([b"a", b"b"]))
    runs = list(bench.backbone.batches)

    def read(place: int) -> Content:
        raise AssertionError(f"read {place}")

    digests = [content_digest(content) for content in (b"b", b"a")]
    second = dict(extract(bench.embedder, digests, read, window=2))
    assert second[0].views is first[1].views
    assert second[1].views is first[0].views
    assert (second[0].queued, second[0].ran, second[0].decoded) == (0.0, 0.0, 0.0)
    assert bench.backbone.batches == runs


def test_after_a_restart_only_what_is_new_is_read_and_run(tmp_path: Path) -> None:
    for contents, new in (([b"a", b"b", b"c"], 3), ([b"d", b"c", b"a", b"e", b"b"], 2)):
        store = FeatureStore(tmp_path / "features.sqlite3", 1 << 20)
        bench = Bench(store=store)
        found = dict(bench.extract(contents, window=5))
        assert [found[place].views["last"].tolist() for place in range(len(contents))] == [
            expected(content) for content in contents
        ]
        assert sum(bench.backbone.batches) == new
        bench.cache.close()


def test_features_of_another_backbone_are_not_taken_for_this_ones() -> None:
    bench = Bench()
    bench.cache.put("another digest", content_digest(b"a"), {"last": np.zeros(12, np.float32)})
    ((_, found),) = bench.extract([b"a"])
    assert found.views["last"].tolist() == expected(b"a")


@pytest.mark.parametrize("window", [1, 2, 5])
def test_no_more_items_are_under_way_than_the_window(window: int) -> None:
    bench = Bench()
    contents = [f"{place}".encode() for place in range(12)]
    read, yielded, most = 0, 0, 0

    def counted(place: int) -> Content:
        nonlocal read, most
        read += 1
        most = max(most, read - yielded)
        return contents[place]

    digests = [content_digest(content) for content in contents]
    for place, _ in extract(bench.embedder, digests, counted, window=window, checkpoint=bench.pump):
        assert place == yielded
        yielded += 1
    assert yielded == read == 12
    assert most == window


def test_an_item_that_cannot_be_decoded_is_reported_in_its_place_and_the_others_go_on() -> None:
    bench = Bench()
    found = dict(bench.extract([b"a", b"broken", b"c"]))
    assert list(found) == [0, 1, 2]
    assert isinstance(found[1], UndecodableInput)
    assert found[2].views["last"].tolist() == expected(b"c")


def test_an_item_that_cannot_be_read_is_reported_too() -> None:
    bench = Bench()

    def read(place: int) -> Content:
        raise ArtifactDamaged("gone")

    ((place, found),) = extract(bench.embedder, ["x"], read, window=1, checkpoint=bench.pump)
    assert place == 0
    assert isinstance(found, ArtifactDamaged)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), TimeoutError("no answer")])
def test_a_fault_of_the_runtime_ends_it(error: Exception) -> None:
    bench = Bench()
    looks = 0

    def fail(rows: object) -> None:
        raise error

    def checkpoint() -> None:
        nonlocal looks
        looks += 1
        assert looks < 20, "it waits for what has failed"
        bench.pump()

    bench.backbone.before_run = fail
    with pytest.raises(type(error)):
        list(extract(bench.embedder, ["x"], lambda _: b"a", window=1, checkpoint=checkpoint))


def test_a_server_that_stops_ends_it() -> None:
    bench = Bench()
    bench.embedder.close()
    with pytest.raises(Draining):
        list(bench.extract([b"a", b"b"]))


class StopError(Exception):
    pass


@pytest.mark.parametrize(("least", "window", "expected"), [(0, 3, 3), (5, 3, 5), (2, 3, 3)])
def test_a_device_gets_as_many_inputs_at_once_as_fill_it(least: int, window: int, expected: int) -> None:
    bench = Bench(least_window=least)
    waiting: list[int] = []

    def checkpoint() -> None:
        waiting.append(bench.embedder.waiting(Lane.TRAIN))
        bench.pump()

    digests = [str(place) for place in range(8)]
    assert (
        len(list(extract(bench.embedder, digests, lambda _: b"x", window=window, checkpoint=checkpoint))) == 8
    )
    assert waiting[0] == expected


def test_a_checkpoint_that_raises_stops_it_and_takes_its_rows_out_of_the_queue() -> None:
    bench = Bench()

    def stop() -> None:
        raise StopError

    digests = [str(place) for place in range(10)]
    found = extract(bench.embedder, digests, lambda place: b"%d" % place, window=4, checkpoint=stop)
    with pytest.raises(StopError):
        next(found)
    assert len(bench.queue) == 4
    bench.pump()
    assert sum(rows for _, rows, cause in bench.seen.dropped if cause == "abandoned") == 4
    assert bench.backbone.batches == []


def test_leaving_it_half_way_takes_its_rows_out_of_the_queue() -> None:
    bench = Bench()
    pumped = False

    def pump_once() -> None:
        nonlocal pumped
        if not pumped:
            bench.pump()
        pumped = True

    found = extract(
        bench.embedder,
        [str(place) for place in range(10)],
        lambda place: b"%d" % place,
        window=4,
        checkpoint=pump_once,
    )
    next(found)
    next(found)
    assert len(bench.queue) == 1
    found.close()
    bench.pump()
    assert bench.seen.dropped == [(Lane.TRAIN, 1, "abandoned")]
    assert sum(bench.backbone.batches) == 4


def test_a_predict_that_comes_later_is_decoded_before_training() -> None:
    bench = Bench()
    came: list[Future[RowFeatures]] = []

    def checkpoint() -> None:
        if not came:
            came.extend(bench.embedder.predict([b"requested"]))
        bench.pump()

    dict(
        extract(
            bench.embedder, ["a", "b"], lambda place: [b"a", b"b"][place], window=2, checkpoint=checkpoint
        )
    )
    assert next(iter(bench.backbone.decoded)) == b"requested"
    assert next(lane for lane, _ in bench.seen.batches) is Lane.PREDICT


@pytest.mark.parametrize("cache_predictions", [False, True])
def test_what_was_answered_leaves_nothing_to_the_garbage_collector(cache_predictions: bool) -> None:
    bench = Bench(cache_predictions=cache_predictions)
    decode, alive = bench.backbone.decode, []

    def watched(content: Content) -> object:
        row = decode(content)
        alive.append(weakref.ref(row))
        return row

    bench.backbone.decode = watched
    gc.collect()
    gc.disable()
    try:
        bench.embedder.predict([b"a", b"b"])
        bench.pump()
        dict(bench.extract([b"c", b"d", b"e"]))
        assert [row() is None for row in alive] == [True] * 5
    finally:
        gc.enable()


def test_it_reports_the_facts_of_its_backbone_and_what_waits() -> None:
    bench = Bench()
    bench.embedder.predict([b"a", b"b"])
    assert bench.embedder.info is bench.backbone.info
    assert bench.embedder.digest == bench.backbone.digest
    assert (bench.embedder.waiting(Lane.PREDICT), bench.embedder.waiting(Lane.TRAIN)) == (2, 0)


# Texts


class OneLook(FakeBackbone):
    """A backbone of texts that counts the inputs it looks at for their truncation only."""

    def __init__(self) -> None:
        super().__init__(modality=Modality.TEXT)
        self.looked: list[Content] = []

    def truncation(self, content: Content) -> Truncation | None:
        self.looked.append(content)
        return super().truncation(content)


LONG = "x" * 30


def test_the_truncation_of_a_text_comes_with_its_row() -> None:
    backbone = OneLook()
    bench = Bench(backbone=backbone)
    futures = bench.embedder.predict([LONG, "short"])
    bench.pump()
    assert [future.result(0).truncation for future in futures] == [Truncation(kept=20, length=30), None]
    ((_, trained),) = bench.extract([LONG])
    assert isinstance(trained, RowFeatures)
    assert (trained.truncation, trained.from_cache) == (Truncation(kept=20, length=30), False)
    assert backbone.looked == []


def test_the_truncation_of_a_cached_text_is_known_to_predict_only() -> None:
    backbone = OneLook()
    bench = Bench(backbone=backbone, cache_predictions=True)
    list(bench.extract([LONG]))
    (future,) = bench.embedder.predict([LONG])
    bench.pump()
    assert future.result(0).truncation == Truncation(kept=20, length=30)
    assert backbone.looked == [LONG]
    ((_, again),) = bench.extract([LONG])
    assert isinstance(again, RowFeatures)
    assert (again.truncation, again.from_cache) == (None, True)
