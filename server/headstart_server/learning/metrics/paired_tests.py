"""Paired tests and intervals in numpy."""

from math import erfc, inf, pi, sqrt, tan

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64, Ints

#: Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.959964
#: Number of differences up to which the signed-rank test counts all assignments of signs.
EXACT_UP_TO = 50


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947; the exact form is the sign test).

    Its counts are of examples that only the first, or only the second, predicted correctly.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= count - 1:
        return 1.0
    places = np.arange(1, fewer + 1)
    # Logarithms of the binomial coefficients 0 to `fewer` of `count`, less `count` halvings.
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - places + 1) / places))]) - count * np.log(2)
    return float(min(1.0, 2 * np.exp(logs).sum()))


def mcnemar_worse_p(only_first: int, only_second: int) -> float:
    """Return the one-sided p-value of McNemar's exact test against the second being worse."""
    count = only_first + only_second
    places = np.arange(1, only_second + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - places + 1) / places))]) - count * np.log(2)
    return float(min(1.0, np.exp(logs).sum()))


def share_difference_interval(only_first: float, only_second: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired proportions of `count` examples.

    The numbers of examples are not whole if examples have weights.

    Half an example is added to each cell of the table of pairs (Agresti and Min 2005, "Simple improved
    confidence intervals for comparing matched proportions", Statistics in Medicine 24, section 2).
    """
    total, first, second = count + 2.0, only_first + 0.5, only_second + 0.5
    center = (second - first) / total
    half = Z_95 * sqrt((first + second) - (second - first) ** 2 / total) / total
    difference = (only_second - only_first) / count
    return max(-1.0, min(center - half, difference)), min(1.0, max(center + half, difference))


def mean_interval(differences: Float64, weights: Float64 | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences [N], infinite for a single one.

    With `weights` [N] the error is that of a ratio estimate (Cochran 1977, "Sampling Techniques", section
    2.11).
    """
    count = len(differences)
    if count < 2:
        return -inf, inf
    counted = np.ones(count) if weights is None else weights
    shares = counted / counted.sum()
    mean = float(shares @ differences)
    variance = float(np.square(shares * (differences - mean)).sum()) * count / (count - 1)
    half = t_quantile(count - 1) * sqrt(variance)
    return mean - half, mean + half


def t_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t.

    It has a closed form for 1 and 2 degrees of freedom, above that an expansion around the normal quantile
    (Abramowitz and Stegun 1964, 26.7.5), which is accurate to 1 % from 3 on and to 0.01 % from 8 on.
    """
    if freedom == 1:
        return tan(pi * 0.475)
    if freedom == 2:
        return 0.95 / sqrt(2 * 0.975 * 0.025)
    z, n = Z_95, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def signed_rank_p(differences: Float64) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test; see `signed_rank_worse_p`."""
    return min(1.0, 2 * min(signed_rank_worse_p(differences), signed_rank_worse_p(-differences)))


def signed_rank_worse_p(differences: Float64) -> float:
    """Return the one-sided p-value of Wilcoxon's signed-rank test (1945) against differences below 0.

    Differences of zero are dropped. Up to `EXACT_UP_TO` others all assignments of signs to their ranks are
    counted, ties included; beyond, the normal approximation with its variance corrected for ties is used.
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    ranks = _midranks(np.abs(moved))
    positive = float(ranks[moved > 0].sum())
    if len(moved) <= EXACT_UP_TO:
        return _exact_rank_p(ranks, positive)
    mean = ranks.sum() / 2
    deviation = sqrt(float(np.square(ranks).sum()) / 4)
    return float(erfc((mean - positive) / deviation / sqrt(2)) / 2)


def _exact_rank_p(ranks: Float64, positive: float) -> float:
    # Midranks are halves at least: twice them are whole numbers, whose sums can be counted.
    doubled = np.rint(2 * ranks).astype(np.int64)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled.tolist():
        ways[rank:] = ways[rank:] + ways[:-rank]
    ways /= ways.sum()
    return min(1.0, float(ways[: round(2 * positive) + 1].sum()))


def _midranks(values: Float64) -> Float64:
    """Return ranks from 1; equal values share their mean rank."""
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: Ints = np.cumsum(counts)
    middles: Float64 = last - (counts - 1) / 2
    return middles[groups]
