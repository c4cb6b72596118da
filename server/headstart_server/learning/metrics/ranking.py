"""Examples ranked by the probability of one class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import Float32, Float64

#: Number of thresholds, from 0 to 1, of each class's curve.
THRESHOLDS = 21


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdPoint:
    """Precision and recall of a class at one threshold, as documented in the contract."""

    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RankingCurve:
    """Cumulative weights of the examples by descending probability of one class."""

    probabilities: Float32  # the distinct probabilities, descending, [m]
    taken: Float64  # weight of the examples with at least each probability, [m]
    right: Float64  # weight of the examples of the class among them, [m]

    @classmethod
    def from_scores(
        cls, probabilities: Float32, actual: NDArray[np.bool_], weights: Float64
    ) -> "RankingCurve":
        """Return the curve of examples with probabilities [n]; `actual` [n] marks examples of the class."""
        order = np.argsort(-probabilities, kind="stable")
        falling = probabilities[order]
        last = np.append(falling[1:] < falling[:-1], True)
        return cls(
            probabilities=falling[last],
            taken=np.cumsum(weights[order])[last],
            right=np.cumsum((weights * actual)[order])[last],
        )

    @property
    def average_precision(self) -> float | None:
        """Mean precision over the steps of recall; None without examples of the class."""
        if not self.right[-1]:
            return None
        steps = np.diff(self.right, prepend=0.0)
        return float((steps * self.right / self.taken).sum() / self.right[-1])

    @property
    def roc_auc(self) -> float | None:
        """Probability that an example of the class ranks before another one; ties count half.

        It is None without examples of both kinds.
        """
        wrong = self.taken - self.right
        if not self.right[-1] or wrong[-1] <= 0:
            return None
        before = self.right - np.diff(self.right, prepend=0.0) / 2
        return float((np.diff(wrong, prepend=0.0) * before).sum() / (wrong[-1] * self.right[-1]))

    def points(self) -> tuple[ThresholdPoint, ...]:
        """Return precision and recall at `THRESHOLDS` ascending thresholds."""
        rising = np.linspace(0, 1, THRESHOLDS)
        # float32: a probability of 0.05 must reach the threshold of 0.05.
        reached = np.searchsorted(-self.probabilities, -rising.astype(np.float32), side="right")
        points = []
        for threshold, count in zip(rising.tolist(), reached.tolist(), strict=True):
            taken, right = (self.taken[count - 1], self.right[count - 1]) if count else (0.0, 0.0)
            points.append(
                ThresholdPoint(
                    threshold=threshold,
                    precision=float(right / taken) if taken else 1.0,
                    recall=float(right / self.right[-1]) if self.right[-1] else 0.0,
                )
            )
        return tuple(points)
