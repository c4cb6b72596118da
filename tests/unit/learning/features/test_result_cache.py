"""What is computed from features is computed once, with the same bits, within a limit."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, Modality
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.features import result_cache
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.features.result_cache import (
    RESULT_CACHE,
    ROWS,
    ResultCache,
    feature_key,
    frozen,
)
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto

COUNT = ROWS[0] + 50


class Maker:
    """Computes an array of a size, and counts."""

    def __init__(self, size: int = 1) -> None:
        self.size, self.count = size, 0

    def __call__(self) -> NDArray[np.float64]:
        self.count += 1
        return np.zeros(self.size)


def rows(count: int = COUNT, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, 300)).astype(np.float32)


def test_threads_wait_for_the_one_that_computes_the_result() -> None:
    cache, begun, go_on = ResultCache(), threading.Event(), threading.Event()

    class Slow(Maker):
        def __call__(self) -> NDArray[np.float64]:
            begun.set()
            go_on.wait(30)
            return super().__call__()

    make = Slow()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(cache.get, "key", make)
        assert begun.wait(30)
        others = [pool.submit(cache.get, "key", make) for _ in range(2)]
        go_on.set()
        found = [first.result(), *(other.result() for other in others)]
    assert make.count == 1
    assert all(each is found[0] for each in found)


def test_a_computation_that_stops_leaves_the_key_to_the_next() -> None:
    cache = ResultCache()

    def stop() -> NDArray[np.float64]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.get("key", stop)
    assert len(cache.get("key", Maker(3))) == 3


def test_equal_features_have_equal_keys_and_others_have_others() -> None:
    first = feature_key([frozen(rows())], "kind", 1)
    assert first is not None
    assert feature_key([frozen(rows())], "kind", 1) == first
    others = [frozen(rows(seed=1)), frozen(rows()[::-1].copy()), frozen(rows().reshape(COUNT * 2, -1))]
    keys = {first, *(feature_key([other], "kind", 1) for other in others)}
    keys.add(feature_key([frozen(rows())], "other", 1))
    assert len(keys) == 5


@pytest.mark.parametrize("count", [ROWS[0] - 1, ROWS[1] + 1])
def test_few_or_very_many_rows_have_no_key(count: int) -> None:
    assert feature_key([frozen(rows(count))]) is None


def test_arrays_that_can_change_have_no_key() -> None:
    changeable = rows()
    assert feature_key([changeable]) is None
    part = changeable[:]
    part.flags.writeable = False
    assert feature_key([part]) is None
    assert feature_key([frozen(np.asfortranarray(rows()))]) is None


def test_digests_of_arrays_go_with_them() -> None:
    gc.collect()
    before = len(result_cache._digests)
    array = frozen(rows())
    feature_key([array])
    assert len(result_cache._digests) == before + 1
    del array
    gc.collect()
    assert len(result_cache._digests) == before


def test_beyond_the_limit_the_oldest_goes() -> None:
    cache = ResultCache(max_bytes=2 * 8 * 100)
    makers = [Maker(100) for _ in range(3)]
    for place in (0, 1, 1, 2, 2, 1, 0):
        cache.get(place, makers[place])
    assert [maker.count for maker in makers] == [2, 1, 1]
    cache.clear()
    cache.get(0, makers[0])
    assert makers[0].count == 3


def test_a_large_result_does_not_displace_the_others() -> None:
    cache, small, large = ResultCache(max_bytes=8 * 100), Maker(10), Maker(60)
    for _ in range(2):
        cache.get("small", small)
        cache.get("large", large)
    assert (small.count, large.count) == (1, 2)


def test_without_a_key_each_call_computes() -> None:
    cache, make = ResultCache(), Maker()
    for _ in range(2):
        cache.get(None, make)
    assert make.count == 2


def test_heads_have_the_same_bits_with_found_results_and_other_labels() -> None:
    RESULT_CACHE.clear()
    labels = np.arange(COUNT) % 5
    centers = np.random.default_rng(9).standard_normal((5, 300))
    views = {LAST: (rows() + centers[labels]).astype(np.float32), "taps": rows(seed=2)}
    constant = {name: frozen(view.copy()) for name, view in views.items()}
    fitted(constant, labels)
    relabeled = labels.copy()
    relabeled[:7] = 0
    found, scratch = fitted(constant, relabeled), fitted(views, relabeled)
    assert found.head.weights.tobytes() == scratch.head.weights.tobytes()
    assert found.head.bias.tobytes() == scratch.head.bias.tobytes()
    assert found.outputs is not None
    assert scratch.outputs is not None
    assert found.outputs.tobytes() == scratch.outputs.tobytes()


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.TENSOR])
def test_near_duplicates_are_the_same_with_found_results(modality: Modality) -> None:
    RESULT_CACHE.clear()
    features, labels = rows(), np.arange(COUNT) % 5
    features[1] = features[0] + np.float32(1e-4)
    names = [f"{place:03}" for place in range(COUNT)]
    expected = group_near_duplicates(features, labels, names, modality=modality)
    assert len(set(expected)) == COUNT - 1
    constant = frozen(features.copy())
    for shown in (labels, labels[::-1].copy(), labels):
        groups = group_near_duplicates(constant, shown, names, modality=modality)
        assert groups == group_near_duplicates(features, shown, names, modality=modality)


def fitted(views: dict[str, Float32], labels: NDArray[np.int64]) -> FittedHead:
    names = [f"{place:03}" for place in range(COUNT)]
    targets = Targets.from_targets([Target.of_label(str(label)) for label in labels])
    return fit(Auto(), views, targets, names, seed=3)
