"""Calls that wait for a backbone: to its loading, its failure or the stop of the server, within a bound."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from fakes import PATIENCE, FakeBackbone, FakeSource, Recorder
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, LaneQueue
from headstart_server.embedding.waiters import Waiters
from headstart_server.errors import BackboneUnavailable, Draining, Loading

MOST = 1000


def make_embedder(backbone: FakeBackbone) -> Embedder:
    batcher = Batcher(backbone.run, LaneQueue(BatchSizes(2, 1)), Recorder())
    return Embedder(backbone, batcher, FeatureCache(0), max_pending=2)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(FakeBackbone("small"), FakeBackbone("large"))


@pytest.fixture
def pool(source: FakeSource) -> Iterator[BackbonePool]:
    pool = BackbonePool(source, make_embedder, "small", waiters=Waiters(MOST, 1 << 20))
    yield pool
    pool.close()


def ready(pool: BackbonePool, name: str = "large", nbytes: int = 1) -> "asyncio.Task[Embedder]":
    return asyncio.create_task(pool.ready(partial(pool.get, name), lambda: nbytes))


class Gate:
    """Holds up the loads of a source."""

    def __init__(self, source: FakeSource) -> None:
        self.begun, self._may_end = threading.Event(), threading.Event()
        self.error: Exception | None = None
        source.before_load = self._wait

    def _wait(self, name: str) -> None:
        self.begun.set()
        assert self._may_end.wait(PATIENCE)
        if self.error is not None:
            raise self.error

    def open(self, error: Exception | None = None) -> None:
        self.error = error
        self._may_end.set()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_thousand_calls_wait_without_a_thread_each(pool: BackbonePool, source: FakeSource) -> None:
    gate = Gate(source)
    before = threading.active_count()
    tasks = [ready(pool) for _ in range(MOST)]
    await turns()
    assert not any(task.done() for task in tasks)
    assert threading.active_count() <= before + 1
    gate.open()
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*tasks)
    assert {id(each) for each in found} == {id(pool.loaded("large"))}
    assert source.loads == ["large"]


async def test_a_load_that_fails_fails_every_call(pool: BackbonePool, source: FakeSource) -> None:
    gate = Gate(source)
    tasks = [ready(pool) for _ in range(10)]
    await turns()
    gate.open(RuntimeError("no memory"))
    async with asyncio.timeout(PATIENCE):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [BackboneUnavailable] * 10
    assert "no memory" in str(ended[0])
    assert source.loads == ["large"]


async def test_a_stop_ends_every_wait_at_once(pool: BackbonePool, source: FakeSource) -> None:
    gate = Gate(source)
    tasks = [ready(pool) for _ in range(10)]
    await turns()
    pool.stop_loading()
    async with asyncio.timeout(PATIENCE):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [Draining] * 10
    with pytest.raises(Draining):
        await ready(pool)
    gate.open()


async def test_more_calls_than_may_are_refused_until_one_leaves(
    pool: BackbonePool, source: FakeSource
) -> None:
    gate = Gate(source)
    source.seconds_left = 7.0
    tasks = [ready(pool) for _ in range(MOST)]
    await turns()
    with pytest.raises(Loading) as caught:
        await ready(pool)
    assert caught.value.retry_after == 7.0
    assert caught.value.message == (
        "Backbone 'large' is being prepared, for about 7 more seconds. The maximum number of calls "
        "already waits for backbones. Try again in 7 seconds."
    )
    # Nothing was begun: a plain client may repeat any call.
    assert caught.value.metadata == {"backbone": "large", "begun": "false"}
    tasks[0].cancel()
    await turns()
    assert tasks[0].cancelled()
    late = ready(pool)
    await turns()
    assert not late.done()
    gate.open()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(late, *tasks[1:])


async def test_more_bytes_than_may_are_refused(pool: BackbonePool, source: FakeSource) -> None:
    gate = Gate(source)
    first = ready(pool, nbytes=1 << 20)
    await turns()
    with pytest.raises(Loading):
        await ready(pool, nbytes=1)
    gate.open()
    async with asyncio.timeout(PATIENCE):
        await first
    # What is loaded waits for nothing, and so holds no place.
    await ready(pool, nbytes=2 << 20)


async def test_calls_on_a_loaded_backbone_go_on_while_as_many_wait_as_may(
    pool: BackbonePool, source: FakeSource
) -> None:
    pool.load("small")
    gate = Gate(source)
    tasks = [ready(pool) for _ in range(MOST)]
    await turns()
    assert (await ready(pool, "small")) is pool.loaded("small")
    gate.open()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)


async def test_facts_that_a_preparation_finds_end_the_wait_for_them(
    pool: BackbonePool, source: FakeSource
) -> None:
    source.unprepared = {"large"}
    gate = Gate(source)
    task = asyncio.create_task(pool.ready(partial(pool.prepared_metadata, "large"), lambda: 0))
    await turns()
    assert not task.done()
    gate.open()
    async with asyncio.timeout(PATIENCE):
        assert (await task).views


async def test_of_two_backbones_both_are_waited_for(pool: BackbonePool, source: FakeSource) -> None:
    def look() -> tuple[Embedder, Embedder]:
        return pool.get("small"), pool.get("large")

    async with asyncio.timeout(PATIENCE):
        small, large = await pool.ready(look, lambda: 0)
    assert (small.info.name, large.info.name) == ("small", "large")


async def test_no_end_of_a_loading_is_missed(source: FakeSource) -> None:
    """Loads that end at any moment of the look, by calls, jobs and preparations."""
    for place in range(300):
        source.unprepared = {"large"}
        pool = BackbonePool(source, make_embedder, "small")
        others = [
            threading.Thread(target=pool.prepare_all if place % 2 else partial(pool.load, "large"))
            for _ in range(2)
        ]
        for other in others:
            other.start()
        async with asyncio.timeout(PATIENCE):
            tasks = [
                ready(pool),
                asyncio.create_task(pool.ready(partial(pool.prepared_metadata, "large"), None)),
            ]
            await asyncio.gather(*tasks)
        for other in others:
            other.join()
        pool.close()
