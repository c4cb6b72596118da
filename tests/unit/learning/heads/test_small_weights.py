"""Weights and shares of classes that are tiny relative to others."""

from dataclasses import replace

import numpy as np
import pytest

from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.features.feature_matrix import Float32, Float64, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Recipe, Ridge

COUNT = 60
LABELS = np.arange(COUNT) % 2
GROUPS = [f"{place:02d}" for place in range(COUNT)]
RECIPES = [Auto(), Ridge(scaling=Scaling.STANDARD), Logistic(), Mlp(max_epochs=3)]


def rows(size: int) -> dict[str, Float32]:
    """Return features of two classes that overlap a little."""
    noise = np.random.default_rng(0).normal(size=(COUNT, size))
    return {"last": (noise + 5 / np.sqrt(size) * LABELS[:, None]).astype(np.float32)}


def weighted(weights: Float64) -> Targets:
    return replace(Targets.of_labels(LABELS, ["a", "b"]), weights=weights)


def with_share(share: float) -> Targets:
    """Return labels of which one, a soft one, has a share of a third class."""
    targets = [Target.of_label("ab"[label]) for label in LABELS]
    return Targets.from_targets([Target.of_shares({"a": 1.0 - share, "c": share}), *targets[1:]])


def fitted(recipe: Recipe, targets: Targets, size: int = 100) -> FittedHead:
    return fit(recipe, rows(size), targets, GROUPS, seed=0)


def first_two(first: float, second: float) -> Float64:
    return np.concatenate([[first, second], np.ones(COUNT - 2)])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize(
    "targets",
    [weighted(np.where(LABELS, 1e-310, 1.0)), weighted(first_two(5e-324, 1e6)), with_share(1e-310)],
    ids=["class", "example", "share"],
)
def test_the_smallest_allowed_weights_and_shares_are_fitted(
    recipe: Recipe, size: int, targets: Targets
) -> None:
    found = fitted(recipe, targets, size)
    assert found.outputs is not None
    assert found.metrics.log_loss is not None
    for figures in (found.outputs, found.head.weights, found.head.bias, found.metrics.log_loss):
        assert np.isfinite(figures).all()


@pytest.mark.parametrize("halvings", [80, 104, 120, 1000])
def test_examples_of_decayed_weight_are_predicted_out_of_fold_as_before(halvings: int) -> None:
    old = np.arange(COUNT) < COUNT // 2
    recipe = Ridge(scaling=Scaling.STANDARD)
    before, after = (
        fitted(recipe, weighted(np.where(old, 2.0**-exponent, 1.0))) for exponent in (30, halvings)
    )
    assert before.outputs is not None
    assert after.outputs is not None
    np.testing.assert_allclose(after.outputs, before.outputs, atol=1e-3)


@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-12, 1e-310])
def test_a_class_of_a_tiny_share_is_not_predicted_everywhere(share: float) -> None:
    found = fitted(Logistic(), with_share(share))
    assert found.recipe.balanced
    assert (found.metrics.accuracy or 0) > 0.9
