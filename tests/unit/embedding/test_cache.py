"""The feature cache against a plain model of it, and the digest of a content."""

import threading
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.backbones.backbone import Content
from headstart_server.embedding.cache import FeatureCache, content_digest
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.memory_tier import OVERHEAD


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
def test_kinds_types_and_shapes_are_told_apart(one: Content, other: Content) -> None:
    assert content_digest(one) != content_digest(other)


def test_the_layout_in_memory_does_not_matter() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert content_digest(np.asfortranarray(rows)) == content_digest(rows)
    assert content_digest(np.repeat(rows, 2, axis=0)[::2]) == content_digest(rows)
