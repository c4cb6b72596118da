"""Maps of examples: the first two principal components, in any order of the examples."""

import time

import numpy as np
import pytest

from headstart_server.learning.analysis.example_map import map_examples
from headstart_server.learning.features.feature_matrix import normalized
from headstart_server.models.evidence import InvalidEvidenceError, map_from_bytes, map_to_bytes


def features(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Return features of four groups with noise."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((4, size)) * 3
    return (centers[random.integers(0, 4, count)] + random.standard_normal((count, size))).astype("float32")


def digests(count: int) -> list[str]:
    return [f"{place * 7919 % 1_000_003:08x}" for place in range(count)]


@pytest.mark.parametrize(("count", "size"), [(300, 40), (40, 300), (50, 2)])
def test_the_axes_are_the_first_principal_components(count: int, size: int) -> None:
    rows = features(count, size)

    found = map_examples({"a": rows}, ["a"], digests(count))

    scaled = normalized(rows.astype("float64"))
    centered = scaled - scaled.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    expected = centered @ axes[:2].T
    expected *= np.sign((expected * found).sum(axis=0))
    assert np.abs(found).max() == 1
    np.testing.assert_allclose(found, expected / np.abs(expected).max(), atol=0.02)


def test_the_map_does_not_depend_on_the_order_and_joins_views() -> None:
    rows, names = features(200, 30), digests(200)
    views = {"a": rows[:, :10], "b": rows[:, 10:]}
    order = np.random.default_rng(1).permutation(200)

    found = map_examples(views, ["a", "b"], names)
    turned = {name: view[order] for name, view in views.items()}
    other = map_examples(turned, ["a", "b"], [names[place] for place in order])

    np.testing.assert_allclose(other, found[order], atol=1e-5)
    np.testing.assert_array_equal(map_examples(views, ["a", "b"], names), found)


@pytest.mark.parametrize(
    "rows", [np.zeros((3, 5)), np.ones((1, 5)), np.ones((4, 1)), np.arange(3.0)[:, None]]
)
def test_equal_and_single_features_have_finite_positions(rows: np.ndarray) -> None:
    found = map_examples({"a": rows.astype("float32")}, ["a"], digests(len(rows)))

    assert found.shape == (len(rows), 2)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


def test_many_examples_take_a_fraction_of_a_second_for_each_ten_thousand() -> None:
    rows = features(20_000, 256)
    began = time.process_time()
    map_examples({"a": rows}, ["a"], digests(len(rows)))
    # About 1 s of processor time; the bound only catches another order of growth.
    assert time.process_time() - began < 20


def test_a_map_is_stored_in_four_bytes_for_each_example() -> None:
    positions = map_examples({"a": features(1000, 8)}, ["a"], digests(1000))

    content = map_to_bytes(positions)

    assert len(content) < 4 * 1000 + 300
    np.testing.assert_allclose(map_from_bytes(content), positions, atol=2e-5)
    for damaged in (b"", content[:50], b"x" * 100):
        with pytest.raises(InvalidEvidenceError):
            map_from_bytes(damaged)
