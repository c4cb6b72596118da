"""The nearest training examples, from a byte for each feature."""

import numpy as np
import pytest

from headstart_server.learning.analysis import neighbors
from headstart_server.learning.analysis.neighbors import NeighborExample, NeighborIndex, index_neighbors
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.features.similarity import QuantizedRows, similarity_rows

VIEWS = ("last", "taps")


def features(count: int, seed: int) -> dict[str, Float32]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.gamma(0.6, size=(count, size)).astype(np.float32)
        for name, size in (("last", 500), ("taps", 90))
    }


def indexed(count: int) -> list[NeighborExample]:
    return [
        NeighborExample(index=3 * place, id=f"id {place}", target=Target.of_label(f"class {place % 4}"))
        for place in range(count)
    ]


def index_of(views: dict[str, Float32]) -> NeighborIndex:
    count = len(views["last"])
    return index_neighbors(views, VIEWS, indexed(count), [f"{place:06d}" for place in range(count)])


def test_the_nearest_are_those_of_the_largest_cosine_within_a_percent() -> None:
    views, queries = features(300, 1), features(20, 2)
    exact = (
        1
        - similarity_rows(queries, VIEWS).astype(np.float64)
        @ similarity_rows(views, VIEWS).astype(np.float64).T
    )
    for place, found in enumerate(index_of(views).nearest(queries, 5)):
        far = np.array([one.distance for one in found])
        assert (np.diff(far) >= 0).all()
        np.testing.assert_allclose(far, np.sort(exact[place])[:5], rtol=0.01)
        named = [one.example.index // 3 for one in found]
        np.testing.assert_allclose(exact[place][named], np.sort(exact[place])[:5], rtol=0.01)


def test_an_example_is_its_own_nearest_with_its_name_and_label() -> None:
    views = features(50, 1)
    for place, (first, *_) in enumerate(index_of(views).nearest(views, 3)):
        assert first.example == indexed(50)[place]
        assert first.distance == pytest.approx(0.0, abs=5e-4)


def test_equal_examples_come_in_the_order_of_the_list() -> None:
    views = {name: np.repeat(rows[:1], 6, axis=0) for name, rows in features(1, 1).items()}
    (found,) = index_of(views).nearest({name: rows[:1] for name, rows in views.items()}, 4)
    assert [one.example.index for one in found] == [0, 3, 6, 9]


def test_there_are_at_most_as_many_neighbors_as_examples() -> None:
    assert [len(found) for found in index_of(features(3, 1)).nearest(features(2, 2), 100)] == [3, 3]


def test_many_inputs_give_the_same_neighbors_as_single_ones() -> None:
    views, queries = features(40, 1), features(150, 2)
    together = index_of(views).nearest(queries, 2)
    alone = [
        index_of(views).nearest({name: rows[place : place + 1] for name, rows in queries.items()}, 2)[0]
        for place in (0, 64, 149)
    ]
    for place, found in zip((0, 64, 149), alone, strict=True):
        assert [one.example for one in found] == [one.example for one in together[place]]


def test_above_a_bound_the_digests_choose_which_examples_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_INDEXED", 5)
    digests = list("hgfedcba")
    index = index_neighbors(features(8, 1), VIEWS, indexed(8), digests)
    assert [one.index // 3 for one in index.examples] == [3, 4, 5, 6, 7]


def test_an_index_takes_a_byte_for_each_feature() -> None:
    index = index_of(features(100, 1))
    assert index.rows.nbytes == 100 * (590 + 4)
    assert index.rows.nbytes < index.nbytes < index.rows.nbytes + 100 * 1000


def test_quantized_rows_of_zeros_are_no_error() -> None:
    rows = QuantizedRows.from_blocks([np.zeros((2, 5), np.float32)])
    np.testing.assert_array_equal(rows.distances(np.eye(5, dtype=np.float32)[:1]), [[1.0, 1.0]])
