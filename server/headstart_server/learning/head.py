"""The head: the small trained part on top of a backbone's features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Float32, Scaling, normalized, prepared, side_by_side

__all__ = ["Float32", "Head", "normalized", "softmax"]

T = TypeVar("T", np.float32, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A linear head on features, with the temperature that calibrates its probabilities.

    Attributes:
        views: the backbone's views it takes side by side, of D features together.
        scaling: how features are prepared; that of `STANDARD` is in weights and bias.
        weights: [D, C].
        bias: [C].
        temperature: what scores are divided by before the softmax, above 0.
        class_names: the C classes, in the order of the columns of `weights`.
    """

    views: tuple[str, ...]
    scaling: Scaling = Scaling.UNIT
    weights: Float32
    bias: Float32
    temperature: float
    class_names: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory, class names included (estimated at 80 bytes above their length)."""
        return self.weights.nbytes + self.bias.nbytes + sum(len(name) + 80 for name in self.class_names)

    def scores(self, views: Mapping[str, Float32]) -> Float32:
        """Scores [n, C] of n inputs' features by view, before temperature and softmax."""
        features = prepared(side_by_side(views, self.views), self.scaling)
        scores: Float32 = features @ self.weights + self.bias
        return scores

    def probabilities(self, views: Mapping[str, Float32]) -> Float32:
        """Calibrated probabilities [n, C] of n inputs' features by view; each row sums to 1."""
        return softmax(self.scores(views) / np.float32(self.temperature))


def softmax(scores: NDArray[T]) -> NDArray[T]:
    """Softmax over the last axis, safe for large scores."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    rows: NDArray[T] = powers / powers.sum(axis=-1, keepdims=True)
    return rows
