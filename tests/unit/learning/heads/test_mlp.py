"""The recipe `mlp`: what one hidden layer can tell that a plane cannot, repeatably and within its limits."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fakes import ManualClock
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Ints, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.mlp import MlpSettings, fit_mlp, whitening
from headstart_server.learning.heads.recipe import Auto, Mlp
from headstart_server.learning.heads.split import folds_for

SMALL = Mlp(hidden_units=32, dropout=0.1, weight_decay=0.01, learning_rate=1e-2, max_epochs=100)


def quadrants(count: int = 400, *, size: int = 6, seed: int = 0) -> tuple[Float32, Ints]:
    """Points of two classes that no plane parts: equal and unequal signs of the first two numbers."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.5, 2, (count, size)) * rng.choice([-1.0, 1.0], (count, size))
    points = points.astype(np.float32)
    return points, (points[:, 0] * points[:, 1] > 0).astype(np.int64)


def fitted(
    recipe: Mlp | Auto, points: Float32, targets: Targets, *, seed: int = 0, **more: object
) -> FittedHead:
    groups = [f"{place:04d}" for place in range(len(points))]
    return fit(recipe, {"last": points}, targets, groups, seed=seed, **more)


def test_it_separates_classes_that_no_plane_separates() -> None:
    points, labels = quadrants()
    targets = Targets.of_labels(labels, ["apart", "together"])
    network = fitted(SMALL, points, targets)
    plane = fitted(Auto(), points, targets)
    assert network.metrics.accuracy is not None
    assert plane.metrics.accuracy is not None
    assert network.metrics.accuracy > 0.85 > 0.7 > plane.metrics.accuracy
    others, truth = quadrants(400, seed=1)
    answered = network.head.outputs({"last": others}).argmax(axis=1)
    assert (answered == truth).mean() == pytest.approx(network.metrics.accuracy, abs=0.1)


def test_the_resolved_recipe_gives_the_same_head_again() -> None:
    points, labels = quadrants(60)
    targets = Targets.of_labels(labels, ["apart", "together"])
    first = fitted(Mlp(max_epochs=5), points, targets)
    chosen = first.recipe
    assert isinstance(chosen, Mlp)
    assert (chosen.hidden_units, chosen.dropout, chosen.views) == (256, 0.5, ("last",))
    again = fitted(chosen, points, targets)
    assert [tensor.tobytes() for tensor in again.head.tensors().values()] == [
        tensor.tobytes() for tensor in first.head.tensors().values()
    ]
    other = fitted(chosen, points, targets, seed=1)
    assert other.head.weights.tobytes() != first.head.weights.tobytes()


def test_the_order_of_the_examples_does_not_matter() -> None:
    points, labels = quadrants(60)
    groups = [f"{place:04d}" for place in range(60)]
    order = np.random.default_rng(5).permutation(60)
    names = ["apart", "together"]
    one = fit(SMALL, {"last": points}, Targets.of_labels(labels, names), groups, seed=0)
    shuffled = [groups[place] for place in order]
    other = fit(SMALL, {"last": points[order]}, Targets.of_labels(labels[order], names), shuffled, seed=0)
    assert one.head.weights.tobytes() == other.head.weights.tobytes()
    assert one.outputs is not None
    assert other.outputs is not None
    assert np.array_equal(one.outputs[order], other.outputs)


def solve(
    points: Float32,
    targets: Targets,
    *,
    clock: Callable[[], float] = time.monotonic,
    checkpoint: Callable[[], None] = lambda: None,
    **settings: object,
) -> tuple[StopReason | None, int]:
    defaults = MlpSettings(
        hidden_units=16, dropout=0.0, weight_decay=0.1, learning_rate=1e-2, max_epochs=100, patience=3
    )
    solved = fit_mlp(
        FeatureMatrix({"last": points}, ("last",), Scaling.STANDARD),
        targets,
        folds_for(targets, [f"{place:04d}" for place in range(len(points))], folds=3, seed=0),
        replace(defaults, **settings),
        weights=targets.weights,
        seed=0,
        clock=clock,
        checkpoint=checkpoint,
    )
    return solved.stop_reason, solved.epochs


def test_it_ends_when_the_loss_has_not_fallen_for_a_while() -> None:
    points, labels = quadrants(60)
    noise = Targets.of_labels(np.random.default_rng(0).permutation(labels), ["a", "b"])
    reason, epochs = solve(points, noise, patience=2)
    assert reason is StopReason.CONVERGED
    assert epochs < 98


def test_it_ends_with_its_epochs() -> None:
    points, labels = quadrants(60)
    assert solve(points, Targets.of_labels(labels, ["a", "b"]), max_epochs=2) == (StopReason.STEPS, 2)


def test_it_ends_with_its_time_and_gives_the_best_until_then() -> None:
    points, labels = quadrants(60)
    clock = ManualClock(0.0)
    reason, epochs = solve(
        points,
        Targets.of_labels(labels, ["a", "b"]),
        clock=clock,
        checkpoint=lambda: clock.advance(1.0),
        time_budget=100.0,
    )
    assert reason is StopReason.TIME
    assert 1 <= epochs < 20
    # However little there is, there is a head.
    reason, epochs = solve(
        points,
        Targets.of_labels(labels, ["a", "b"]),
        clock=clock,
        checkpoint=lambda: clock.advance(1.0),
        time_budget=0.5,
    )
    assert (reason, epochs) == (StopReason.TIME, 1)


def test_it_can_be_stopped_at_each_step() -> None:
    points, labels = quadrants(60)
    calls = iter(range(10))

    def checkpoint() -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(points, Targets.of_labels(labels, ["a", "b"]), checkpoint=checkpoint)


def test_several_labels_each_stand_by_themselves() -> None:
    points, labels = quadrants()
    matrix = np.stack([labels, points[:, 0] > 0], axis=1).astype(np.float64)
    targets = Targets(
        task=Task.MULTI_LABEL, matrix=matrix, weights=np.ones(400), class_names=("together", "right")
    )
    result = fitted(SMALL, points, targets)
    others, truth = quadrants(300, seed=1)
    answers = result.head.outputs({"last": others}) >= result.head.thresholds
    assert (answers == np.stack([truth, others[:, 0] > 0], axis=1)).mean() > 0.85


def test_a_number_is_predicted_whatever_its_scale() -> None:
    points, _ = quadrants()
    numbers = 1000 + 50 * (points[:, :1] * points[:, 1:2] > 0).astype(np.float64)
    targets = Targets(task=Task.REGRESSION, matrix=numbers, weights=np.ones(400), class_names=())
    metrics = fitted(SMALL, points, targets).metrics
    assert metrics.r_squared is not None
    assert metrics.r_squared > 0.7


def test_examples_of_negligible_weight_have_no_effect() -> None:
    points, labels = quadrants(600)
    wrong = np.arange(600) % 3 == 0
    shown = np.where(wrong, 1 - labels, labels)
    targets = replace(Targets.of_labels(shown, ["a", "b"]), weights=np.where(wrong, 1e-6, 1.0))
    others, truth = quadrants(300, seed=1)
    answered = fitted(SMALL, points, targets).head.outputs({"last": others}).argmax(axis=1)
    assert (answered == truth).mean() > 0.8


def test_one_example_of_each_class_gives_a_head_without_an_estimate() -> None:
    points, _ = quadrants(4)
    result = fitted(SMALL, points, Targets.of_labels(np.arange(4), list("abcd")))
    assert result.outputs is None
    assert np.isfinite(result.head.outputs({"last": points})).all()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_equal_features_give_a_head(value: float) -> None:
    points = np.full((12, 5), value, np.float32)
    result = fitted(SMALL, points, Targets.of_labels(np.arange(12) % 2, ["a", "b"]))
    assert np.isfinite(result.head.outputs({"last": points})).all()


@pytest.mark.parametrize("count", [20, 200])
def test_on_its_axes_all_directions_vary_alike(count: int) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(count, 50)) * np.geomspace(1, 0.03, 50) + 3).astype(np.float32)
    rows /= np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean()
    axes, center = whitening(rows, 1e-9)
    turned = (rows - center) @ axes
    assert np.allclose(turned.T @ turned / count, np.eye(turned.shape[1]), atol=0.05)
