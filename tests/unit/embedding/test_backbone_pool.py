"""Loading backbones: once, on demand, and again after a failure."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from fakes import PATIENCE, FakeBackbone, FakeSource, ManualClock, Recorder
from headstart_server.embedding.backbone_pool import (
    FAILED_RETRY_SECONDS,
    IDLE_SECONDS,
    MAX_UNLISTED,
    BackbonePool,
)
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, LaneQueue
from headstart_server.errors import BackboneNotFound, BackboneUnavailable, Draining, Loading


def make_embedder(backbone: FakeBackbone) -> Embedder:
    batcher = Batcher(backbone.run, LaneQueue(BatchSizes(2, 1)), Recorder())
    return Embedder(backbone, batcher, FeatureCache(0), max_pending=2)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(FakeBackbone("small"), FakeBackbone("large"))


@pytest.fixture
def pool(source: FakeSource) -> BackbonePool:
    return BackbonePool(source, make_embedder, "small")


def blocked(source: FakeSource) -> tuple[threading.Event, threading.Event]:
    """Make loads wait; gives the event that one has begun and the event that lets it go on."""
    begun, may_end = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        begun.set()
        assert may_end.wait(PATIENCE)

    source.before_load = wait
    return begun, may_end


def wait_until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return results


def test_a_backbone_is_loading_when_first_requested_and_ready_then(
    pool: BackbonePool, source: FakeSource
) -> None:
    begun, may_end = blocked(source)
    with pytest.raises(Loading) as caught:
        pool.get("large")
    assert caught.value.retry_after == 2.0
    assert begun.wait(PATIENCE)
    for _ in range(3):
        with pytest.raises(Loading):
            pool.get("large")
    assert pool.loaded("large") is None
    may_end.set()
    loaded = pool.load("large")
    assert pool.get("large") is loaded is pool.loaded("large")
    assert source.loads == ["large"]


def test_an_empty_name_means_the_default(pool: BackbonePool) -> None:
    loaded = pool.load("")
    assert loaded.info.name == "small"
    assert pool.get("") is pool.get("small") is pool.loaded("") is loaded
    assert pool.metadata("").name == "small"


def test_an_unknown_name_is_reported_with_those_there_are(pool: BackbonePool, source: FakeSource) -> None:
    for ask in (pool.get, pool.load, pool.request):
        with pytest.raises(BackboneNotFound) as caught:
            ask("huge")
        assert caught.value.message == "There is no backbone 'huge'. Expected one of: large, small."
    assert source.loads == []


def test_an_unknown_default_is_reported_at_once(source: FakeSource) -> None:
    with pytest.raises(BackboneNotFound):
        BackbonePool(source, make_embedder, "huge")


def test_many_who_load_at_once_load_once(pool: BackbonePool, source: FakeSource) -> None:
    ready = threading.Barrier(6)

    def load() -> Embedder:
        ready.wait(PATIENCE)
        return pool.load("large")

    assert len(set(map(id, at_once(6, load)))) == 1
    assert source.loads == ["large"]


def test_two_backbones_load_at_the_same_time(pool: BackbonePool, source: FakeSource) -> None:
    both = threading.Barrier(2)
    source.before_load = lambda name: both.wait(PATIENCE) and None
    names = iter(["small", "large"])
    assert {loaded.info.name for loaded in at_once(2, lambda: pool.load(next(names)))} == {
        "small",
        "large",
    }


def test_a_load_that_failed_is_tried_again(pool: BackbonePool, source: FakeSource) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("no memory")

    source.before_load = fail
    with pytest.raises(RuntimeError, match="no memory"):
        pool.load("large")
    assert pool.loaded("large") is None
    source.before_load = lambda name: None
    assert pool.load("large").info.name == "large"
    assert source.loads == ["large", "large"]


def test_a_load_that_failed_in_the_background_is_tried_again(pool: BackbonePool, source: FakeSource) -> None:
    failing = threading.Event()

    def fail(name: str) -> None:
        source.before_load = lambda name: None
        failing.set()
        raise RuntimeError("no memory")

    source.before_load = fail
    with pytest.raises(Loading):
        pool.get("large")
    assert failing.wait(PATIENCE)
    assert pool.load("large") is pool.get("large")


def test_infos_are_known_without_loading(pool: BackbonePool, source: FakeSource) -> None:
    assert [info.name for info in pool.all_metadata()] == ["large", "small"]
    assert source.loads == []
    assert pool.all_loaded() == []


def test_closing_stops_every_loaded_embedder(pool: BackbonePool) -> None:
    loaded = [pool.load("small"), pool.load("large")]
    assert pool.all_loaded() == loaded
    pool.close()
    for embedder in loaded:
        (future,) = embedder.predict([b"a"])
        assert isinstance(future.exception(0), Draining)


def test_a_load_that_failed_in_the_background_is_reported_to_who_comes_again_until_it_is_tried_again(
    source: FakeSource,
) -> None:
    now = [0.0]
    pool = BackbonePool(source, make_embedder, "small", clock=lambda: now[0])
    failed = threading.Event()

    def fail(name: str) -> None:
        failed.set()
        raise RuntimeError("no memory")

    source.before_load = fail
    with pytest.raises(Loading):
        pool.get("large")
    assert failed.wait(PATIENCE)
    wait_until(lambda: pool.problem("large") == "RuntimeError: no memory")
    now[0] = FAILED_RETRY_SECONDS - 1
    with pytest.raises(BackboneUnavailable, match="no memory"):
        pool.get("large")
    assert source.loads == ["large"]
    source.before_load = lambda name: None
    now[0] = FAILED_RETRY_SECONDS + 1

    def came() -> Embedder | None:
        with suppress(Loading):
            pool.get("large")
        return pool.loaded("large")

    wait_until(came)
    assert pool.problem("large") == ""
    pool.close()


def test_of_a_backbone_that_is_not_prepared_yet_the_facts_are_loading(source: FakeSource) -> None:
    pool = BackbonePool(source, make_embedder, "small")
    source.unprepared = {"large"}
    with pytest.raises(Loading):
        pool.prepared_metadata("large")
    wait_until(lambda: pool.loaded("large"))
    assert pool.prepared_metadata("large").views
    pool.close()


def test_requesting_a_backbone_that_is_not_prepared_yet_starts_its_preparation(source: FakeSource) -> None:
    pool = BackbonePool(source, make_embedder, "small")
    source.unprepared = {"large"}
    assert [info.is_prepared for info in pool.all_metadata()] == [False, True]
    assert not pool.request("large").is_prepared
    wait_until(lambda: pool.loaded("large"))
    assert pool.request("large").views
    pool.close()


def test_requesting_a_backbone_that_failed_waits_for_the_next_attempt(source: FakeSource) -> None:
    clock = ManualClock(0.0)
    pool = BackbonePool(source, make_embedder, "small", clock=clock)
    source.unprepared = {"large"}

    def fail(_: str) -> None:
        raise BackboneUnavailable("It is lost.")

    source.before_load = fail
    pool.request("large")
    wait_until(lambda: pool.problem("large"))
    with pytest.raises(BackboneUnavailable):
        pool.request("large")
    clock.advance(FAILED_RETRY_SECONDS)
    with pytest.raises(Loading):
        pool.request("large")
    pool.close()


def test_all_that_is_not_prepared_is_prepared_and_one_that_fails_hinders_no_other(source: FakeSource) -> None:
    pool = BackbonePool(source, make_embedder, "small")
    source.unprepared = {"small", "large"}
    source.before_prepare = lambda name: 1 / 0 if name == "large" else None
    pool.prepare_all()
    assert [info.is_prepared for info in pool.all_metadata()] == [False, True]
    assert pool.problem("large") == "ZeroDivisionError: division by zero"
    assert pool.problem("small") == ""


def test_members_of_a_family_are_loaded_without_being_listed_up_to_a_bound(source: FakeSource) -> None:
    pool = BackbonePool(source, make_embedder, "small")
    listed = pool.all_metadata()
    members = [FakeBackbone(f"size:{place}") for place in range(MAX_UNLISTED + 1)]
    source.backbones |= {member.info.name: member for member in members}
    # What a source lists is read once, or again; a family's members never are.
    source.list = lambda: listed  # type: ignore[method-assign]
    for member in members[:-1]:
        assert pool.load(member.info.name).info is member.info
    with pytest.raises(BackboneNotFound, match=rf"{MAX_UNLISTED} unlisted backbones.*'size:{MAX_UNLISTED}'"):
        pool.load(members[-1].info.name)
    # Those in use stay so, and so do those that are listed.
    assert pool.load("size:0").info is members[0].info
    assert pool.load("large").info.name == "large"
    pool.close()


class StoppedError(Exception):
    """The caller must stop."""


def test_a_caller_may_stop_while_its_backbone_is_loaded_and_the_loading_continues(
    pool: BackbonePool, source: FakeSource
) -> None:
    begun, may_end = blocked(source)

    def stop() -> None:
        if begun.is_set():
            raise StoppedError

    for _ in range(3):
        with pytest.raises(StoppedError):
            pool.load("large", stop)
    assert pool.loaded("large") is None
    may_end.set()
    assert pool.load("large", lambda: None) is pool.load("large")
    assert source.loads == ["large"]
    pool.close()


def test_callers_with_a_checkpoint_get_the_error_of_a_loading_and_the_next_loading(
    pool: BackbonePool, source: FakeSource
) -> None:
    def fail(name: str) -> None:
        raise TimeoutError(name)

    source.before_load = fail
    with pytest.raises(TimeoutError, match="large"):
        pool.load("large", lambda: None)
    source.before_load = lambda name: None
    assert pool.load("large", lambda: None).info.name == "large"
    pool.close()


def test_a_loading_without_a_thread_fails_and_the_next_one_succeeds(
    pool: BackbonePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.load("large", lambda: None)
    assert pool.load("large", lambda: None).info.name == "large"
    pool.close()


def test_facts_are_reported_as_far_as_they_are_known_without_loading(
    pool: BackbonePool, source: FakeSource
) -> None:
    source.unprepared.add("large")
    assert pool.metadata("large").views == {}
    assert pool.metadata("").name == "small"
    with pytest.raises(BackboneNotFound):
        pool.metadata("huge")
    assert pool.loaded("large") is None
    assert source.loads == []


def test_a_loading_that_the_stop_of_the_server_ended_is_no_problem_of_the_backbone(
    pool: BackbonePool, source: FakeSource
) -> None:
    def stop(name: str) -> None:
        raise Draining("The server is stopping.")

    source.before_load = stop
    with pytest.raises(Draining):
        pool.load("large")
    assert pool.problem("large") == ""


def test_closing_ends_what_is_being_prepared(pool: BackbonePool, source: FakeSource) -> None:
    pool.close()
    assert source.is_closed


def test_a_backbone_of_a_family_makes_room_when_it_was_not_used_for_long() -> None:
    clock = ManualClock()
    members = [FakeBackbone(f"size:{place}") for place in range(MAX_UNLISTED + 2)]
    source = FakeSource(FakeBackbone("small"), *members)
    listed = source.list()[:1]
    source.list = lambda: listed  # type: ignore[method-assign]
    pool = BackbonePool(source, make_embedder, "small", clock=clock)
    for member in members[:MAX_UNLISTED]:
        pool.load(member.info.name)
    with pytest.raises(BackboneNotFound) as caught:
        pool.load(members[-2].info.name)
    assert caught.value.retry_after == IDLE_SECONDS
    # Others are not affected.
    assert "size:3" not in caught.value.message

    clock.advance(IDLE_SECONDS)
    for member in members[1:MAX_UNLISTED]:
        assert pool.get(member.info.name)
    first = pool.loaded("size:0")
    assert first is not None
    pool.load(members[-2].info.name)
    assert pool.loaded("size:0") is None
    (future,) = first.predict([b"a"])
    with pytest.raises(Draining):
        future.result(PATIENCE)
    with pytest.raises(BackboneNotFound):
        pool.load(members[-1].info.name)
