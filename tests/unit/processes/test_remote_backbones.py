"""A serving process and the engine, in one process: what the engine computes comes back unchanged."""

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from fakes import FakeBackbone, FakeSource, Recorder, make_tail
from headstart_server.backbones.contract.tail import TailMismatch
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue
from headstart_server.errors import (
    BackboneNotFound,
    BackboneUnavailable,
    DatabaseUnavailable,
    DataUnavailable,
    Draining,
    HeadstartError,
    Loading,
    LocalStorageUnavailable,
    StorageFull,
    WrittenByNewerRelease,
)
from headstart_server.processes.channel import Channel
from headstart_server.processes.engine_client import EngineClient, RemoteFeatureStore
from headstart_server.processes.engine_service import EngineHooks, EngineService
from headstart_server.processes.remote_backbones import EngineBackbones, RemoteBackbone
from headstart_server.processes.shared_memory import OutputPlan
from server_process import eventually


class Engine:
    """An engine on a fake backbone, and the requests that it received."""

    def __init__(self, backbone: FakeBackbone | None = None) -> None:
        self.backbone = backbone or FakeBackbone()
        self.source = FakeSource(self.backbone)
        self.observer = Recorder()
        self.cache = FeatureCache(1 << 20)
        self.pool = BackbonePool(self.source, self._embedder, "fake")
        self.calls: list[Any] = []
        hooks = EngineHooks(
            wake=lambda: self.calls.append("wake"),
            cancel=self.calls.append,
            drop=self.cache.remove,
            erase=lambda request: f"erased {request}",
        )
        self.service = EngineService(self.pool, self.cache, hooks)

    def connect(self, client: EngineClient) -> None:
        one, other = socket.socketpair()
        self.service.connect(one.detach())
        client.connect(other.detach())

    def close(self) -> None:
        self.service.close()
        self.pool.close()

    def _embedder(self, backbone: Any) -> Embedder:
        queue = LaneQueue(BatchSizes(8, 4))
        batcher = Batcher(backbone.run, queue, self.observer)
        batcher.start()
        return Embedder(backbone, batcher, self.cache, max_pending=4)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def client(engine: Engine) -> Iterator[EngineClient]:
    client = EngineClient()
    engine.connect(client)
    yield client
    client.close()


@pytest.fixture
def backbone(engine: Engine, client: EngineClient) -> RemoteBackbone:
    loaded = EngineBackbones(engine.source, client, processes=2).load("fake")
    assert isinstance(loaded, RemoteBackbone)
    return loaded


def rows_of(backbone: RemoteBackbone, *contents: bytes) -> Any:
    return np.stack([backbone.decode(content) for content in contents])


def test_features_are_bitwise_those_of_the_engine(engine: Engine, backbone: RemoteBackbone):
    rows = rows_of(backbone, b"a:1", b"b:2", b"c:3")
    assert np.array_equal(rows, np.stack([engine.backbone.decode(each) for each in (b"a:1", b"b:2", b"c:3")]))
    for cuts in ((), ("cut1",), ("cut1", "cut2")):
        views, expected = backbone.run(rows, cuts), engine.backbone.run(rows, cuts)
        assert views.keys() == expected.keys()
        assert all(np.array_equal(views[name], expected[name]) for name in views)
        assert all(view.dtype == np.float32 for view in views.values())


def test_the_lane_of_the_engine_is_that_of_the_batch(engine: Engine, backbone: RemoteBackbone):
    rows = rows_of(backbone, b"a:1")
    backbone.run(rows)
    backbone.run_training(rows)
    assert [lane for lane, _ in engine.observer.batches] == [Lane.PREDICT, Lane.TRAIN]


def test_rows_of_several_threads_share_batches_and_keep_their_order(engine: Engine, backbone: RemoteBackbone):
    begun, held = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        begun.set()
        held.wait(60)

    engine.backbone.before_run = wait
    results: dict[int, Any] = {}

    def run(number: int) -> None:
        results[number] = backbone.run(rows_of(backbone, b"x:%d" % number))["last"]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(9)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    embedder = engine.pool.load("fake")
    eventually(lambda: embedder.waiting(Lane.PREDICT) == 8, 60, "eight rows that wait")
    held.set()
    for thread in threads:
        thread.join()
    assert max(rows for _, rows in engine.observer.batches) == 8
    for number, view in results.items():
        assert np.array_equal(view, rows_of(backbone, b"x:%d" % number))


def test_an_error_of_the_engine_reaches_its_batch_only(engine: Engine, backbone: RemoteBackbone):
    def fail(_: Any) -> None:
        raise RuntimeError("The device is lost.")

    engine.backbone.before_run = fail
    with pytest.raises(RuntimeError, match="The device is lost"):
        backbone.run(rows_of(backbone, b"a:1"))
    engine.backbone.before_run = lambda rows: None
    assert len(backbone.run(rows_of(backbone, b"a:1"))["last"]) == 1


def test_tails_run_and_train_in_the_engine(engine: Engine, backbone: RemoteBackbone):
    tail = backbone.tail(make_tail(bias=2.0))
    activations = backbone.run(rows_of(backbone, *(b"a:%d" % place for place in range(19))), ("cut1",))[
        "cut1"
    ]
    assert np.array_equal(tail.run(activations), engine.backbone.tail(make_tail(bias=2.0)).run(activations))
    assert engine.backbone.tails_made == 2


def test_a_tail_is_dropped_with_its_last_user(engine: Engine, backbone: RemoteBackbone):
    tail = backbone.tail(make_tail())
    (served,) = engine.service._clients
    assert len(served._tails) == 1
    del tail
    eventually(lambda: not served._tails, 60, "no tails")


def test_an_unknown_backbone_is_the_same_error(engine: Engine, client: EngineClient):
    with pytest.raises(BackboneNotFound):
        EngineBackbones(engine.source, client, processes=1).load("other")


@pytest.mark.parametrize(
    "error",
    [
        StorageFull(),
        WrittenByNewerRelease("The row", {"model": "pets"}),
        DataUnavailable("https://example.org"),
        DatabaseUnavailable("gone", is_busy=True),
        LocalStorageUnavailable("The disk failed.", metadata={"errno": "EIO"}),
    ],
)
def test_an_error_of_a_request_keeps_its_type_and_later_requests_are_answered(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch, error: HeadstartError
):
    def fail(_: str) -> NoReturn:
        raise error

    source = EngineBackbones(engine.source, client, processes=1)
    with monkeypatch.context() as patched:
        patched.setattr(engine.source, "load", fail)
        caught = in_time(lambda: source.load("fake"))
    assert type(caught) is type(error)
    assert vars(caught) == vars(error)
    assert isinstance(in_time(lambda: client.current().call("cached", "key", ["digest"])), dict)


def test_a_failing_note_does_not_end_the_connection(engine: Engine, client: EngineClient):
    client.note("drop", 5)
    assert isinstance(in_time(lambda: client.current().call("cached", "key", ["digest"])), dict)


def test_a_request_without_a_thread_is_an_error_of_its_caller_only(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    source, start = EngineBackbones(engine.source, client, processes=1), threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "engine-load":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert "can't start new thread" in str(in_time(lambda: source.load("fake")))
    assert isinstance(in_time(lambda: client.current().call("cached", "key", ["digest"])), dict)
    assert isinstance(in_time(lambda: source.load("fake")), RemoteBackbone)


@pytest.mark.parametrize("method", ["_load", "_cached"])
def test_an_answer_that_cannot_be_sent_is_an_error_of_its_caller_only(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch, method: str
):
    (served,) = engine.service._clients
    with monkeypatch.context() as patched:
        patched.setattr(served, method, lambda *_: threading.Lock())
        assert "cannot pickle" in str(in_time(lambda: client.current().call(method[1:], "fake", [])))
    assert isinstance(in_time(lambda: client.current().call("cached", "key", ["digest"])), dict)


def test_features_that_do_not_fit_are_an_error_of_their_batch(
    engine: Engine, backbone: RemoteBackbone, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> NoReturn:
        raise ValueError("could not broadcast")

    rows = rows_of(backbone, b"a:1")
    with monkeypatch.context() as patched:
        patched.setattr(OutputPlan, "write_row", fail)
        assert "could not broadcast" in str(in_time(lambda: backbone.run(rows)))
    assert in_time(lambda: len(backbone.run(rows)["last"])) == 1


def test_an_answer_that_cannot_be_received_ends_the_waiting_calls(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    begun, may_end, failures = threading.Event(), threading.Event(), []

    def load(_: str) -> None:
        begun.set()
        may_end.wait(60)

    engine.source.before_load = load
    client.on_failure = lambda: failures.append("failed")
    connection = client.current()
    fail_after_receiving(monkeypatch, connection.channel)
    results: list[object] = []
    loading = threading.Thread(
        target=lambda: results.append(in_time(lambda: connection.call("load", "fake")))
    )
    loading.start()
    assert begun.wait(60)
    # This answer is the last one that the thread receives without an error.
    assert isinstance(in_time(lambda: connection.call("cached", "key", [])), dict | Loading)
    assert isinstance(in_time(lambda: connection.call("cached", "key", [])), Loading)
    loading.join(60)
    assert isinstance(results[0], Loading)
    assert failures == ["failed"]
    assert client.connection is None
    may_end.set()


def test_a_request_that_cannot_be_received_ends_the_waiting_calls(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    failures: list[str] = []
    client.on_failure = lambda: failures.append("failed")
    (served,) = engine.service._clients
    fail_after_receiving(monkeypatch, served.channel)
    connection = client.current()
    # The thread may wait for the first request in the original method.
    answers = [in_time(lambda: connection.call("cached", "key", [])) for _ in range(2)]
    assert isinstance(answers[-1], Loading)
    eventually(lambda: failures == ["failed"], 60, "a report of the failure")
    eventually(lambda: not engine.service._clients, 60, "the end of the connection")


def fail_after_receiving(monkeypatch: pytest.MonkeyPatch, failing: Channel) -> None:
    """Let one channel fail with what it has received."""
    receive = Channel.receive

    def fail(channel: Channel) -> Any:
        received = receive(channel)
        if channel is failing:
            raise MemoryError
        return received

    monkeypatch.setattr(Channel, "receive", fail)


def in_time(call: Callable[[], object]) -> object:
    """Return the result of a call or its error; fail if neither comes."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - returned
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert results, "The engine does not answer."
    return results[0]


def test_features_of_callers_need_no_engine(engine: Engine):
    source = EngineBackbones(engine.source, EngineClient(), processes=1)
    engine.source.backbones["features:3"] = FakeBackbone("features:3")
    assert source.load("features:3") is engine.source.backbones["features:3"]


def embedder_of(backbone: Any) -> Embedder:
    return Embedder(
        backbone,
        Batcher(backbone.run, LaneQueue(BatchSizes(8, 4)), Recorder()),
        FeatureCache(0),
        max_pending=4,
    )


async def test_calls_wait_for_the_next_engine_which_loads_their_backbone(engine: Engine):
    client = EngineClient()
    pool = BackbonePool(EngineBackbones(engine.source, client, processes=1), embedder_of, "fake")
    waiting = asyncio.create_task(pool.ready(partial(pool.get, "fake"), lambda: 1))
    # The loading ends soon if it does not wait for an engine.
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    assert pool.problem("fake") == ""
    with pytest.raises(Loading) as caught:
        pool.get("fake")
    assert caught.value.retry_after
    engine.connect(client)
    async with asyncio.timeout(60):
        assert (await waiting).info == engine.backbone.info
    assert engine.source.loads == ["fake"]
    pool.close()
    client.close()


async def test_a_loading_continues_in_the_engine_that_replaces_one_that_ended(engine: Engine):
    begun, may_end = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        begun.set()
        may_end.wait(60)

    engine.source.before_load = wait
    client, successor = EngineClient(), Engine()
    engine.connect(client)
    pool = BackbonePool(EngineBackbones(engine.source, client, processes=1), embedder_of, "fake")
    waiting = asyncio.create_task(pool.ready(partial(pool.get, "fake"), lambda: 1))
    assert await asyncio.to_thread(begun.wait, 60)
    engine.service.close()
    await asyncio.to_thread(eventually, lambda: client.connection is None, 60, "the end of the engine")
    successor.connect(client)
    async with asyncio.timeout(60):
        assert (await waiting).info == engine.backbone.info
    assert pool.problem("fake") == ""
    assert successor.source.loads == ["fake"]
    may_end.set()
    pool.close()
    client.close()
    successor.close()


async def test_a_backbone_that_ends_each_engine_is_given_up(engine: Engine):
    client, engines = EngineClient(), [engine, Engine(), Engine()]
    pool = BackbonePool(EngineBackbones(engine.source, client, processes=1), embedder_of, "fake")
    for one in engines:
        one.source.before_load = lambda _, service=one.service: service.close()  # type: ignore[misc]
    engine.connect(client)
    waiting = asyncio.create_task(pool.ready(partial(pool.get, "fake"), lambda: 1))
    for one in engines[1:]:
        await asyncio.to_thread(eventually, lambda: client.connection is None, 60, "the end of the engine")
        one.connect(client)
    async with asyncio.timeout(60):
        with pytest.raises(BackboneUnavailable, match="ended 2 times while it handled 'load'"):
            await waiting
    assert pool.problem("fake")
    assert [one.source.loads for one in engines] == [["fake"], ["fake"], []]
    pool.close()
    client.close()
    for one in engines[1:]:
        one.close()


def test_the_stop_of_the_server_ends_the_wait_for_an_engine(engine: Engine):
    engine.source.unprepared = {"fake"}
    pool = BackbonePool(EngineBackbones(engine.source, EngineClient(), processes=1), embedder_of, "fake")
    preparing = threading.Thread(target=pool.prepare_all, daemon=True)
    preparing.start()
    stopping = threading.Timer(0.05, pool.stop_loading)
    stopping.start()
    assert isinstance(in_time(lambda: pool.load("fake")), Draining)
    preparing.join(60)
    assert not preparing.is_alive()
    assert pool.problem("fake") == ""


def test_after_a_restart_of_the_engine_the_backbone_is_loaded_there_again(
    engine: Engine, client: EngineClient, backbone: RemoteBackbone
):
    rows = rows_of(backbone, b"a:1")
    before, tail = backbone.run(rows, ("cut1",)), backbone.tail(make_tail())
    answer = tail.run(before["cut1"])
    engine.close()
    eventually(lambda: client.connection is None, 60, "the end of the engine")
    with pytest.raises(Loading) as caught:
        backbone.run(rows)
    assert caught.value.retry_after == 1.0
    successor = Engine()
    successor.connect(client)
    assert np.array_equal(backbone.run(rows)["last"], before["last"])
    assert np.array_equal(tail.run(before["cut1"]), answer)
    assert successor.source.loads == ["fake"]
    successor.close()


def test_a_process_must_be_restarted_to_use_another_backbone_of_the_next_engine(
    engine: Engine, client: EngineClient, backbone: RemoteBackbone
):
    failures: list[str] = []
    client.on_failure = lambda: failures.append("failed")
    engine.close()
    eventually(lambda: client.connection is None, 60, "the end of the engine")
    successor = Engine(FakeBackbone(digest="c" * 64))
    successor.connect(client)
    assert failures == []
    with pytest.raises(Loading):
        backbone.run(rows_of(backbone, b"a:1"))
    assert failures == ["failed"]
    successor.close()


def test_the_feature_cache_is_the_engines(engine: Engine, client: EngineClient):
    store, vectors = RemoteFeatureStore(client), {"last": np.ones(3, np.float32)}
    store.put("key", "digest", vectors)
    eventually(lambda: engine.cache.get("key", "digest"), 60, "the features")
    assert np.array_equal(store.get_many("key", ["digest", "other"])["digest"]["last"], vectors["last"])
    store.remove(["digest"])
    eventually(lambda: not store.get_many("key", ["digest"]), 60, "no features")
    engine.close()
    eventually(lambda: client.connection is None, 60, "the end of the engine")
    assert store.get_many("key", ["digest"]) == {}
    store.put("key", "digest", vectors)


def test_jobs_and_changes_are_passed_on(engine: Engine, client: EngineClient):
    changes: list[float] = []
    client.on_change = lambda: changes.append(time.monotonic())
    client.note("wake")
    client.note("cancel", "job-1")
    engine.service.publish_change()
    eventually(lambda: engine.calls == ["wake", "job-1"], 60, "both calls")
    eventually(lambda: changes, 60, "a change")


def test_a_serving_process_that_does_not_read_delays_no_change(engine: Engine, client: EngineClient):
    stopped, other = socket.socketpair()
    changes: list[float] = []
    client.on_change = lambda: changes.append(time.monotonic())
    with stopped:
        engine.service.connect(other.detach())

        def publish() -> None:
            # More messages than a socket's buffer holds.
            for _ in range(100_000):
                engine.service.publish_change()

        publishing = threading.Thread(target=publish, daemon=True)
        publishing.start()
        publishing.join(60)
        assert not publishing.is_alive()
        eventually(lambda: changes, 60, "a change")


def test_memory_and_descriptors_go_with_a_client(engine: Engine):
    def maps() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:headstart-rows")

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def nothing_left() -> bool:
        gc.collect()
        return maps() == 0

    # Of the tests before.
    eventually(nothing_left, 60, "no memory of rows")
    before = maps(), files()
    for _ in range(3):
        client = EngineClient()
        engine.connect(client)
        backbone = EngineBackbones(engine.source, client, processes=1).load("fake")
        for rows in (1, 5, 2):
            backbone.run(rows_of(backbone, *[b"a:1"] * rows))
        assert maps() > before[0]
        client.close()
        del client, backbone
        gc.collect()
    eventually(nothing_left, 60, "no memory of rows")
    _ends_with(files, before[1] + 2)


def _ends_with(count: Callable[[], int], most: int) -> None:
    eventually(lambda: count() <= most, 10, f"at most {most}")


def test_the_pool_of_a_serving_process_uses_it_like_any_backbone(engine: Engine, client: EngineClient):
    def embedder(backbone: Any) -> Embedder:
        queue = LaneQueue(BatchSizes(backbone.batch, 4), streams=backbone.streams)
        batcher = Batcher(
            backbone.run, queue, Recorder(), train_run=backbone.run_training, threads=backbone.streams + 1
        )
        batcher.start()
        return Embedder(backbone, batcher, FeatureCache(0, RemoteFeatureStore(client)), max_pending=64)

    pool = BackbonePool(EngineBackbones(engine.source, client, processes=2), embedder, "fake")
    try:
        served = pool.load("fake")
        contents = [b"a:%d" % place for place in range(40)]
        futures = served.predict(contents)
        for content, future in zip(contents, futures, strict=True):
            assert np.array_equal(future.result(60).views["last"], engine.backbone.decoder.decode(content))
        found = dict(extract(served, list(map(str, range(5))), contents.__getitem__, window=4))
        assert len(found) == 5
        eventually(lambda: len(engine.cache) == 5, 60, "features in the engine's cache")
    finally:
        pool.close()


def test_a_mismatch_of_a_tail_keeps_its_type(engine: Engine, backbone: RemoteBackbone):
    with pytest.raises(TailMismatch):
        backbone.tail(make_tail(blocks=3))


def test_an_erasure_with_rebuild_runs_in_the_engine(client: EngineClient):
    assert client.current().call("erase", "request") == "erased request"
