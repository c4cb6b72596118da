"""Slopes, offsets and thresholds of several labels: at the optimum, drawn together where examples are few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.heads import platt
from headstart_server.learning.heads.calibration import sigmoid
from headstart_server.learning.heads.out_of_fold import OWN_FROM, UNKNOWN, fit_thresholds
from headstart_server.learning.heads.platt import fit_platt


def scored(seed: int, count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose true log odds are 6 s - 3, for each class shifted by a little."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.3, 0.4, size=(count, classes))
    shift = np.linspace(-0.5, 0.5, classes)
    has = rng.uniform(size=scores.shape) < sigmoid(6 * scores - 3 + shift)
    return scores, has.astype(np.float64), rng.uniform(0.5, 2.0, count)


def test_with_many_examples_each_class_gets_its_own() -> None:
    scores, has, weights = scored(0, 20_000)
    slopes, offsets, _ = fit_platt(scores, has, weights)
    np.testing.assert_allclose(slopes, 6.0, rtol=0.1)
    np.testing.assert_allclose(offsets, -3 + np.linspace(-0.5, 0.5, 3), atol=0.2)


def test_a_class_without_examples_behaves_like_all_together_but_rarer() -> None:
    scores, has, weights = scored(0, 400, 6)
    has[:, 0] = 0.0
    slopes, offsets, _ = fit_platt(scores, has, weights)
    assert 0.3 < slopes[0] / slopes[1:].mean() < 2.0
    likely = sigmoid(slopes * scores + offsets)
    assert 0 < likely[:, 0].mean() < 0.05
    np.testing.assert_allclose(likely[:, 1:].mean(axis=0), has[:, 1:].mean(axis=0), atol=0.03)


def test_separable_scores_do_not_make_it_certain() -> None:
    has = np.repeat([[0.0], [1.0]], 5, axis=0)
    slopes, offsets, loss = fit_platt(has, has, np.ones(10))
    likely = sigmoid(slopes * has + offsets)
    assert 0.6 < likely[-1, 0] < 0.95
    assert np.isfinite(loss)


@pytest.mark.parametrize("value", [0.0, 1e30, -5.0])
def test_equal_scores_give_the_class_frequencies(value: float) -> None:
    has = np.array([[1.0, 0.0]] * 30 + [[0.0, 0.0]] * 30)
    slopes, offsets, _ = fit_platt(np.full((60, 2), value), has, np.ones(60))
    likely = sigmoid(slopes * value + offsets)
    assert 0.4 < likely[0] < 0.6
    assert likely[1] < 0.15


@given(st.integers(0, 300), st.integers(4, 60))
@settings(max_examples=30, deadline=None)
def test_another_unit_of_scores_changes_no_probability(seed: int, count: int) -> None:
    scores, has, weights = scored(seed, count)
    slopes, offsets, loss = fit_platt(scores, has, weights)
    others, moved, same = fit_platt(1000 * scores + 5, has, weights)
    np.testing.assert_allclose(
        sigmoid(others * (1000 * scores + 5) + moved), sigmoid(slopes * scores + offsets), atol=1e-6
    )
    assert same == pytest.approx(loss, rel=1e-6)


def test_blocks_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, has, weights = scored(1, 100)
    whole = fit_platt(scores, has, weights)
    monkeypatch.setattr(platt, "_BLOCK", 20)
    for one, other in zip(fit_platt(scores, has, weights), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@given(st.integers(0, 300))
@settings(max_examples=25, deadline=None)
def test_no_other_threshold_has_a_higher_f1(seed: int) -> None:
    scores, has, weights = scored(seed, 120)
    likely = sigmoid(6 * scores - 3)
    thresholds = fit_thresholds(likely, has, weights)
    for place, threshold in enumerate(thresholds):
        if OWN_FROM <= has[:, place].sum() <= 120 - OWN_FROM:
            predicted = likely[:, place] >= np.array([threshold, *np.linspace(0, 1, 100)])[:, None]
            right = (weights * predicted) @ has[:, place]
            best, *others = 2 * right / (predicted @ weights + weights @ has[:, place])
            assert best >= max(others) - 1e-12


def test_a_rare_class_takes_the_threshold_of_all_together() -> None:
    scores, has, weights = scored(0, 200)
    has[:, 2] = 0.0
    has[:3, 2] = 1.0
    thresholds = fit_thresholds(sigmoid(6 * scores - 3), has, weights)
    assert 0.1 < thresholds[2] < 0.9
    assert fit_thresholds(np.full((4, 1), 0.3), np.zeros((4, 1)), np.ones(4)).tolist() == [UNKNOWN]
