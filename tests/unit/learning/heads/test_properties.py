"""What must hold of every fit, for each kind of task, with weights and without."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.logistic import fit_logistic
from headstart_server.learning.heads.recipe import Auto, Logistic, Recipe, Ridge
from headstart_server.learning.heads.ridge import fit_ridge
from headstart_server.learning.heads.split import Folds, folds_for, strata

Floats = NDArray[np.float64]
NO_FOLDS = Folds(count=0, assignment=np.zeros(0, np.int64), counted=np.zeros(0, np.bool_))
KINDS = st.sampled_from(["hard", "soft", "several", "numbers"])


def targets_of(kind: str, rng: np.random.Generator, n: int, classes: int = 3) -> Targets:
    """Random targets of a kind, with weights that differ a lot."""
    task = {"several": Task.MULTI_LABEL, "numbers": Task.REGRESSION}.get(kind, Task.SINGLE_LABEL)
    matrix = {
        "hard": lambda: np.eye(classes)[np.append(np.arange(classes), rng.integers(0, classes, n - classes))],
        "soft": lambda: rng.dirichlet(np.ones(classes), n),
        "several": lambda: (rng.uniform(size=(n, classes)) < 0.4).astype(np.float64),
        "numbers": lambda: 1000 + 50 * rng.normal(size=(n, 1)),
    }[kind]()
    if kind == "several":
        matrix[0], matrix[1] = 0, 1
    names = () if kind == "numbers" else tuple(f"c{place}" for place in range(classes))
    return Targets(task=task, matrix=matrix, weights=rng.uniform(0.2, 5.0, n), class_names=names)


def refit(rows: Floats, targets: Targets, inside: NDArray[np.bool_], regularization: float) -> Floats:
    """Scores of all rows by scikit-learn's ridge, fitted on those that are not inside."""
    model = SklearnRidge(alpha=regularization, solver="svd")
    model.fit(rows[~inside], targets.matrix[~inside], sample_weight=targets.weights[~inside])
    return model.predict(rows).reshape(len(rows), -1)


@given(st.integers(0, 10_000), KINDS, st.sampled_from([(18, 30), (30, 8)]), st.sampled_from([1e-3, 0.1, 3.0]))
@settings(max_examples=120, deadline=None)
def test_cross_validation_in_closed_form_equals_refitting_for_every_task(
    seed: int, kind: str, shape: tuple[int, int], regularization: float
) -> None:
    rng = np.random.default_rng(seed)
    features, targets = rng.normal(size=shape), targets_of(kind, rng, shape[0])
    groups = [f"{place // 2:03d}" if place % 5 == 0 else f"x{place:03d}" for place in range(shape[0])]
    folds = folds_for(targets, groups, folds=3, seed=seed)
    rows = FeatureMatrix({"last": features}, ("last",), Scaling.STANDARD)
    solved = fit_ridge(rows, targets, folds, regularization=regularization)
    plain = rows.block(slice(None))
    unit = np.std(targets.matrix) if kind == "numbers" else 1.0
    for fold in range(folds.count):
        inside = folds.assignment == fold
        expected = refit(plain, targets, inside, regularization)
        np.testing.assert_allclose(solved.scores[inside], expected[inside], rtol=1e-5, atol=1e-6 * unit)
    everywhere = refit(plain, targets, np.zeros(shape[0], np.bool_), regularization)
    np.testing.assert_allclose(
        features @ solved.weights + solved.bias, everywhere, rtol=1e-4, atol=1e-5 * unit
    )


@given(st.integers(0, 500), st.sampled_from([(20, 40), (60, 8)]), st.sampled_from([1e-3, 1e-2, 0.3]))
@settings(max_examples=25, deadline=None)
def test_several_labels_by_logistic_are_scikit_learns_one_against_the_rest(
    seed: int, shape: tuple[int, int], regularization: float
) -> None:
    rng = np.random.default_rng(seed)
    targets = targets_of("several", rng, shape[0])
    rows = FeatureMatrix({"last": rng.normal(size=shape)}, ("last",), Scaling.STANDARD)
    fitted = fit_logistic(rows, targets, NO_FOLDS, regularization=regularization)
    plain, scale = rows.block(slice(None)), rows.multiplier
    total = targets.weights.sum()
    for place in range(3):
        model = LogisticRegression(
            C=1 / (regularization * total), solver="newton-cg", tol=1e-10, max_iter=1000
        )
        model.fit(plain, targets.matrix[:, place], sample_weight=targets.weights)
        expected = model.coef_[0] * scale
        np.testing.assert_allclose(
            fitted.weights[:, place], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )


def dataset(kind: str, seed: int, n: int = 24, d: int = 10) -> tuple[dict[str, NDArray], Targets, list[str]]:
    rng = np.random.default_rng(seed)
    targets = targets_of(kind, rng, n)
    matrix = targets.matrix / 50 if kind == "numbers" else targets.matrix
    last = (rng.normal(size=(n, d)) + matrix @ rng.normal(size=(matrix.shape[1], d))).astype(np.float32)
    views = {"last": last, "taps": last[:, ::-1] ** 2}
    return views, targets, [f"{place:03d}" for place in range(n)]


RECIPES = st.sampled_from([Auto(), Ridge(scaling=Scaling.ROOT), Logistic()])


@given(st.integers(0, 1000), KINDS, RECIPES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_examples_and_of_classes_changes_nothing(
    seed: int, kind: str, recipe: Recipe, random
) -> None:
    if kind == "numbers" and isinstance(recipe, Logistic):
        recipe = Auto()
    views, targets, groups = dataset(kind, seed)
    one = fit(recipe, views, targets, groups, seed=5)
    order = list(range(len(groups)))
    random.shuffle(order)
    moved = {view: rows[order] for view, rows in views.items()}
    other = fit(recipe, moved, targets.subset(order), [groups[place] for place in order], seed=5)
    assert other.head.weights.tobytes() == one.head.weights.tobytes()
    assert other.metrics == one.metrics
    columns = list(range(targets.matrix.shape[1]))
    random.shuffle(columns)
    renamed = replace(
        targets,
        matrix=targets.matrix[:, columns],
        class_names=tuple(targets.class_names[place] for place in columns) if targets.class_names else (),
    )
    third = fit(recipe, views, renamed, groups, seed=5)
    scale = 1000.0 if kind == "numbers" else 1.0
    np.testing.assert_allclose(
        third.head.outputs(views), one.head.outputs(views)[:, columns], rtol=2e-3, atol=2e-3 * scale
    )


@given(st.integers(0, 1000), st.sampled_from(["hard", "soft"]), RECIPES)
@settings(max_examples=25, deadline=None)
def test_calibrated_probabilities_sum_to_one(seed: int, kind: str, recipe: Recipe) -> None:
    views, targets, groups = dataset(kind, seed)
    found = fit(recipe, views, targets, groups, seed=1)
    np.testing.assert_allclose(found.head.outputs(views).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1.0, rtol=1e-5)


@given(st.integers(0, 1000), KINDS)
@settings(max_examples=40, deadline=None)
def test_duplicates_and_near_duplicates_never_straddle_folds(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    views, targets, _ = dataset(kind, seed, n=30)
    twins = rng.integers(0, 30, 15)
    nearly = views["last"][twins] * (1 + 1e-5 * rng.normal(size=(15, 10))).astype(np.float32)
    last = np.vstack([views["last"], nearly])
    both = targets.subset(np.append(np.arange(30), twins))
    names = [f"{place:03d}" for place in range(45)]
    groups = group_near_duplicates(last, strata(both), names)
    folds = folds_for(both, groups, folds=0, seed=seed)
    assert (folds.assignment[30:] == folds.assignment[twins]).all()


@pytest.mark.parametrize("kind", ["soft", "several"])
def test_more_classes_than_examples_still_give_a_head(kind: str) -> None:
    rng = np.random.default_rng(0)
    targets = targets_of(kind, rng, 20, classes=60)
    last = rng.normal(size=(20, 30)).astype(np.float32)
    for recipe in (Auto(), Logistic()):
        found = fit(recipe, {"last": last}, targets, [f"{place:02d}" for place in range(20)], seed=0)
        assert found.head.weights.shape == (30, 60)
        assert np.isfinite(found.head.outputs({"last": last})).all()


@pytest.mark.parametrize("kind", ["several", "numbers"])
def test_all_duplicates_give_a_head_that_claims_nothing(kind: str) -> None:
    targets = targets_of(kind, np.random.default_rng(0), 12)
    targets = replace(targets, matrix=np.repeat(targets.matrix[:1], 12, axis=0))
    last = np.ones((12, 6), np.float32)
    found = fit(Auto(), {"last": last}, targets, [f"{place:02d}" for place in range(12)], seed=0)
    assert np.isfinite(found.head.outputs({"last": last})).all()
    assert found.outputs is None
    assert not found.counted.any()


@pytest.mark.parametrize("kind", ["hard", "several", "numbers"])
def test_a_hundred_thousand_examples_take_bounded_memory(kind: str) -> None:
    rng = np.random.default_rng(0)
    count, size = 100_000, 64
    last = rng.normal(size=(count, size)).astype(np.float32)
    targets = targets_of(kind, rng, count)
    folds = Folds(count=2, assignment=np.arange(count) % 2, counted=np.ones(count, np.bool_))
    rows = FeatureMatrix({"last": last}, ("last",), Scaling.STANDARD)
    tracemalloc.start()
    fit_ridge(rows, targets, folds, regularization=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Scores and what calibrates them. The rows in double precision alone would be 64 columns.
    assert peak < 45 * count * 8


class StopError(Exception):
    pass


@pytest.mark.parametrize("kind", ["several", "numbers"])
@pytest.mark.parametrize("after", [1, 5, 12])
def test_a_cancelled_solve_ends_at_its_next_checkpoint(kind: str, after: int) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise StopError

    views, targets, groups = dataset(kind, 0, n=60)
    with pytest.raises(StopError):
        fit(Auto(), views, targets, groups, seed=0, checkpoint=checkpoint)
    assert calls == after
