"""Each kind of task from targets to a head: several labels, numbers, soft labels and weights."""

from dataclasses import replace

import numpy as np
import pytest

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.example_checks import MAX_VALUE
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.head import Head, HeadMetadata
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Recipe, Ridge
from headstart_server.learning.metrics.metrics import MetricsSource

GROUPS = [f"{place:04d}" for place in range(400)]


def several(seed: int, count: int = 120, d: int = 20) -> tuple[dict[str, Float32], Targets]:
    """Examples that have each of three classes or not, by directions of their own."""
    rng = np.random.default_rng(seed)
    has = rng.uniform(size=(count, 3)) < [0.5, 0.3, 0.2]
    rows = 3 * has @ np.eye(3, d) + rng.normal(size=(count, d)) + 2
    names = np.array(["cat", "dog", "emu"])
    return {"last": rows.astype(np.float32)}, Targets.from_targets(
        [Target.of_labels(names[row]) for row in has]
    )


def numbers(seed: int, count: int = 120, d: int = 20) -> tuple[dict[str, Float32], Targets]:
    """Examples whose number is a direction of theirs, in an odd unit, with noise of a tenth."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, d))
    values = 5000 + 100 * (rows[:, 0] + 0.1 * rng.normal(size=count))
    return {"last": rows.astype(np.float32)}, Targets.from_targets(
        [Target.of_value(value) for value in values]
    )


def fitted(views: dict[str, Float32], targets: Targets, recipe: Recipe | None = None) -> FittedHead:
    return fit(recipe or Auto(), views, targets, GROUPS[: len(targets)], seed=3)


@pytest.mark.parametrize("recipe", [Auto(), Ridge(), Logistic()])
def test_each_of_several_labels_is_predicted_independently(recipe: Recipe) -> None:
    found = fitted(*several(0), recipe)
    views, targets = several(1, 400)
    outputs = found.head.outputs(views)
    assert found.head.task is Task.MULTI_LABEL
    assert outputs.dtype == np.float32
    assert outputs.shape == (400, 3)
    assert found.head.class_names == ("cat", "dog", "emu")
    assert ((outputs >= found.head.thresholds) == (targets.matrix > 0)).mean() > 0.85
    # Probabilities mean what they say: sums over classes are those of what is there.
    np.testing.assert_allclose(outputs.mean(axis=0), targets.matrix.mean(axis=0), atol=0.12)
    assert found.metrics.source is MetricsSource.OUT_OF_FOLD
    assert (found.recipe.balanced, found.recipe.temperature) == (False, None)


def test_a_number_is_predicted_with_its_interval() -> None:
    found = fitted(*numbers(0), Ridge(scaling=Scaling.STANDARD))
    views, targets = numbers(1, 400)
    outputs = found.head.outputs(views)
    assert found.head.task is Task.REGRESSION
    assert outputs.shape == (400, 1)
    errors = targets.matrix - outputs
    assert np.sqrt(np.square(errors).mean()) < 20
    low, high = found.head.interval
    assert 0.85 < ((errors >= low) & (errors <= high)).mean() < 0.97
    assert found.metrics.r_squared > 0.9


def test_numbers_of_another_unit_give_the_same_head_in_that_unit() -> None:
    views, targets = numbers(0)
    one = fitted(views, targets)
    other = fitted(views, replace(targets, matrix=1e6 * targets.matrix - 7))
    np.testing.assert_allclose(other.head.outputs(views), 1e6 * one.head.outputs(views) - 7, rtol=1e-4)


@pytest.mark.parametrize("recipe", [Auto(), Mlp(max_epochs=3)])
def test_the_largest_allowed_numbers_are_predicted(recipe: Recipe) -> None:
    views, targets = numbers(0)
    largest = targets.matrix / np.abs(targets.matrix).max() * MAX_VALUE
    found = fitted(views, replace(targets, matrix=largest), recipe)
    assert np.isfinite(found.head.outputs(views)).all()
    assert np.isfinite(found.metrics.root_mean_squared_error)
    assert np.isfinite(found.metrics.r_squared)


@pytest.mark.parametrize("recipe", [Ridge(), Logistic()])
def test_a_soft_label_without_doubt_is_a_label(recipe: Recipe) -> None:
    views, _ = several(0)
    names = ["ab"[place % 2] for place in range(120)]
    hard = fitted(views, Targets.from_targets([Target.of_label(name) for name in names]), recipe)
    soft = fitted(views, Targets.from_targets([Target.of_shares({name: 1.0}) for name in names]), recipe)
    assert soft.head.weights.tobytes() == hard.head.weights.tobytes()


@pytest.mark.parametrize("recipe", [Auto(), Ridge(), Logistic()])
def test_soft_labels_give_probabilities_as_soft(recipe: Recipe) -> None:
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 200)
    last = (rng.normal(size=(200, 6)) + 8 * np.eye(2, 6)[side]).astype(np.float32)
    shares = np.where(np.eye(2)[side] > 0, 0.7, 0.3)
    targets = Targets.from_targets([Target.of_shares(dict(zip("ab", row, strict=True))) for row in shares])
    outputs = fitted({"last": last}, targets, recipe).head.outputs({"last": last})
    np.testing.assert_allclose(outputs.max(axis=1).mean(), 0.7, atol=0.05)


@pytest.mark.parametrize(
    "recipe", [Ridge(regularization=0.1, temperature=0.2), Logistic(regularization=0.01)]
)
def test_only_how_weights_compare_matters(recipe: Recipe) -> None:
    views, _ = several(0)
    targets = Targets.from_targets([Target.of_label("ab"[place % 2]) for place in range(120)])
    weights = np.random.default_rng(0).uniform(0.1, 5.0, 120)
    one = fitted(views, replace(targets, weights=weights), recipe)
    other = fitted(views, replace(targets, weights=1000 * weights), recipe)
    np.testing.assert_allclose(other.head.weights, one.head.weights, rtol=1e-4, atol=1e-6)
    plain = fitted(views, targets, recipe)
    assert not np.allclose(plain.head.weights, one.head.weights, rtol=1e-2)


@pytest.mark.parametrize("make", [several, numbers])
def test_outputs_out_of_fold_come_in_the_order_of_the_examples(make) -> None:
    views, targets = make(0)
    order = np.random.default_rng(1).permutation(len(targets))
    one = fitted(views, targets)
    other = fit(
        Auto(),
        {name: rows[order] for name, rows in views.items()},
        targets.subset(order),
        [GROUPS[place] for place in order],
        seed=3,
    )
    assert other.outputs.tobytes() == one.outputs[order].tobytes()
    assert other.counted.all()
    assert other.head.weights.tobytes() == one.head.weights.tobytes()


@pytest.mark.parametrize("make", [several, numbers])
def test_a_head_comes_back_from_its_tensors(make) -> None:
    views, targets = make(0)
    head = fitted(views, targets).head
    facts = HeadMetadata(task=head.task, views=head.views, scaling=head.scaling, class_names=head.class_names)
    again = Head.from_tensors(head.tensors(), facts)
    assert again.outputs(views).tobytes() == head.outputs(views).tobytes()
    assert again.thresholds.tobytes() == head.thresholds.tobytes()
    assert again.interval == head.interval


def test_what_is_for_other_tasks_is_refused() -> None:
    with pytest.raises(InvalidField, match="auto or ridge for examples with numbers"):
        fitted(*numbers(0), Logistic())
    with pytest.raises(InvalidField, match="temperature requires single-label examples"):
        fitted(*numbers(0), Ridge(temperature=1.0))
    with pytest.raises(InvalidField, match="balanced requires single-label examples"):
        fitted(*several(0), Ridge(balanced=True))


@pytest.mark.parametrize("make", [several, numbers])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_handful_of_examples_still_gives_a_head(make, count: int) -> None:
    views, targets = make(2, count)
    outputs = fitted(views, targets).head.outputs(views)
    assert np.isfinite(outputs).all()
