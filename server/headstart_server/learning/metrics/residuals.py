"""Prediction intervals from out-of-fold residuals."""

from math import sqrt

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.metrics.metrics import effective_count

#: Fraction of new numbers inside the interval.
COVERAGE = 0.9
#: Number of residuals from which their quantiles are used: the 5 % ends then lie within them.
QUANTILES_FROM = 20
#: Two-sided 90 % quantiles of Student's t distribution for 1 to 19 degrees of freedom.
_STUDENT = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729),
)


def prediction_interval(residuals: Float64, weights: Float64) -> tuple[float, float] | None:
    """Return offsets between which 90 % of new numbers lie; None for fewer than two residuals.

    They are the quantiles of the residuals [n] plus one more example beyond either end, as in CV+ (Barber,
    Candes, Ramdas and Tibshirani 2021). Below `QUANTILES_FROM` these would lie beyond all residuals, so the
    residuals are taken to be normal around 0.
    """
    if len(residuals) < 2:
        return None
    count = effective_count(weights)
    if count < QUANTILES_FROM:
        spread = sqrt(float(weights @ np.square(residuals) / weights.sum()))
        half = _STUDENT[max(int(count) - 1, 0)] * spread * sqrt(1 + 1 / count)
        return -half, half
    return -_end(-residuals, weights, count), _end(residuals, weights, count)


def _end(residuals: Float64, weights: Float64, count: float) -> float:
    """Return the residual beyond which a new one lies in half of the cases that are not covered."""
    order = np.argsort(residuals, kind="stable")
    # The new example weighs as much as an average one, and may lie beyond them all.
    shares = np.cumsum(weights[order]) / (weights.sum() * (1 + 1 / count))
    place = int(np.searchsorted(shares, 1 - (1 - COVERAGE) / 2 - 1e-12))
    return float(residuals[order[min(place, len(order) - 1)]])
