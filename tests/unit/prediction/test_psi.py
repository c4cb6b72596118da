"""The population stability index: what it is of known shares, and what chance makes of it."""

from math import log

import numpy as np
import pytest

from headstart_server.prediction.prediction_drift import population_stability_index


def test_it_equals_its_formula_with_many_predictions() -> None:
    before, now = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    # Two terms of 0.3 ln 2.5.
    assert population_stability_index(before * 1e7, now * 1e7) == pytest.approx(2 * 0.3 * log(2.5), rel=1e-4)


def test_it_is_zero_without_drift() -> None:
    assert population_stability_index(np.array([50.0, 30, 20]), np.array([500.0, 300, 200])) == 0.0


@pytest.mark.parametrize("kinds", [2, 5, 20])
@pytest.mark.parametrize(("before", "now"), [(200, 200), (1000, 2000)])
def test_chance_rarely_raises_an_alarm(kinds: int, before: int, now: int) -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(kinds, 5.0))
    indexes = [
        population_stability_index(
            rng.multinomial(before, shares).astype(float), rng.multinomial(now, shares).astype(float)
        )
        for _ in range(400)
    ]
    assert np.mean(np.array(indexes) > 0.25) < 0.005
    assert np.median(indexes) < 0.02


def test_an_unexpected_category_does_not_make_it_infinite() -> None:
    index = population_stability_index(np.array([100.0, 0.0]), np.array([50.0, 50.0]))
    assert 1.0 < index < 5.0


def test_it_grows_with_the_drift() -> None:
    before = np.array([500.0, 300, 200])
    indexes = [
        population_stability_index(before, np.array([500 - step, 300.0, 200 + step]))
        for step in range(0, 400, 50)
    ]
    assert indexes == sorted(indexes)
    assert indexes[-1] > 0.25
