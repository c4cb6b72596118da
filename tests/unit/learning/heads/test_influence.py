"""Influences in closed form against real refits without the example."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from headstart_server.learning.examples.target import Target, Targets, balancing
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.influence import HeadMismatchError, RidgeInfluence, required_bytes
from headstart_server.learning.heads.recipe import Auto, Recipe, Ridge

#: Number of random pairs of an input and an example that are compared with a refit.
PAIRS = 100


def views_of(rng: np.random.Generator, labels: Float64, size: int, common: Float64) -> Mapping[str, Float32]:
    features = np.abs(rng.normal(size=(len(labels), size)) + labels @ common)
    return {"last": features.astype(np.float32), "taps": (features[:, : size // 2] ** 2).astype(np.float32)}


def targets_of(kind: str, rng: np.random.Generator, count: int) -> Targets:
    weights = rng.uniform(0.5, 2, count)
    classes = np.concatenate([np.arange(3), rng.choice(3, count - 3, p=[0.7, 0.2, 0.1])])
    names = ["a", "b", "c"]
    if kind == "number":
        return Targets.from_targets(
            [Target.of_value(float(each)) for each in rng.normal(size=count)], weights
        )
    if kind == "several":
        flags = rng.random((count, 3)) < 0.5
        several = [Target.of_labels(np.array(names)[row].tolist()) for row in flags]
        return Targets.from_targets(several, weights, names)
    return Targets.from_targets([Target.of_label(names[each]) for each in classes], weights)


def refitted_scores(
    recipe: Ridge,
    views: Mapping[str, Float32],
    targets: Targets,
    left_out: int,
    inputs: Mapping[str, Float32],
) -> Float64:
    """Return scores of inputs by a least-squares fit without an example, with the scaling of all examples."""
    rows = FeatureMatrix(views, recipe.views, recipe.scaling)
    matrix = np.concatenate([block for _, block in rows.blocks()])
    weights = targets.weights / targets.weights.mean()
    weights = weights * balancing(targets) if recipe.balanced else weights
    kept = np.arange(len(matrix)) != left_out
    roots = np.sqrt(weights[kept])[:, None]
    ones = np.ones((kept.sum(), 1))
    penalty = np.sqrt(recipe.regularization or 0.0) * np.eye(rows.size, rows.size + 1)
    left = np.concatenate([np.hstack([matrix[kept], ones]) * roots, penalty])
    right = np.concatenate([targets.matrix[kept] * roots, np.zeros((rows.size, targets.matrix.shape[1]))])
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    scores: Float64 = rows.transformed(inputs) @ solution[:-1] + solution[-1]
    return scores


def fitted(recipe: Recipe, views: Mapping[str, Float32], targets: Targets) -> FittedHead:
    return fit(recipe, views, targets, [f"{place:06d}" for place in range(len(targets))], seed=1)


@pytest.mark.parametrize("kind", ["class", "several", "number"])
@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        (Auto(), 40),
        (Auto(), 150),
        (Ridge(regularization=10.0**-4.5, scaling=Scaling.ROOT, balanced=False), 40),
        (Ridge(regularization=1e-6, balanced=False), 90),
    ],
)
def test_influences_equal_a_refit_without_the_example(kind: str, recipe: Recipe, count: int) -> None:
    rng = np.random.default_rng(count)
    targets, common = targets_of(kind, rng, count), rng.normal(size=(3, 64))
    shown = targets.matrix if kind != "number" else np.tile(targets.matrix, 3)
    views = views_of(rng, shown, 64, common)
    inputs = views_of(rng, shown[:10], 64, common)
    made = fitted(recipe, views, targets)
    assert isinstance(made.recipe, Ridge)
    influence = RidgeInfluence(made.head, made.recipe, views, targets)
    calibration = made.head.calibration
    full = refitted_scores(made.recipe, views, targets, -1, inputs)
    places = [influence.influences(inputs, count)[place] for place in range(10)]
    for _ in range(PAIRS // 10):
        example = int(rng.integers(count))
        without = refitted_scores(made.recipe, views, targets, example, inputs)
        for place in range(10):
            column = int(calibration.outputs(full)[place].argmax())
            (found,) = [each for each in places[place] if each.place == example]
            assert found.score_change == pytest.approx(without[place, column] - full[place, column], abs=1e-6)
            if kind == "number":
                assert found.probability_change is None
                continue
            change = calibration.outputs(without)[place, column] - calibration.outputs(full)[place, column]
            assert found.probability_change == pytest.approx(change, abs=1e-6)


def test_the_most_influential_examples_come_first() -> None:
    rng = np.random.default_rng(0)
    targets, common = targets_of("class", rng, 30), rng.normal(size=(3, 8))
    views = views_of(rng, targets.matrix, 8, common)
    made = fitted(Ridge(), views, targets)
    assert isinstance(made.recipe, Ridge)
    influence = RidgeInfluence(made.head, made.recipe, views, targets)
    (found,) = influence.influences({name: matrix[:1] for name, matrix in views.items()}, 30)
    changes = [abs(each.score_change) for each in found]
    assert changes == sorted(changes, reverse=True)
    assert len(found) == 30
    (few,) = influence.influences({name: matrix[:1] for name, matrix in views.items()}, 4)
    assert few == found[:4]


def test_many_inputs_give_the_influences_of_single_ones() -> None:
    rng = np.random.default_rng(0)
    targets, common = targets_of("class", rng, 50), rng.normal(size=(3, 16))
    views = views_of(rng, targets.matrix, 16, common)
    made = fitted(Ridge(), views, targets)
    assert isinstance(made.recipe, Ridge)
    influence = RidgeInfluence(made.head, made.recipe, views, targets)
    together = influence.influences(views, 3)
    for place in range(50):
        (alone,) = influence.influences({name: matrix[[place]] for name, matrix in views.items()}, 3)
        assert [each.place for each in alone] == [each.place for each in together[place]]


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_examples_have_influences(count: int) -> None:
    views = {"last": np.eye(4, dtype=np.float32)[:count]}
    targets = Targets.from_targets([Target.of_value(float(place)) for place in range(count)])
    made = fitted(Ridge(regularization=0.1), views, targets)
    assert isinstance(made.recipe, Ridge)
    (found,) = RidgeInfluence(made.head, made.recipe, views, targets).influences(
        {"last": np.eye(4, dtype=np.float32)[:1]}, 5
    )
    assert len(found) == (2 if count == 2 else 0)
    assert all(np.isfinite(each.score_change) for each in found)


def test_examples_of_another_head_are_rejected() -> None:
    rng = np.random.default_rng(0)
    targets, common = targets_of("class", rng, 30), rng.normal(size=(3, 8))
    views = views_of(rng, targets.matrix, 8, common)
    made = fitted(Ridge(), views, targets)
    assert isinstance(made.recipe, Ridge)
    swapped = replace(targets, matrix=targets.matrix[::-1])
    with pytest.raises(HeadMismatchError, match="the training examples of the head"):
        RidgeInfluence(made.head, made.recipe, views, swapped)


@pytest.mark.parametrize(("count", "size"), [(30, 64), (200, 16)])
def test_the_estimated_bytes_are_at_least_those_in_use(count: int, size: int) -> None:
    rng = np.random.default_rng(0)
    targets, common = targets_of("class", rng, count), rng.normal(size=(3, size))
    views = views_of(rng, targets.matrix, size, common)
    made = fitted(Ridge(), views, targets)
    assert isinstance(made.recipe, Ridge)
    used = RidgeInfluence(made.head, made.recipe, views, targets).nbytes
    assert 0.5 * required_bytes(count, size, 3) <= used <= 1.1 * required_bytes(count, size, 3)
