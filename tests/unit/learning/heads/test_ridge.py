"""The closed forms of ridge against plain refits and against scikit-learn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import Ridge as SklearnRidge

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling, normalized
from headstart_server.learning.heads.ridge import (
    REGULARIZATIONS,
    SINGLE_SHOT_REGULARIZATION,
    WALK_ABOVE,
    fit_ridge,
)
from headstart_server.learning.heads.solver_result import SolverResult
from headstart_server.learning.heads.split import Folds, assign_folds
from headstart_server.learning.heads.temperature import PRIOR_MARGIN, SINGLE_SHOT_TEMPERATURE

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Features, labels and folds of a small classification task."""

    features: Floats
    labels: NDArray[np.int64]
    classes: int
    folds: Folds

    @property
    def targets(self) -> Targets:
        return targets_of(self.labels, self.classes)

    def fit(self, **choices: Any) -> SolverResult:
        return fit_ridge(rows_of(self.features), self.targets, self.folds, **choices)


def targets_of(labels: NDArray[np.int64], classes: int) -> Targets:
    return Targets.of_labels(labels, [str(place) for place in range(classes)])


def rows_of(features: Floats) -> FeatureMatrix:
    return FeatureMatrix({"last": features}, ("last",), Scaling.UNIT)


def problem(seed: int, *, n: int, d: int, classes: int, folds: int = 0, noise: float = 1.0) -> Problem:
    """Gaussian classes with a few exact duplicates, far from the origin and of odd scale."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    groups = [f"{label}/{index if index % 5 else 0}" for index, label in enumerate(labels)]
    centers = rng.normal(size=(classes, d))
    by_group = {group: rng.normal(size=d) for group in sorted(set(groups))}
    rows = np.stack(
        [centers[label] + noise * by_group[group] for label, group in zip(labels, groups, strict=True)]
    )
    return Problem(
        features=normalized(1.0 + rows),
        labels=labels,
        classes=classes,
        folds=assign_folds(labels, groups, folds=folds, seed=seed),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    classes = draw(st.integers(2, 4))
    return problem(
        draw(st.integers(0, 10_000)),
        n=draw(st.integers(2 * classes, 24)),
        d=draw(st.integers(2, 30)),
        classes=classes,
        folds=draw(st.sampled_from([0, 2, 3, 7])),
        noise=draw(st.sampled_from([0.2, 1.0])),
    )


def scaled(features: Floats) -> tuple[Floats, Floats, float]:
    """Features brought to mean length 1 around their center, as the penalty's unit is defined."""
    mean = features.mean(axis=0)
    scale = 1.0 / np.linalg.norm(features - mean, axis=1).mean()
    return (features - mean) * scale, mean, scale


def refit(
    rows: Floats, targets: Floats, regularization: float, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Ridge with a free intercept as one least-squares problem: penalties are further rows, the intercept
    a further column of ones that no penalty touches."""
    n, d = rows.shape
    system = np.zeros((n + d, d + 1))
    system[:n, :d], system[:n, d] = rows, 1.0
    system[n:, :d] = np.sqrt(regularization) * np.eye(d)
    wanted = np.vstack([targets, np.zeros((d, targets.shape[1]))])
    if weights is not None:
        system[:n] *= np.sqrt(weights)[:, None]
        wanted[:n] *= np.sqrt(weights)[:, None]
    solution = np.linalg.lstsq(system, wanted, rcond=None)[0]
    return solution[:d], solution[d]


def refitted_scores(task: Problem, regularization: float, weights: Floats | None = None) -> Floats:
    """Out-of-fold scores, from one real refit without each fold."""
    rows, _, _ = scaled(task.features)
    targets = np.eye(task.classes)[task.labels]
    scores = np.zeros((len(rows), task.classes))
    for fold in range(task.folds.count):
        inside = task.folds.assignment == fold
        solution, bias = refit(
            rows[~inside], targets[~inside], regularization, None if weights is None else weights[~inside]
        )
        scores[inside] = rows[inside] @ solution + bias
    return scores


def mean_log_losses(scores: Floats, task: Problem, temperatures: Floats, *, smoothed: bool = False) -> Floats:
    counted = task.folds.counted
    once = task.folds.weights_once(np.ones(len(counted)))[counted]
    logits = scores[counted][None] / temperatures[:, None, None]
    logits -= logits.max(axis=2, keepdims=True)
    right = logits[:, np.arange(counted.sum()), task.labels[counted]]
    smoothing = 0.5 / (once.sum() + 0.5) if smoothed else 0.0
    wanted = (1 - smoothing) * right + smoothing * logits.mean(axis=2)
    return np.average(np.log(np.exp(logits).sum(axis=2)) - wanted, axis=1, weights=once)


def best_temperature(scores: Floats, task: Problem, temperatures: Floats) -> int:
    """Return the place of the temperature of the lowest smoothed log loss with the prior of the margin."""
    counted = np.sort(scores[task.folds.counted], axis=1)
    once = task.folds.weights_once(np.ones(len(task.labels)))[task.folds.counted]
    margin = np.sqrt(np.average(np.square(counted[:, -1] - counted[:, -2]), weights=once))
    prior = margin / PRIOR_MARGIN / once.sum() / temperatures
    return int(np.argmin(mean_log_losses(scores, task, temperatures, smoothed=True) + prior))


def mean_log_loss(scores: Floats, task: Problem, temperature: float) -> float:
    return float(mean_log_losses(scores, task, np.array([temperature]))[0])


@given(problems(), st.sampled_from([1e-3, 0.03, 1.0, 30.0]), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=120, deadline=None)
def test_cross_validation_in_closed_form_equals_refitting_without_each_fold(
    task: Problem, regularization: float, temperature: float
) -> None:
    fitted = task.fit(regularization=regularization, temperature=temperature)
    scores = refitted_scores(task, regularization)
    np.testing.assert_allclose(fitted.scores, scores, rtol=1e-6, atol=1e-7)
    assert fitted.calibration.temperature == temperature


@given(problems(), st.sampled_from([1e-3, 0.1, 3.0]))
@settings(max_examples=60, deadline=None)
def test_with_weights_the_closed_form_equals_refitting_too(task: Problem, regularization: float) -> None:
    weights = np.random.default_rng(len(task.labels)).uniform(0.2, 5.0, len(task.labels))
    fitted = task.fit(weights=weights, regularization=regularization, temperature=0.3)
    scores = refitted_scores(task, regularization, weights)
    np.testing.assert_allclose(fitted.scores, scores, rtol=1e-6, atol=1e-7)
    theirs = SklearnRidge(alpha=regularization, solver="svd").fit(
        scaled(task.features)[0], np.eye(task.classes)[task.labels], sample_weight=weights
    )
    wanted = theirs.coef_.T * scaled(task.features)[2]
    np.testing.assert_allclose(fitted.weights, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("near", [None, REGULARIZATIONS[0], 1.0, REGULARIZATIONS[-1]])
def test_above_some_hundred_examples_the_walk_finds_what_trying_each_finds(near: float | None) -> None:
    task = problem(4, n=WALK_ABOVE + 50, d=12, classes=4, noise=2.0)
    walked = task.fit(near=near)
    losses = {tried: task.fit(regularization=tried).loss for tried in REGULARIZATIONS}
    assert walked.loss == losses[walked.regularization]
    assert walked.loss <= min(losses.values()) * 1.01


@pytest.mark.parametrize(("n", "d"), [(20, 40), (40, 12)], ids=["dual", "primal"])
def test_both_forms_are_cross_validated_as_refits_are(n: int, d: int) -> None:
    task = problem(3, n=n, d=d, classes=3)
    fitted = task.fit(regularization=0.1, temperature=0.2)
    np.testing.assert_allclose(fitted.scores, refitted_scores(task, 0.1), rtol=1e-8, atol=1e-9)


@given(problems(), st.sampled_from([1e-3, 0.1, 1.0, 100.0]))
@settings(max_examples=80, deadline=None)
def test_the_solution_is_the_one_of_scikit_learn(task: Problem, regularization: float) -> None:
    fitted = task.fit(regularization=regularization, temperature=1.0)
    rows, mean, scale = scaled(task.features)
    theirs = SklearnRidge(alpha=regularization, solver="svd").fit(rows, np.eye(task.classes)[task.labels])
    weights = theirs.coef_.T * scale
    bound = 1e-4 * np.abs(weights).max()
    np.testing.assert_allclose(fitted.weights, weights, rtol=1e-4, atol=bound)
    np.testing.assert_allclose(fitted.bias, theirs.intercept_ - mean @ weights, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_the_dual_form_equals_the_primal_form(seed: int, classes: int, d: int) -> None:
    primal = problem(seed, n=24, d=d, classes=classes)
    # Columns of zeros change nothing but the shape, and so the form.
    wide = np.hstack([primal.features, np.zeros((24, 30 - d))])
    dual = Problem(features=wide, labels=primal.labels, classes=classes, folds=primal.folds)
    for choices in ({"regularization": 0.1, "temperature": 0.3}, {}):
        one, other = primal.fit(**choices), dual.fit(**choices)
        assert one.regularization == other.regularization
        assert one.calibration.temperature == pytest.approx(other.calibration.temperature, rel=1e-5)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other.weights[:d], one.weights, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(other.weights[d:], 0.0, atol=1e-9)
        np.testing.assert_allclose(other.bias, one.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(24, 40), (80, 10)], ids=["dual", "primal"])
@pytest.mark.parametrize("seed", range(4))
def test_regularization_and_temperature_are_those_of_the_lowest_out_of_fold_log_loss(
    n: int, d: int, seed: int
) -> None:
    task = problem(seed, n=n, d=d, classes=3)
    fitted = task.fit()
    fine = np.geomspace(0.01, 2.0, 400)
    scores = {tried: refitted_scores(task, tried) for tried in REGULARIZATIONS}
    losses = {}
    for tried in REGULARIZATIONS:
        best = fine[[best_temperature(scores[tried], task, fine)]]
        losses[tried] = mean_log_losses(scores[tried], task, best, smoothed=True)[0]
    assert fitted.regularization in REGULARIZATIONS
    chosen = fitted.regularization
    assert losses[chosen] <= min(losses.values()) * 1.01
    at_choice = np.array([fitted.calibration.temperature])
    assert fitted.loss == pytest.approx(mean_log_losses(scores[chosen], task, at_choice, smoothed=True)[0])
    assert fitted.loss == pytest.approx(losses[chosen], rel=1e-2)
    assert mean_log_loss(fitted.scores, task, fitted.calibration.temperature) == pytest.approx(
        mean_log_loss(scores[chosen], task, fitted.calibration.temperature)
    )


def test_a_given_regularization_still_has_its_temperature_chosen() -> None:
    task = problem(1, n=30, d=10, classes=3)
    fitted = task.fit(regularization=1.0)
    assert fitted.regularization == 1.0
    scores = refitted_scores(task, 1.0)
    tried = fitted.calibration.temperature * np.array([0.98, 1.0, 1.02])
    assert best_temperature(scores, task, tried) == 1


def test_classes_with_a_single_example_do_not_count_for_the_log_loss() -> None:
    rng = np.random.default_rng(5)
    features = normalized(rng.normal(size=(13, 6)))
    labels = np.array([0] * 6 + [1] * 6 + [2])
    folds = assign_folds(labels, [str(index) for index in range(13)], folds=3, seed=0)
    task = Problem(features=features, labels=labels, classes=3, folds=folds)
    assert folds.counted.tolist() == [True] * 12 + [False]
    fitted = task.fit(regularization=0.1, temperature=0.3)
    # Over those that count alone.
    expected = mean_log_losses(refitted_scores(task, 0.1), task, np.array([0.3]), smoothed=True)[0]
    assert fitted.loss == pytest.approx(expected, rel=1e-9)


def test_a_single_shot_takes_the_constants_and_claims_nothing() -> None:
    features = np.eye(3, 5)
    labels = np.arange(3)
    folds = assign_folds(labels, ["a", "b", "c"], folds=0, seed=0)
    fitted = fit_ridge(rows_of(features), targets_of(labels, 3), folds)
    assert fitted.regularization == SINGLE_SHOT_REGULARIZATION
    assert fitted.calibration.temperature == SINGLE_SHOT_TEMPERATURE
    assert fitted.loss is None
    assert fitted.scores is None
    assert (features @ fitted.weights + fitted.bias).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_single_shot_keeps_what_was_given() -> None:
    labels = np.arange(2)
    folds = assign_folds(labels, ["a", "b"], folds=0, seed=0)
    fitted = fit_ridge(rows_of(np.eye(2)), targets_of(labels, 2), folds, regularization=3.0, temperature=0.7)
    assert (fitted.regularization, fitted.calibration.temperature) == (3.0, 0.7)


@pytest.mark.parametrize(("n", "d"), [(20, 30), (30, 8)], ids=["dual", "primal"])
def test_repeated_runs_give_the_same_bits(n: int, d: int) -> None:
    task = problem(9, n=n, d=d, classes=4)
    one, other = task.fit(), task.fit()
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.bias.tobytes() == other.bias.tobytes()
    assert (one.regularization, one.calibration.temperature, one.loss) == (
        other.regularization,
        other.calibration.temperature,
        other.loss,
    )


class StopError(Exception):
    pass


@pytest.mark.parametrize(("n", "d"), [(20, 30), (30, 8)], ids=["dual", "primal"])
def test_the_checkpoint_is_called_between_folds_and_can_stop(n: int, d: int) -> None:
    task = problem(2, n=n, d=d, classes=2)
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise StopError

    with pytest.raises(StopError):
        fit_ridge(rows_of(task.features), task.targets, task.folds, checkpoint=checkpoint)
    assert calls == 4

    fit_ridge(rows_of(task.features), task.targets, task.folds, checkpoint=checkpoint)
    assert calls > 4 + task.folds.count


@pytest.mark.parametrize("d", [3, 40], ids=["primal", "dual"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
def test_examples_that_all_look_the_same_give_the_shares_of_the_classes(d: int, value: float) -> None:
    labels = np.array([0] * 6 + [1] * 3)
    folds = assign_folds(labels, [str(index) for index in range(9)], folds=3, seed=0)
    features = np.full((9, d), value / np.sqrt(d))
    fitted = fit_ridge(rows_of(features), targets_of(labels, 2), folds)
    assert np.abs(fitted.weights).max() < 1e-3
    np.testing.assert_allclose(features @ fitted.weights + fitted.bias, [[2 / 3, 1 / 3]] * 9, atol=1e-6)


@given(problems(), st.sampled_from([1e-9, 1e-6, 1e6, 1e9]))
@settings(max_examples=60, deadline=None)
def test_the_most_extreme_regularizations_give_finite_numbers(task: Problem, regularization: float) -> None:
    fitted = task.fit(regularization=regularization)
    assert np.isfinite(fitted.weights).all()
    assert np.isfinite(fitted.bias).all()
    assert fitted.loss is not None
    assert np.isfinite(fitted.loss)


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_the_most_extreme_temperatures_give_finite_numbers(temperature: float) -> None:
    fitted = problem(0, n=20, d=5, classes=3).fit(temperature=temperature)
    assert fitted.calibration.temperature == temperature
    assert fitted.loss is not None
    assert np.isfinite(fitted.loss)
