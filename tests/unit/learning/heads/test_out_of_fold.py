"""The interval in which the number of a new input lies."""

import numpy as np
import pytest

from headstart_server.learning.heads.out_of_fold import prediction_interval


@pytest.mark.parametrize("count", [2, 3, 5, 10, 18, 19, 20, 40, 200])
def test_nine_of_ten_new_numbers_lie_in_it_however_few_there_are(count: int) -> None:
    rng = np.random.default_rng(count)
    inside = []
    for _ in range(3000):
        interval = prediction_interval(rng.normal(size=count), np.ones(count))
        assert interval is not None
        inside.append(interval[0] <= rng.normal() <= interval[1])
    assert 0.885 < np.mean(inside) < 0.97


def test_it_follows_residuals_that_lean_to_one_side() -> None:
    residuals = np.random.default_rng(0).exponential(size=2000)
    low, high = prediction_interval(residuals, np.ones(2000))
    assert low == pytest.approx(-np.log(0.95), abs=0.02)
    assert high == pytest.approx(-np.log(0.05), abs=0.3)


def test_a_weight_counts_as_so_many_examples() -> None:
    residuals = np.random.default_rng(0).normal(size=300)
    weights = np.where(residuals > 0, 3.0, 1.0)
    low, high = prediction_interval(residuals, weights)
    repeated = np.repeat(residuals, weights.astype(int))
    expected = prediction_interval(repeated, np.ones(len(repeated)))
    assert (low, high) == pytest.approx(expected, abs=0.1)


def test_one_residual_says_nothing() -> None:
    assert prediction_interval(np.ones(1), np.ones(1)) is None
