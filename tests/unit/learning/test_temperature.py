"""The temperature: at the optimum where there is one, and within reason where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.temperature import (
    HIGHEST,
    LOWEST,
    fit_temperature,
    mean_log_loss,
    smoothed_log_loss,
)


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(4, 60), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_has_a_lower_loss(seed: int, classes: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    labels, weights = rng.integers(0, classes, count), rng.uniform(0.5, 2.0, count)
    shares = np.eye(classes)[labels]
    scores = shares + noise * rng.normal(size=(count, classes))
    temperature, loss = fit_temperature(scores, shares, weights)
    assert LOWEST <= temperature <= HIGHEST * (1 + 1e-6)
    tried = [smoothed_log_loss(scores, shares, weights, one) for one in np.geomspace(LOWEST, HIGHEST, 200)]
    assert loss <= min(tried) + 1e-9


def test_few_separable_examples_do_not_make_it_certain() -> None:
    labels = np.repeat([0, 1], 5)
    scores = np.eye(2)[labels]
    temperature, _ = fit_temperature(scores, scores, np.ones(10))
    # The log loss alone falls until the lowest temperature.
    assert mean_log_loss(scores, scores, LOWEST) < mean_log_loss(scores, scores, temperature)
    # Half an example of ten and a half could be of any class: half of it of the other one.
    assert 1 / (1 + np.exp(-1 / temperature)) == pytest.approx(1 - 0.25 / 10.5)


def test_many_separable_examples_make_it_surer() -> None:
    labels = np.repeat([0, 1], 5000)
    temperature, _ = fit_temperature(np.eye(2)[labels], np.eye(2)[labels], np.ones(10_000))
    assert 1 / (1 + np.exp(-1 / temperature)) == pytest.approx(1 - 0.25 / 10_000.5)


@pytest.mark.parametrize("scores", [np.zeros((4, 3)), np.full((4, 3), 1e30), -1e6 * np.eye(4, 3)])
def test_scores_that_say_nothing_or_the_contrary_still_give_one(scores: np.ndarray) -> None:
    temperature, loss = fit_temperature(scores, np.eye(3)[[0, 1, 2, 0]], np.ones(4))
    assert LOWEST <= temperature <= HIGHEST * (1 + 1e-6)
    assert np.isfinite(loss)
