"""Temperature scaling of out-of-fold scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.features.feature_matrix import BLOCK, Float64

#: Range of the temperature: linear heads are underconfident, networks overconfident.
LOWEST, HIGHEST = 0.01, 10.0
#: Examples of unknown class that smooth the labels of all others.
SMOOTHING = 0.5
#: Mean of the prior of the margin between the two most probable classes, in nats; chosen on data sets that
#: `make bench-figures` does not have.
PRIOR_MARGIN = 4.0
#: Default if every class has a single example and nothing can be validated.
SINGLE_SHOT_TEMPERATURE = 0.1
_STEPS = 40
_CLOSE = 1e-6


def fit_temperature(
    scores: Float64, shares: Float64, weights: Float64, start: float | None = None
) -> tuple[float, float]:
    """Return the temperature of the lowest log loss on smoothed labels, and that loss.

    Temperature scaling after Guo et al. 2017, between `LOWEST` and `HIGHEST`. If a few scores are all
    correct, the likelihood has no optimum: it grows as the temperature falls. So, as Platt 1999 does for two
    classes, the labels are smoothed: by half an example that could be of any class (Krichevsky and Trofimov
    1981).

    Few examples carry little information about a head. So the margin of two classes has a prior, as the
    slopes of a logistic regression have (Gelman et al. 2008): exponential, with the mean `PRIOR_MARGIN`. It
    contributes `margin / PRIOR_MARGIN` nats in total, regardless of the number of examples, so it matters
    below a hundred.

    `scores` and class probabilities `shares` are [n, C]; `weights` [n] sum to the number of different
    examples. The search begins at the temperature `start`, by default in the middle.
    """
    prior = typical_margin(scores, weights) / PRIOR_MARGIN / float(weights.sum())
    loss = _SmoothedLoss(scores, shares, weights)
    # The loss is convex in 1 / temperature: Newton's method, kept within a bracket that only shrinks. A step
    # beyond an end of the range goes to the end, which is the optimum if the loss still falls there.
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    untried = {low, high}
    inverse = float(np.sqrt(low * high)) if start is None else min(max(1.0 / start, low), high)
    for _ in range(_STEPS):
        untried.discard(inverse)
        value, slope, curvature = loss.slopes(inverse)
        slope += prior
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        if high - low <= _CLOSE * low:
            break
        end = high if slope < 0 else low
        moved = inverse - slope / curvature if curvature > 0 else end
        if not low < moved < high:
            moved = end if end in untried else float(np.sqrt(low * high))
        if abs(moved - inverse) <= _CLOSE * inverse:
            break
        inverse = moved
    return 1.0 / inverse, value


def smoothed_log_loss(scores: Float64, shares: Float64, weights: Float64, temperature: float) -> float:
    """Return the loss that `fit_temperature` minimizes, at a given temperature."""
    return _SmoothedLoss(scores, shares, weights).slopes(1.0 / temperature)[0]


def typical_margin(scores: Float64, weights: Float64) -> float:
    """Return the root mean square of the margin between the two highest scores of an example."""
    if scores.shape[1] < 2:
        return 0.0
    total = 0.0
    for start in range(0, len(scores), BLOCK):
        part = slice(start, start + BLOCK)
        highest = np.partition(scores[part].astype(np.float64, copy=False), -2, axis=1)[:, -2:]
        total += float(weights[part] @ np.square(highest[:, 1] - highest[:, 0]))
    return float(np.sqrt(total / weights.sum()))


def smoothed_losses(scores: Float64, shares: Float64, temperature: float, count: float) -> Float64:
    """Return the smoothed log loss of each of `count` different examples at a given temperature, [n]."""
    smoothing = SMOOTHING / (count + SMOOTHING)
    shifted = (scores - scores.max(axis=1, keepdims=True)) / temperature
    wanted = (1 - smoothing) * np.einsum("nc,nc->n", shares, shifted) + smoothing * shifted.mean(axis=1)
    lost: Float64 = np.log(np.exp(shifted).sum(axis=1)) - wanted
    return lost


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Block:
    """Scores [C, n] less the highest of each example, the smoothed score of the labels [n], and weights [n].

    Sums over the first axis take half the time of sums over a short last one.
    """

    shifted: Float64
    wanted: Float64
    weights: Float64


class _SmoothedLoss:
    """The mean smoothed log loss as a function of 1 / temperature."""

    def __init__(self, scores: Float64, shares: Float64, weights: Float64) -> None:
        self._scores, self._shares, self._weights = scores, shares, weights
        # A single block is small, and each step of a search uses it, so it is computed once.
        self._held = list(self._made()) if len(scores) <= BLOCK else None

    def slopes(self, inverse: float) -> tuple[float, float, float]:
        """Return the loss at 1 / temperature, and its first two derivatives."""
        totals = np.zeros(3)
        for block in self._made() if self._held is None else self._held:
            shifted = block.shifted
            powers = np.exp(shifted * inverse)
            sums = np.add.reduce(powers)
            powers *= shifted
            mean = np.add.reduce(powers) / sums
            powers *= shifted
            variance = np.add.reduce(powers) / sums - mean * mean
            losses = np.log(sums) - inverse * block.wanted
            totals += np.stack([losses, mean - block.wanted, variance]) @ block.weights
        loss, slope, curvature = (totals / self._weights.sum()).tolist()
        return loss, slope, curvature

    def _made(self) -> Iterator[_Block]:
        smoothing = SMOOTHING / (float(self._weights.sum()) + SMOOTHING)
        for start in range(0, len(self._shares), BLOCK):
            part = slice(start, start + BLOCK)
            shifted = self._scores[part].T.astype(np.float64, order="C")
            shifted -= np.maximum.reduce(shifted)
            right, mean = np.einsum("nc,cn->n", self._shares[part], shifted), shifted.mean(axis=0)
            wanted = (1 - smoothing) * right + smoothing * mean
            yield _Block(shifted=shifted, wanted=wanted, weights=self._weights[part])
