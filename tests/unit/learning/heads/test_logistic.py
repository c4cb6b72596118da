"""Logistic regression against scikit-learn, with weights and soft labels, and stopped by time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling, normalized
from headstart_server.learning.heads.calibration import softmax
from headstart_server.learning.heads.lbfgs import StopReason, minimize
from headstart_server.learning.heads.logistic import REGULARIZATIONS, fit_logistic
from headstart_server.learning.heads.solver_result import SolverResult
from headstart_server.learning.heads.split import Folds, assign_folds

Floats = NDArray[np.float64]
NO_FOLDS = Folds(count=0, assignment=np.zeros(0, np.int64), counted=np.zeros(0, np.bool_))


def soft(shares: Floats) -> Targets:
    names = tuple(str(place) for place in range(shares.shape[1]))
    return Targets(task=Task.SINGLE_LABEL, matrix=shares, weights=np.ones(len(shares)), class_names=names)


def problem(
    seed: int, *, n: int, d: int, classes: int = 3
) -> tuple[FeatureMatrix, Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    features = normalized(1.0 + rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d)))
    return FeatureMatrix({"last": features}, ("last",), Scaling.UNIT), features, labels


def theirs(
    features: Floats, labels: NDArray[np.int64], regularization: float, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Scikit-learn's weights and intercept, for features as they were given."""
    mean = features.mean(axis=0)
    scale = 1 / np.linalg.norm(features - mean, axis=1).mean()
    total = len(labels) if weights is None else weights.sum()
    model = LogisticRegression(C=1 / (regularization * total), solver="newton-cg", tol=1e-10, max_iter=1000)
    model.fit((features - mean) * scale, labels, sample_weight=weights)
    return model.coef_.T * scale, model.intercept_ - mean @ (model.coef_.T * scale)


def centred(scores: Floats) -> Floats:
    return scores - scores.mean(axis=-1, keepdims=True)


@given(st.integers(0, 500), st.sampled_from([(20, 40), (60, 8)]), st.sampled_from([1e-3, 1e-2, 0.3]))
@settings(max_examples=25, deadline=None)
def test_the_solution_is_the_one_of_scikit_learn(
    seed: int, shape: tuple[int, int], regularization: float
) -> None:
    rows, features, labels = problem(seed, n=shape[0], d=shape[1])
    weights = np.random.default_rng(seed).uniform(0.3, 3.0, len(labels)) if seed % 2 else None
    fitted = fit_logistic(
        rows, soft(np.eye(3)[labels]), NO_FOLDS, weights=weights, regularization=regularization
    )
    coefficients, intercept = theirs(features, labels, regularization, weights)
    assert fitted.stop_reason is StopReason.CONVERGED
    bound = 1e-4 * np.abs(coefficients).max()
    np.testing.assert_allclose(fitted.weights, coefficients, rtol=1e-4, atol=bound)
    np.testing.assert_allclose(centred(fitted.bias), centred(intercept), rtol=1e-4, atol=1e-3)


def test_a_soft_label_is_worth_its_parts_as_weighted_examples() -> None:
    rows, features, _ = problem(1, n=12, d=6)
    targets = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    one = fit_logistic(rows, soft(targets), NO_FOLDS, regularization=0.01)
    parts = FeatureMatrix({"last": np.repeat(features, 3, axis=0)}, ("last",), Scaling.UNIT)
    hard = fit_logistic(
        parts, soft(np.tile(np.eye(3), (12, 1))), NO_FOLDS, weights=targets.ravel(), regularization=0.01
    )
    np.testing.assert_allclose(one.weights, hard.weights, rtol=1e-4, atol=1e-6)


def chosen(seed: int = 0, **settings: object) -> tuple[SolverResult, Floats, NDArray[np.int64]]:
    rows, features, labels = problem(seed, n=60, d=10)
    folds = assign_folds(labels, [f"{place:02d}" for place in range(60)], folds=5, seed=seed)
    return fit_logistic(rows, soft(np.eye(3)[labels]), folds, **settings), features, labels


def test_cross_validation_is_that_of_refits() -> None:
    fitted, features, labels = chosen(regularization=0.01, temperature=1.0)
    folds = assign_folds(labels, [f"{place:02d}" for place in range(60)], folds=5, seed=0)
    mean = features.mean(axis=0)
    rows = (features - mean) / np.linalg.norm(features - mean, axis=1).mean()
    likelihood = np.zeros(60)
    for fold in range(5):
        kept = folds.assignment != fold
        model = LogisticRegression(C=1 / (0.01 * kept.sum()), tol=1e-8, max_iter=1000)
        answered = model.fit(rows[kept], labels[kept]).predict_proba(rows[~kept])
        likelihood[~kept] = answered[np.arange((~kept).sum()), labels[~kept]]
    answered = fitted.calibration.outputs(fitted.scores)[np.arange(60), labels]
    assert -np.log(answered).mean() == pytest.approx(-np.log(likelihood).mean(), rel=1e-3)


def test_what_is_not_given_is_chosen_and_chosen_again() -> None:
    one, other = chosen()[0], chosen()[0]
    assert one.regularization in REGULARIZATIONS
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.calibration.temperature == other.calibration.temperature
    assert one.scores is not None


def test_a_balanced_head_takes_the_shares_of_the_classes_off() -> None:
    rows, _, labels = problem(3, n=40, d=6)
    targets = np.eye(3)[labels]
    plain = fit_logistic(rows, soft(targets), NO_FOLDS, regularization=0.01)
    balanced = fit_logistic(rows, soft(targets), NO_FOLDS, regularization=0.01, balanced=True)
    np.testing.assert_allclose(balanced.weights, plain.weights, rtol=1e-3)
    np.testing.assert_allclose(plain.bias - balanced.bias, np.log(targets.mean(axis=0)), atol=1e-4)


def test_when_the_time_is_up_the_best_so_far_is_taken() -> None:
    ticks = iter(range(10_000))
    fitted = chosen(time_budget=30.0, clock=lambda: float(next(ticks)))[0]
    assert fitted.stop_reason is StopReason.TIME
    assert np.isfinite(fitted.weights).all()
    assert chosen(time_budget=1e9)[0].stop_reason is StopReason.CONVERGED


class StopError(Exception):
    pass


def test_the_checkpoint_can_stop_it() -> None:
    def checkpoint() -> None:
        raise StopError

    with pytest.raises(StopError):
        chosen(checkpoint=checkpoint)


def test_separable_examples_and_rows_all_alike_give_probabilities() -> None:
    labels = np.array([0, 0, 1, 1])
    for features in (np.eye(4), np.ones((4, 3))):
        rows = FeatureMatrix({"last": features}, ("last",), Scaling.UNIT)
        folds = assign_folds(labels, list("abcd"), folds=2, seed=0)
        fitted = fit_logistic(rows, soft(np.eye(2)[labels]), folds)
        answered = softmax(
            (normalized(features) @ fitted.weights + fitted.bias) / fitted.calibration.temperature
        )
        np.testing.assert_allclose(answered.sum(axis=1), 1.0)


def test_a_quadratic_is_brought_to_its_minimum_and_steps_are_counted() -> None:
    curvature = np.array([1.0, 10.0, 100.0])

    def evaluate(point: Floats) -> tuple[float, Floats]:
        return float(0.5 * curvature @ (point - 1) ** 2), curvature * (point - 1)

    found = minimize(evaluate, np.zeros(3), tolerance=1e-10, max_steps=100)
    assert found.reason is StopReason.CONVERGED
    np.testing.assert_allclose(found.point, 1.0, rtol=1e-8)
    assert minimize(evaluate, np.zeros(3), tolerance=1e-10, max_steps=2).reason is StopReason.STEPS
