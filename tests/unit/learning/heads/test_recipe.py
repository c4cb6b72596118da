"""Carrying out a recipe: the same head for the same examples, and honest metrics."""

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto, Recipe, Ridge, required_views
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource

CLASSES = 3
NAMES = ("ant", "bee", "cat")


def examples(seed: int, *, each: int = 6, d: int = 8) -> tuple[dict[str, Float32], np.ndarray, list[str]]:
    """Gaussian classes, float32 as a backbone gives them, with some duplicates within each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), each)
    groups = [f"{label}/{max(place, 1)}" for label in range(CLASSES) for place in range(each)]
    by_group = {group: rng.normal(size=d) for group in sorted(set(groups))}
    rows = 2 * np.eye(CLASSES, d)[labels] + np.stack([by_group[group] for group in groups])
    last = rows.astype(np.float32)
    return {"last": last, "taps": last[:, ::-1].copy()}, labels.astype(np.int64), groups


def fitted_to(
    recipe: Recipe,
    views: dict[str, Float32],
    labels: np.ndarray,
    groups: Sequence[str],
    names: Sequence[str],
    **options: object,
) -> FittedHead:
    return fit(recipe, views, Targets.of_labels(labels, names), groups, **options)


def fitted(
    seed: int = 0, *, order: np.ndarray | None = None, recipe: Recipe | None = None, **size: int
) -> FittedHead:
    views, labels, groups = examples(seed, **size)
    order = np.arange(len(labels)) if order is None else order
    moved = {name: rows[order] for name, rows in views.items()}
    return fitted_to(
        recipe or Auto(), moved, labels[order], [groups[place] for place in order], NAMES, seed=7
    )


@given(st.integers(0, 1000), st.sampled_from([4, 30]), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_examples_changes_no_bit(seed: int, d: int, random) -> None:
    order = list(range(CLASSES * 6))
    random.shuffle(order)
    one, other = fitted(seed, d=d), fitted(seed, d=d, order=np.array(order))
    assert one.head.weights.tobytes() == other.head.weights.tobytes()
    assert one.head.bias.tobytes() == other.head.bias.tobytes()
    assert one.head.temperature == other.head.temperature
    assert (one.recipe, one.metrics) == (other.recipe, other.metrics)


@given(st.integers(0, 1000), st.permutations(range(CLASSES)))
@settings(max_examples=30, deadline=None)
def test_renaming_the_classes_moves_the_columns(seed: int, places: list[int]) -> None:
    recipe = Ridge(regularization=0.1, temperature=0.3)
    views, labels, groups = examples(seed)
    one = fitted_to(recipe, views, labels, groups, NAMES, seed=1)
    names = [""] * CLASSES
    for place, name in zip(places, NAMES, strict=True):
        names[place] = name
    other = fitted_to(recipe, views, np.array(places)[labels], groups, tuple(names), seed=1)
    np.testing.assert_allclose(other.head.weights[:, places], one.head.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other.head.bias[places], one.head.bias, rtol=1e-4, atol=1e-6)


def test_the_head_knows_its_examples_and_the_recipe_says_what_was_chosen() -> None:
    found = fitted(d=40)
    views, labels, _ = examples(0, d=40)
    assert found.head.outputs(views).argmax(axis=1).tolist() == labels.tolist()
    assert found.head.class_names == NAMES
    assert found.head.weights.dtype == found.head.bias.dtype == np.float32
    assert found.recipe.regularization is not None
    assert found.recipe.temperature == found.head.temperature
    # Six examples of a class, of which two are one group.
    assert found.recipe.folds == 5


def test_metrics_are_out_of_fold_and_not_those_on_the_training_examples() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    views = {"last": rng.normal(size=(60, 100)).astype(np.float32)}
    found = fitted_to(Auto(), views, labels, [f"{index:02d}" for index in range(60)], ("a", "b"), seed=0)
    metrics = found.metrics
    assert metrics.source is MetricsSource.OUT_OF_FOLD
    assert metrics.example_count == 60
    # Noise: it fits its examples, and knows that it will not know others.
    assert metrics.accuracy is not None
    assert metrics.accuracy < 0.75
    assert metrics.log_loss is not None
    assert metrics.log_loss > 0.5
    assert sum(count for _, _, count in metrics.confusion) == 60


def test_metrics_leave_out_classes_of_a_single_example() -> None:
    views, labels, groups = examples(0)
    labels = np.append(labels, [3])
    last = np.vstack([views["last"], np.ones((1, 8), np.float32)])
    found = fitted_to(Auto(), {"last": last}, labels, [*groups, "x"], (*NAMES, "dog"), seed=0)
    assert found.metrics.example_count == len(labels) - 1
    assert all(actual != 3 for actual, _, _ in found.metrics.confusion)
    assert found.head.weights.shape == (8, 4)


def test_a_single_shot_has_no_metrics() -> None:
    views, labels, groups = examples(0, each=1)
    found = fitted_to(Auto(), views, labels, groups, NAMES, seed=0)
    assert found.metrics == Metrics()
    assert found.recipe == Ridge(
        regularization=1e-2, temperature=0.1, folds=0, scaling=Scaling.ROOT, balanced=False
    )


def test_ridge_fits_on_the_view_it_names() -> None:
    on_taps = fitted(recipe=Ridge(views=("taps",)))
    assert on_taps.head.views == on_taps.recipe.views == ("taps",)
    assert not np.array_equal(on_taps.head.weights, fitted().head.weights)
    assert required_views(Ridge(views=("taps",)), {"last", "taps"}) == ("taps",)
    assert required_views(Auto(), ["last", "taps", "other"]) == ("taps", "last")
    assert required_views(Auto(), ["last"]) == ("last",)


def test_given_settings_are_used() -> None:
    given_recipe = Ridge(
        regularization=0.5,
        temperature=0.25,
        folds=2,
        views=("last", "taps"),
        scaling=Scaling.STANDARD,
        balanced=True,
    )
    assert fitted(recipe=given_recipe).recipe == given_recipe


def test_features_of_zeros_give_a_head_of_the_classes_shares() -> None:
    labels = np.array([0, 0, 0, 1])
    groups = list("abcd")
    found = fitted_to(Auto(), {"last": np.zeros((4, 5), np.float32)}, labels, groups, ("x", "y"), seed=0)
    assert not found.head.weights.any()
    np.testing.assert_allclose(found.head.bias, [0.75, 0.25])


def test_the_length_of_a_row_changes_nothing_because_rows_are_normalized() -> None:
    views, labels, groups = examples(0)
    longer = views["last"] * np.linspace(1, 50, len(labels)).astype(np.float32)[:, None]
    one = fitted_to(Ridge(), views, labels, groups, NAMES, seed=0)
    other = fitted_to(Ridge(), {"last": longer}, labels, groups, NAMES, seed=0)
    np.testing.assert_allclose(other.head.weights, one.head.weights, rtol=1e-3, atol=1e-5)


class StopError(Exception):
    pass


def test_the_checkpoint_can_stop_it() -> None:
    def checkpoint() -> None:
        raise StopError

    views, labels, groups = examples(0)
    with pytest.raises(StopError):
        fitted_to(Auto(), views, labels, groups, NAMES, seed=0, checkpoint=checkpoint)


@pytest.mark.parametrize("each", [1, 4, 12])
def test_the_resolved_recipe_of_auto_gives_the_same_bits_again(each: int) -> None:
    one = fitted(each=each, d=20)
    again = fitted(each=each, d=20, recipe=one.recipe)
    assert again.recipe == one.recipe
    assert again.head.weights.tobytes() == one.head.weights.tobytes()
    assert again.head.bias.tobytes() == one.head.bias.tobytes()
    assert (again.head.views, again.head.scaling) == (one.head.views, one.head.scaling)


def blurred(*, informative: str) -> tuple[dict[str, Float32], np.ndarray, list[str]]:
    """Two views, of which one alone separates the classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 10)
    views = {name: np.abs(rng.normal(size=(len(labels), 30))) for name in ("last", "taps")}
    views[informative] += 3 * np.eye(CLASSES, 30)[labels]
    groups = [f"{place:02d}" for place in range(len(labels))]
    return {name: rows.astype(np.float32) for name, rows in views.items()}, labels, groups


def test_auto_looks_at_all_views_where_the_last_one_says_little() -> None:
    views, labels, groups = blurred(informative="taps")
    found = fitted_to(Auto(), views, labels, groups, NAMES, seed=0)
    assert found.recipe.views == found.head.views == ("taps", "last")
    assert found.recipe.scaling is Scaling.STANDARD
    assert found.metrics.accuracy is not None
    assert found.metrics.accuracy > 0.8


def test_auto_keeps_to_the_last_view_where_the_others_only_blur() -> None:
    views, labels, groups = blurred(informative="last")
    rng = np.random.default_rng(1)
    views["taps"] = rng.normal(size=(len(labels), 3000)).astype(np.float32)
    assert fitted_to(Auto(), views, labels, groups, NAMES, seed=0).recipe.views == ("last",)


def test_a_feature_that_seldom_differs_does_not_rule_the_others() -> None:
    views, labels, groups = examples(3, each=8, d=20)
    last = np.hstack([views["last"], np.full((len(labels), 1), 1e-3, np.float32)])
    last[0, -1] += 1e-4
    recipe = Ridge(scaling=Scaling.STANDARD, regularization=0.01, temperature=0.1)
    head = fitted_to(recipe, {"last": last}, labels, groups, NAMES, seed=0).head
    tried = np.tile(last[:1], (2, 1))
    tried[1, -1] = 1.0
    # Ten thousand times its deviation from what was seen moves no score beyond a usual one.
    one, other = head.scores({"last": tried})
    np.testing.assert_allclose(other, one, atol=1.0)


def test_a_small_class_counts_as_much_as_a_large_one_where_sizes_differ_much() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 6])
    last = (rng.normal(size=(66, 10)) + 1.2 * np.eye(2, 10)[labels]).astype(np.float32)
    groups = [f"{place:02d}" for place in range(66)]
    tested = np.repeat([0, 1], 500)
    test = {"last": (rng.normal(size=(1000, 10)) + 1.2 * np.eye(2, 10)[tested]).astype(np.float32)}
    right = {}
    for balanced in (None, False):
        found = fitted_to(Ridge(balanced=balanced), {"last": last}, labels, groups, ("a", "b"), seed=0)
        right[found.recipe.balanced] = (found.head.outputs(test).argmax(axis=1) == tested)[500:].mean()
    assert right[True] > right[False] + 0.1


def test_all_duplicates_of_each_class_are_a_single_shot() -> None:
    labels = np.repeat(np.arange(CLASSES), 4)
    last = np.eye(CLASSES, 6, dtype=np.float32)[labels] + 1
    found = fitted_to(Auto(), {"last": last}, labels, [f"{place:02d}" for place in range(12)], NAMES, seed=0)
    assert found.metrics == Metrics()
    assert found.head.outputs({"last": last}).argmax(axis=1).tolist() == labels.tolist()


def test_many_classes_of_one_example_with_two_of_two_still_give_a_head() -> None:
    rng = np.random.default_rng(0)
    labels = np.append(np.arange(40), [0, 1])
    last = rng.normal(size=(42, 30)).astype(np.float32)
    names = tuple(f"{place:02d}" for place in range(40))
    found = fitted_to(Auto(), {"last": last}, labels, [f"{place:02d}" for place in range(42)], names, seed=0)
    probabilities = found.head.outputs({"last": last})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert found.metrics.example_count == 4


def test_memory_without_the_features_does_not_grow_with_them() -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for count in (3_000, 9_000):
        labels = np.arange(count) % 4
        last = (rng.normal(size=(count, 256)) + np.eye(4, 256)[labels]).astype(np.float32)
        groups = [f"{place:06d}" for place in range(count)]
        tracemalloc.start()
        fitted_to(Ridge(regularization=0.1), {"last": last}, labels, groups, ("a", "b", "c", "d"), seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Projections, labels, names and out-of-fold scores: 4 kB for each further example, whatever the size of
    # its features; and no row of 72 kB of a Gram matrix.
    assert (peaks[1] - peaks[0]) / 6_000 < 4096
