"""Slopes and offsets that turn the scores of each class into probabilities (Platt 1999).

Classes with few examples on either side carry little information: they are drawn towards the common solution.
"""

from collections.abc import Callable, Iterator

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64

#: Precision of the prior that a class behaves like all together: its slope within about half, its odds within
#: about a factor of e. A few examples on the rarer side outweigh it.
_SLOPE_PRECISION, _OFFSET_PRECISION = 4.0, 1.0
#: The same for all classes together around 1 and 0, on standardized scores: nearly flat.
_WEAK_PRECISION = 1e-2
_STEPS, _CLOSE = 50, 1e-9
#: Scores processed at a time: 8 MB.
_BLOCK = 1 << 20


def fit_platt(scores: Float64, targets: Float64, weights: Float64) -> tuple[Float64, Float64, float]:
    """Return slopes [C] and offsets [C], and their mean binary log loss in nats.

    Labels are smoothed as Platt does, so that separable scores have an optimum: each of N+ examples with a
    class counts as (N+ + 1) / (N+ + 2), each of N- without it as 1 / (N- + 2). `scores` and `targets`, 1
    where a class applies, are [n, C]; `weights` are [n].
    """
    columns = _Columns(scores, targets, weights)
    slope, offset = columns.shared()
    slopes, offsets, loss = columns.own(slope, offset)
    return slopes * slope, slopes * offset + offsets, loss


class _Columns:
    """The scores of all classes, read in blocks of rows that bound the memory."""

    def __init__(self, scores: Float64, targets: Float64, weights: Float64) -> None:
        self._scores, self._targets, self._weights = scores, targets, weights
        having = weights @ targets
        lacking = weights.sum() - having
        self._high, self._low = (having + 1) / (having + 2), 1 / (lacking + 2)
        self._size = max(_BLOCK // scores.shape[1], 1)

    def shared(self) -> tuple[float, float]:
        """Return the common slope and offset of all classes."""
        means, total = self._scores.mean(axis=1), self._weights.sum()
        mean = float(self._weights @ means / total)
        squares = np.concatenate([np.square(block - mean).mean(axis=1) for block, _, _ in self._blocks()])
        deviation = float(np.sqrt(self._weights @ squares / total))
        if deviation <= np.finfo(np.float64).eps * max(abs(mean), 1.0):
            deviation = np.inf
        line, weak = (1 / deviation, -mean / deviation), (_WEAK_PRECISION, _WEAK_PRECISION)
        slopes, offsets = _newton(
            lambda slopes, offsets: self._sums(line, slopes, offsets, weak).sum(axis=1, keepdims=True), 1
        )
        slope, offset = float(slopes[0]), float(offsets[0])
        return slope / deviation, offset - slope * mean / deviation

    def own(self, slope: float, offset: float) -> tuple[Float64, Float64, float]:
        """Return slopes and offsets of each class relative to the common ones, and their mean log loss."""
        line, belief = (slope, offset), (_SLOPE_PRECISION, _OFFSET_PRECISION)
        classes = self._scores.shape[1]
        slopes, offsets = _newton(lambda slopes, offsets: self._sums(line, slopes, offsets, belief), classes)
        losses = self._sums(line, slopes, offsets, (0.0, 0.0))[0]
        return slopes, offsets, float(losses.sum() / (classes * self._weights.sum()))

    def _sums(
        self, line: tuple[float, float], slopes: Float64, offsets: Float64, precisions: tuple[float, float]
    ) -> Float64:
        """Return by class the loss, its slopes and its curvatures for slopes and offsets on a line, [6, C].

        All classes together count each prior once: it is distributed over the classes.
        """
        classes = self._scores.shape[1]
        of_slope, of_offset = (precision * len(slopes) / classes for precision in precisions)
        sums = np.zeros((6, classes))
        sums[0] = 0.5 * (of_slope * (slopes - 1) ** 2 + of_offset * offsets**2)
        sums[1], sums[2] = of_slope * (slopes - 1), of_offset * offsets
        sums[3], sums[5] = of_slope, of_offset
        for block, wanted, weights in self._blocks():
            shared = line[0] * block + line[1]
            logits = slopes * shared + offsets
            powers = np.exp(-np.abs(logits))
            likely = np.where(logits >= 0, 1.0, powers) / (1 + powers)
            sums[0] += weights @ (np.maximum(logits, 0) - wanted * logits + np.log1p(powers))
            errors, curved = likely - wanted, likely * (1 - likely)
            sums[1] += weights @ (errors * shared)
            sums[2] += weights @ errors
            sums[3] += weights @ (curved * shared * shared)
            sums[4] += weights @ (curved * shared)
            sums[5] += weights @ curved
        return sums

    def _blocks(self) -> Iterator[tuple[Float64, Float64, Float64]]:
        """Yield scores, smoothed labels and weights of blocks of rows."""
        for start in range(0, len(self._scores), self._size):
            part = slice(start, start + self._size)
            wanted = self._low + self._targets[part] * (self._high - self._low)
            yield self._scores[part], wanted, self._weights[part]


def _newton(sums: Callable[[Float64, Float64], Float64], columns: int) -> tuple[Float64, Float64]:
    """Return for each column the slope and offset at which the first of its six sums is lowest."""
    slopes, offsets = np.ones(columns), np.zeros(columns)
    here = sums(slopes, offsets)
    for _ in range(_STEPS):
        _, down, across, aa, ab, bb = here
        step = np.stack([bb * down - ab * across, aa * across - ab * down]) / (aa * bb - ab * ab)
        # Newton's step may overshoot where the curvature is small, so it is halved until the loss falls.
        size = np.ones(columns)
        for _ in range(_STEPS):
            there = sums(slopes - size * step[0], offsets - size * step[1])
            worse = there[0] > here[0]
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        # A column stays if rounding allows no further descent.
        size = np.where(worse, 0.0, size)
        slopes, offsets = slopes - size * step[0], offsets - size * step[1]
        here = np.where(worse, here, there)
        if np.abs(size * step).max() <= _CLOSE:
            break
    return slopes, offsets
