"""The feature cache in memory and on disk, and the digest of a content."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.backbones.contract.backbone import Content
from headstart_server.embedding.cache import OVERHEAD, FeatureCache, Outcome, content_digest
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.feature_store import FeatureStore


def vectors(size: int, value: float = 0.0) -> Vectors:
    return {"last": np.full(size, value, np.float32)}


def test_what_was_put_is_found_on_its_backbone_only() -> None:
    cache = FeatureCache(10_000)
    kept = vectors(4)
    cache.put("one", "x", kept)
    assert cache.get("one", "x") is kept
    assert cache.get("other", "x") is None
    assert cache.get("one", "y") is None


KEYS = st.integers(0, 5)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["get", "put"]), KEYS, st.integers(0, 40)), max_size=60)


@given(OPERATIONS, st.integers(0, 4000))
@settings(deadline=None)
def test_it_keeps_what_was_used_last_within_its_bytes(
    operations: list[tuple[str, int, int]], max_bytes: int
) -> None:
    cache = FeatureCache(max_bytes)
    model: OrderedDict[str, int] = OrderedDict()
    for kind, number, size in operations:
        key = str(number)
        if kind == "get":
            found = cache.get("b", key)
            assert (found is not None) == (key in model)
            if found is not None:
                assert found["last"].size == model[key]
                model.move_to_end(key)
        else:
            cache.put("b", key, vectors(size))
            model.pop(key, None)
            if OVERHEAD + 4 * size <= max_bytes:
                model[key] = size
                while sum(OVERHEAD + 4 * kept for kept in model.values()) > max_bytes:
                    model.popitem(last=False)
        assert cache.nbytes == sum(OVERHEAD + 4 * kept for kept in model.values()) <= max_bytes
        assert len(cache) == len(model)


def test_with_no_bytes_it_keeps_nothing() -> None:
    cache = FeatureCache(0)
    cache.put("b", "x", {})
    assert cache.get("b", "x") is None
    assert (len(cache), cache.nbytes) == (0, 0)


def test_threads_at_once_leave_it_whole_and_within_its_bound() -> None:
    bound = 20 * (OVERHEAD + 40)
    cache = FeatureCache(bound)
    wrong: list[int] = []
    ready = threading.Barrier(4)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        ready.wait()
        for number in rng.integers(0, 40, 2000).tolist():
            found = cache.get("b", str(number))
            if found is None:
                cache.put("b", str(number), vectors(10, number))
            elif found["last"][0] != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [cache.get("b", str(number)) for number in range(40)]
    assert not wrong
    assert len(cache) == sum(one is not None for one in found) == 20
    assert cache.nbytes == bound


class TwoTiers:
    """A cache with a store in a folder, and the look-ups that it reports."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 20) -> None:
        self.path = folder / "features.sqlite3"
        self.max_bytes = max_bytes
        self.reported: Counter[str] = Counter()
        self.cache = self.open()

    def open(self) -> FeatureCache:
        self.cache = FeatureCache(self.max_bytes, FeatureStore(self.path, 32 << 20), self.tell)
        return self.cache

    def restart(self) -> FeatureCache:
        self.cache.close()
        return self.open()

    def tell(self, outcome: Outcome, count: int) -> None:
        self.reported[outcome.value] += count


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[TwoTiers]:
    tiers = TwoTiers(tmp_path)
    yield tiers
    tiers.cache.close()


def test_what_was_found_on_disk_is_in_memory_from_then_on(tiers: TwoTiers) -> None:
    tiers.cache.put("b", "x", vectors(4, 1.5))
    cache = tiers.restart()
    assert len(cache) == 0
    found = cache.get("b", "x")
    assert found is not None
    assert found["last"].tolist() == [1.5] * 4
    assert cache.get("b", "x") is found
    assert len(cache) == 1
    assert cache.get("b", "y") is None
    assert tiers.reported == {"disk": 1, "memory": 1, "miss": 1}
    assert cache.disk_nbytes > 0


def test_many_are_found_wherever_they_are(tiers: TwoTiers) -> None:
    for number in range(4):
        tiers.cache.put("b", str(number), vectors(4, number))
    cache = tiers.restart()
    cache.get("b", "1")
    cache.get("b", "2")
    tiers.reported.clear()
    found = cache.get_many("b", ["0", "1", "2", "3", "4"])
    assert {digest: views["last"][0] for digest, views in found.items()} == {"0": 0, "1": 1, "2": 2, "3": 3}
    assert tiers.reported == {"memory": 2, "disk": 2, "miss": 1}


def test_without_a_store_look_ups_are_reported_too() -> None:
    reported: Counter[Outcome] = Counter()
    cache = FeatureCache(10_000, looked_up=lambda outcome, count: reported.update({outcome: count}))
    cache.put("b", "x", vectors(4))
    cache.get_many("b", ["x", "y", "z"])
    assert reported == {Outcome.MEMORY: 1, Outcome.MISS: 2}
    assert cache.disk_nbytes == 0
    cache.close()


def test_what_memory_has_no_room_for_is_on_disk(tmp_path: Path) -> None:
    tiers = TwoTiers(tmp_path, max_bytes=0)
    for number in range(10):
        tiers.cache.put("b", str(number), vectors(4, number))
    assert len(tiers.cache) == 0
    assert len(tiers.cache.get_many("b", [str(number) for number in range(10)])) == 10
    tiers.cache.close()


def test_no_one_can_write_to_what_was_put_or_found(tiers: TwoTiers) -> None:
    rows = np.ones((2, 4), np.float32)
    mine = vectors(4)
    tiers.cache.put("b", "own", mine)
    tiers.cache.put("b", "part", {"last": rows[0]})
    rows[0] = 7
    for cache in (tiers.cache, tiers.restart()):
        found = cache.get_many("b", ["own", "part"])
        assert found["part"]["last"].tolist() == [1.0] * 4
        for views in (*found.values(), mine):
            with pytest.raises(ValueError, match="read-only"):
                views["last"][0] = 1


@pytest.mark.parametrize("backbone", ["b", None])
def test_what_is_removed_is_found_in_neither_tier(tiers: TwoTiers, backbone: str | None) -> None:
    for digest in ("x", "y"):
        for each in ("b", "c"):
            tiers.cache.put(each, digest, vectors(4))
    tiers.cache.remove(["x"], backbone)
    for cache in (tiers.cache, tiers.restart()):
        assert cache.get("b", "x") is None
        assert (cache.get("c", "x") is None) == (backbone is None)
        assert set(cache.get_many("b", ["x", "y"])) == {"y"}


class SlowStore(FeatureStore):
    """Lets the test in between the look at the disk and its answer."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        found = super().get_many(backbone, digests)
        self.meanwhile()
        return found


def test_what_is_removed_while_it_is_looked_up_does_not_come_back(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "features.sqlite3", 1 << 20)
    store.put("b", "x", vectors(4))
    cache = FeatureCache(10_000, store)
    store.meanwhile = lambda: cache.remove(["x"])
    cache.get("b", "x")
    store.meanwhile = lambda: None
    assert cache.get("b", "x") is None
    cache.close()


def test_what_is_put_while_it_is_looked_up_stays(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "features.sqlite3", 1 << 20)
    store.put("b", "x", vectors(4, 1))
    cache = FeatureCache(10_000, store)
    store.meanwhile = lambda: cache.put("b", "x", vectors(4, 2))
    cache.get("b", "x")
    found = cache.get("b", "x")
    assert found is not None
    assert found["last"][0] == 2
    cache.close()


def test_what_is_used_in_memory_stays_on_disk_too(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite3"
    cache = FeatureCache(1 << 30, FeatureStore(path, 1 << 20))
    for number in range(600):
        cache.put("b", str(number), vectors(500, number))
        if number % 50 == 0:
            assert cache.get("b", "0") is not None
            # The next rows are written by other transactions.
            cache.close()
            cache = FeatureCache(1 << 30, FeatureStore(path, 1 << 20))
    cache.close()
    cache = FeatureCache(0, FeatureStore(path, 1 << 20))
    assert cache.get("b", "0") is not None
    assert cache.get("b", "1") is None
    cache.close()


DTYPES = st.sampled_from(["<f4", ">f4", "<f8", "<i4", "|u1", "|b1", "<c8"])


@st.composite
def contents(draw: st.DrawFn) -> Content:
    kind = draw(st.sampled_from(["bytes", "text", "tensor", "disguised"]))
    if kind == "bytes":
        return draw(st.binary(max_size=12))
    if kind == "text":
        return draw(st.text(max_size=6))
    if kind == "disguised":
        # Bytes made to look like what another kind is digested from.
        return draw(st.sampled_from([b"text\0", b"tensor\0<f4(1,)\0", b"image\0"])) + draw(
            st.binary(max_size=4)
        )
    shape = draw(st.sampled_from([(), (1,), (2, 3), (3, 2), (6,), (0,), (0, 2)]))
    raw = draw(st.binary(min_size=96, max_size=96)) if draw(st.booleans()) else bytes(96)
    dtype = np.dtype(draw(DTYPES))
    return np.frombuffer(raw, dtype)[: int(np.prod(shape))].reshape(shape)


def described(content: Content) -> tuple[object, ...]:
    if isinstance(content, bytes | str):
        return type(content), content
    return content.dtype.str, content.shape, content.tobytes()


@given(contents(), contents())
@settings(deadline=None)
def test_digests_are_equal_for_equal_contents_only(one: Content, other: Content) -> None:
    same = described(one) == described(other)
    assert (content_digest(one) == content_digest(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"abc", "abc"),
        (b"text\0abc", "abc"),
        (b"tensor\0<f4(1,)\0" + bytes(4), np.zeros(1, np.float32)),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.zeros((2, 2), np.float32), np.zeros(4, np.float32)),
        (np.zeros(1, np.float32), np.zeros((), np.float32)),
        (np.array([1.0], "<f4"), np.array([1.0], ">f4")),
    ],
)
def test_kinds_types_and_shapes_are_distinguished(one: Content, other: Content) -> None:
    assert content_digest(one) != content_digest(other)


def test_the_layout_in_memory_does_not_matter() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert content_digest(np.asfortranarray(rows)) == content_digest(rows)
    assert content_digest(np.repeat(rows, 2, axis=0)[::2]) == content_digest(rows)
