"""A slope and an offset for each class that make its scores into probabilities (Platt 1999).

Classes with few examples on either side say little about their own: they are drawn towards what all classes
together say.
"""

import numpy as np

from headstart_server.learning.calibration import sigmoid
from headstart_server.learning.rows import Float64

#: Precision of the belief that a class is like all together: its slope within about half, its odds within
#: about a factor of e. A handful of examples on the rarer side outweighs it.
_SLOPE_PRECISION, _OFFSET_PRECISION = 4.0, 1.0
#: The same for all together around 1 and 0, on scores of mean 0 and deviation 1: hardly any.
_WEAK_PRECISION = 1e-2
_STEPS, _CLOSE = 50, 1e-9


def fit_platt(scores: Float64, targets: Float64, weights: Float64) -> tuple[Float64, Float64, float]:
    """Slopes [C] and offsets [C], and the mean binary log loss with them, in nats.

    Labels are smoothed as Platt does, so that separable scores have an optimum: of N+ examples that have a
    class each counts as (N+ + 1) / (N+ + 2), of N- that lack it as 1 / (N- + 2).

    Args:
        scores: out-of-fold scores, [n, C].
        targets: 1 where a class applies, 0 where not, [n, C].
        weights: of each example, [n].
    """
    wanted = _smoothed(targets, weights)
    mean = float(weights @ scores.mean(axis=1) / weights.sum())
    deviation = float(np.sqrt(weights @ np.square(scores - mean).mean(axis=1) / weights.sum()))
    inverse = 1.0 / deviation if deviation > np.finfo(np.float64).eps * max(abs(mean), 1.0) else 0.0
    standard = (scores - mean) * inverse
    # All classes as one long column.
    repeated = np.repeat(weights, scores.shape[1])[:, None]
    slope, offset = _newton(
        standard.reshape(-1, 1), wanted.reshape(-1, 1), repeated, _WEAK_PRECISION, _WEAK_PRECISION
    )
    shared = slope * standard + offset
    slopes, offsets = _newton(shared, wanted, weights[:, None], _SLOPE_PRECISION, _OFFSET_PRECISION)
    loss = binary_log_loss(slopes * shared + offsets, wanted, weights)
    of_scores = slopes * slope * inverse
    return of_scores, slopes * offset + offsets - of_scores * mean, loss


def binary_log_loss(logits: Float64, targets: Float64, weights: Float64) -> float:
    """Mean binary log loss over examples and classes, in nats."""
    losses = np.maximum(logits, 0) - targets * logits + np.log1p(np.exp(-np.abs(logits)))
    return float(weights @ losses.mean(axis=1) / weights.sum())


def _smoothed(targets: Float64, weights: Float64) -> Float64:
    having = weights @ targets
    lacking = weights.sum() - having
    high, low = (having + 1) / (having + 2), 1 / (lacking + 2)
    wanted: Float64 = targets * high + (1 - targets) * low
    return wanted


def _newton(
    scores: Float64, wanted: Float64, weights: Float64, slope_precision: float, offset_precision: float
) -> tuple[Float64, Float64]:
    """For each column the slope and offset of the lowest sum of losses and squared distances from 1 and 0."""
    slopes, offsets = np.ones(scores.shape[1]), np.zeros(scores.shape[1])

    def objective(slopes: Float64, offsets: Float64) -> Float64:
        logits = slopes * scores + offsets
        losses = np.maximum(logits, 0) - wanted * logits + np.log1p(np.exp(-np.abs(logits)))
        prior = slope_precision * (slopes - 1) ** 2 + offset_precision * offsets**2
        total: Float64 = (weights * losses).sum(axis=0) + 0.5 * prior
        return total

    best = objective(slopes, offsets)
    for _ in range(_STEPS):
        likely = sigmoid(slopes * scores + offsets)
        errors, curved = weights * (likely - wanted), weights * likely * (1 - likely)
        down = (errors * scores).sum(axis=0) + slope_precision * (slopes - 1)
        across = errors.sum(axis=0) + offset_precision * offsets
        aa = (curved * scores * scores).sum(axis=0) + slope_precision
        ab, bb = (curved * scores).sum(axis=0), curved.sum(axis=0) + offset_precision
        determinant = aa * bb - ab * ab
        step = np.stack([bb * down - ab * across, aa * across - ab * down]) / determinant
        # Newton's step may go too far where the curvature is small: halved until it goes downhill.
        size = np.ones(len(slopes))
        for _ in range(_STEPS):
            tried = objective(slopes - size * step[0], offsets - size * step[1])
            worse = tried > best
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        moved = np.where(tried <= best, size, 0.0) * step
        slopes, offsets, best = slopes - moved[0], offsets - moved[1], np.minimum(tried, best)
        if np.abs(moved).max() <= _CLOSE:
            break
    return slopes, offsets
