"""The temperature: at the optimum where there is one, and bounded otherwise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.heads.temperature import (
    HIGHEST,
    LOWEST,
    PRIOR_MARGIN,
    fit_temperature,
    smoothed_log_loss,
    typical_margin,
)


def mean_log_loss(scores: Float64, shares: Float64, temperature: float) -> float:
    logits = scores / temperature
    return float((np.log(np.exp(logits).sum(axis=1)) - (shares * logits).sum(axis=1)).mean())


def penalized(scores: Float64, shares: Float64, weights: Float64, temperature: float) -> float:
    """Return the smoothed log loss and the prior of the margin, per example."""
    prior = typical_margin(scores, weights) / temperature / PRIOR_MARGIN / float(weights.sum())
    return smoothed_log_loss(scores, shares, weights, temperature) + prior


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(4, 60), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_has_a_lower_loss(seed: int, classes: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    labels, weights = rng.integers(0, classes, count), rng.uniform(0.5, 2.0, count)
    shares = np.eye(classes)[labels]
    scores = shares + noise * rng.normal(size=(count, classes))
    temperature, loss = fit_temperature(scores, shares, weights)
    assert LOWEST <= temperature <= HIGHEST * (1 + 1e-6)
    assert loss == pytest.approx(smoothed_log_loss(scores, shares, weights, temperature))
    tried = [penalized(scores, shares, weights, one) for one in np.geomspace(LOWEST, HIGHEST, 200)]
    assert penalized(scores, shares, weights, temperature) <= min(tried) + 1e-9


@pytest.mark.parametrize("start", [LOWEST / 10, LOWEST, 0.02, 0.5, HIGHEST, 10 * HIGHEST])
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_any_start_leads_to_the_same_temperature(noise: float, start: float) -> None:
    rng = np.random.default_rng(8)
    shares = np.eye(4)[rng.integers(0, 4, 40)]
    scores = shares + noise * rng.normal(size=shares.shape)
    expected = fit_temperature(scores, shares, np.ones(40))
    assert fit_temperature(scores, shares, np.ones(40), start) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("start", [None, LOWEST, 1.0, HIGHEST])
def test_the_ends_of_the_range_are_reached(start: float | None) -> None:
    shares = np.eye(2)[np.arange(400) % 2]
    assert fit_temperature(1e-6 * shares, shares, np.ones(400), start)[0] == LOWEST
    assert fit_temperature(-shares, shares, np.ones(400), start)[0] == HIGHEST


def test_few_separable_examples_do_not_make_it_certain() -> None:
    labels = np.repeat([0, 1], 5)
    scores = np.eye(2)[labels]
    temperature, _ = fit_temperature(scores, scores, np.ones(10))
    # The log loss alone falls until the lowest temperature.
    assert mean_log_loss(scores, scores, LOWEST) < mean_log_loss(scores, scores, temperature)
    # Half an example of ten and a half could be of any class: half of it of the other one. The prior of the
    # margin, which is 1, takes as much again.
    assert 1 / (1 + np.exp(-1 / temperature)) == pytest.approx(1 - 0.25 / 10.5 - 0.25 / 10)


def test_many_separable_examples_make_it_surer() -> None:
    labels = np.repeat([0, 1], 5000)
    temperature, _ = fit_temperature(np.eye(2)[labels], np.eye(2)[labels], np.ones(10_000))
    assert 1 / (1 + np.exp(-1 / temperature)) == pytest.approx(1 - 0.25 / 10_000.5 - 0.25 / 10_000)


def test_copies_of_examples_change_nothing() -> None:
    rng = np.random.default_rng(3)
    shares = np.eye(3)[rng.integers(0, 3, 12)]
    scores = shares + 0.6 * rng.normal(size=shares.shape)
    copies = rng.integers(1, 6, 12)
    once = fit_temperature(scores, shares, np.ones(12))
    often = fit_temperature(
        np.repeat(scores, copies, axis=0), np.repeat(shares, copies, axis=0), np.repeat(1 / copies, copies)
    )
    assert often == pytest.approx(once, rel=1e-6)


def test_the_prior_keeps_few_lucky_answers_from_certainty_and_yields_to_many() -> None:
    # Three of four answers are right on fresh examples, but the first nine all are.
    def scores(count: int, wrong: int) -> tuple[Float64, Float64]:
        shares = np.eye(2)[np.arange(count) % 2]
        predicted = shares.copy()
        predicted[:wrong] = 1 - predicted[:wrong]
        return predicted, shares

    def confidence(count: int, wrong: int) -> float:
        temperature, _ = fit_temperature(*scores(count, wrong), np.ones(count))
        return float(1 / (1 + np.exp(-1 / temperature)))

    assert confidence(10, 1) < 0.9 - 0.02
    assert confidence(1000, 250) == pytest.approx(0.75, abs=0.001)


def test_one_class_and_equal_scores_have_no_margin() -> None:
    assert typical_margin(np.ones((4, 1)), np.ones(4)) == 0
    assert typical_margin(np.ones((4, 3)), np.ones(4)) == 0
    assert typical_margin(np.array([[3.0, 0.0, 1.0], [0.0, 5.0, 4.0]]), np.array([1.0, 0.0])) == 2


@pytest.mark.parametrize("scores", [np.zeros((4, 3)), np.full((4, 3), 1e30), -1e6 * np.eye(4, 3)])
def test_scores_that_say_nothing_or_the_contrary_still_give_one(scores: np.ndarray) -> None:
    temperature, loss = fit_temperature(scores, np.eye(3)[[0, 1, 2, 0]], np.ones(4))
    assert LOWEST <= temperature <= HIGHEST * (1 + 1e-6)
    assert np.isfinite(loss)
