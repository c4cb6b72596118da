"""Paired tests and intervals compared with SciPy's and with their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart_server.learning.metrics.paired_tests import (
    EXACT_UP_TO,
    mcnemar_p,
    mean_interval,
    share_difference_interval,
    signed_rank_p,
    t_quantile,
)

counts = st.integers(0, 300)


@given(counts, counts)
def test_mcnemar_is_the_two_sided_sign_test(only_first: int, only_second: int) -> None:
    if only_first + only_second:
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
    else:
        expected = 1.0
    assert mcnemar_p(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_takes_a_hundred_thousand_examples() -> None:
    expected = stats.binomtest(49_500, 100_000).pvalue
    assert mcnemar_p(49_500, 50_500) == pytest.approx(expected, rel=1e-6)
    assert mcnemar_p(0, 100_000) == 0.0


def test_the_interval_of_a_difference_is_that_of_agresti_and_min() -> None:
    # The table of their section 2: 794 + 150 + 86 + 570 approvals of a prime minister, in two surveys.
    low, high = share_difference_interval(150, 86, 1600)
    total, difference = 1602, (86.5 - 150.5) / 1602
    half = 1.959964 * np.sqrt(((86.5 + 150.5) / total - difference**2) / total)
    assert (low, high) == pytest.approx((difference - half, difference + half))


@given(counts, counts, counts)
def test_the_interval_holds_the_difference_and_turns_with_the_sides(
    first: int, second: int, both: int
) -> None:
    count = first + second + both + 1
    low, high = share_difference_interval(first, second, count)
    assert -1 <= low <= (second - first) / count <= high <= 1
    assert share_difference_interval(second, first, count) == pytest.approx((-high, -low))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        first, second, _, _ = rng.multinomial(60, [0.1, 0.2, 0.5, 0.2]).tolist()
        low, high = share_difference_interval(first, second, 60)
        covered += low <= 0.1 <= high
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 13, 30, 100, 10_000])
def test_quantiles_are_those_of_students_t(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(
        stats.t.ppf(0.975, freedom), rel=1e-2 if freedom < 8 else 1e-4
    )


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    differences = np.random.default_rng(1).normal(0.3, 2, 40)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert mean_interval(differences) == pytest.approx((expected.low, expected.high), rel=1e-4)
    assert mean_interval(differences, np.full(40, 7.0)) == pytest.approx(mean_interval(differences))


def test_an_example_that_hardly_counts_hardly_moves_the_interval() -> None:
    differences = np.append(np.random.default_rng(1).normal(0.3, 2, 40), 1e3)
    weights = np.append(np.ones(40), 1e-9)
    assert mean_interval(differences, weights) == pytest.approx(mean_interval(differences[:40]), rel=2e-2)


def test_one_pair_has_an_infinite_interval() -> None:
    assert mean_interval(np.array([3.0])) == (-np.inf, np.inf)


@pytest.mark.parametrize("count", [1, 2, 7, 20, EXACT_UP_TO])
def test_few_ranks_without_ties_are_counted_as_scipy_does(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.4, 1, count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


def test_few_ranks_with_ties_are_counted_over_all_signs() -> None:
    differences = np.array([1.0, 1, 1, -1, 2, 2, -3, 0, 0])
    moved = differences[differences != 0]
    ranks = stats.rankdata(np.abs(moved))
    signs = np.array(np.meshgrid(*[[0, 1]] * len(moved))).reshape(len(moved), -1)
    sums = ranks @ signs
    positive = ranks[moved > 0].sum()
    expected = min(1.0, 2 * min((sums <= positive).mean(), (sums >= positive).mean()))
    assert signed_rank_p(differences) == pytest.approx(expected)


@pytest.mark.parametrize("tied", [False, True])
def test_many_ranks_take_the_normal_approximation(tied: bool) -> None:
    differences = np.random.default_rng(3).normal(0.1, 1, 400)
    if tied:
        differences = np.round(differences, 1)
    expected = stats.wilcoxon(differences, method="approx", correction=False).pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


def test_equal_answers_are_no_difference() -> None:
    assert signed_rank_p(np.zeros(10)) == 1.0
    assert mcnemar_p(0, 0) == 1.0
