"""Conversion of the scores of a head into calibrated outputs."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32

T = TypeVar("T", np.float32, np.float64)


def _none() -> Float32:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """Converts scores into calibrated outputs; each task uses its own part.

    The temperature of a single label divides scores before the softmax. For several labels, slopes and
    offsets [C] apply before the sigmoid, and `thresholds` [C] are the lowest probabilities at which classes
    are predicted. The interval of a regression has offsets from a prediction between which 90 % of true
    numbers lie, None if it could not be estimated.
    """

    task: Task = Task.SINGLE_LABEL
    temperature: float = 1.0
    slopes: Float32 = field(default_factory=_none)
    offsets: Float32 = field(default_factory=_none)
    thresholds: Float32 = field(default_factory=_none)
    interval: tuple[float, float] | None = None

    def outputs(self, scores: NDArray[T]) -> NDArray[T]:
        """Return probabilities [n, C] of scores [n, C]; the numbers of a regression are unchanged."""
        if self.task is Task.SINGLE_LABEL:
            return softmax(scores / scores.dtype.type(self.temperature))
        if self.task is Task.MULTI_LABEL:
            return sigmoid(scores * self.slopes.astype(scores.dtype) + self.offsets.astype(scores.dtype))
        return scores

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.slopes.nbytes + self.offsets.nbytes + self.thresholds.nbytes


def softmax(scores: NDArray[T]) -> NDArray[T]:
    """Return the softmax over the last axis without overflow."""
    # `reduce` instead of array methods, whose call takes longer than the computation of one row.
    powers: NDArray[T] = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
    powers /= np.add.reduce(powers, axis=-1, keepdims=True)
    return powers


def sigmoid(scores: NDArray[T]) -> NDArray[T]:
    """Return the logistic function without overflow."""
    powers = np.exp(-np.abs(scores))
    rows: NDArray[T] = np.where(scores >= 0, scores.dtype.type(1), powers) / (1 + powers)
    return rows
