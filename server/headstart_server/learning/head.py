"""The head: the small trained part on top of a backbone's features."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
T = TypeVar("T", np.float32, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A linear head on L2-normalised features, with the temperature that calibrates its probabilities.

    Attributes:
        view: the backbone's view it takes, of size D.
        weights: [D, C].
        bias: [C].
        temperature: what scores are divided by before the softmax, above 0.
        class_names: the C classes, in the order of the columns of `weights`.
    """

    view: str
    weights: Float32
    bias: Float32
    temperature: float
    class_names: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory, class names included (estimated at 80 bytes above their length)."""
        return self.weights.nbytes + self.bias.nbytes + sum(len(name) + 80 for name in self.class_names)

    def scores(self, features: Float32) -> Float32:
        """Scores [n, C] of features [n, D], before temperature and softmax."""
        scores: Float32 = normalized(features) @ self.weights + self.bias
        return scores

    def probabilities(self, features: Float32) -> Float32:
        """Calibrated probabilities [n, C] of features [n, D]; each row sums to 1."""
        return softmax(self.scores(features) / np.float32(self.temperature))


def normalized(features: NDArray[T]) -> NDArray[T]:
    """Rows scaled to Euclidean length 1; a row of zeros stays one."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    rows: NDArray[T] = features / np.maximum(norms, np.finfo(features.dtype).tiny)
    return rows


def softmax(scores: NDArray[T]) -> NDArray[T]:
    """Softmax over the last axis, safe for large scores."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    rows: NDArray[T] = powers / powers.sum(axis=-1, keepdims=True)
    return rows
