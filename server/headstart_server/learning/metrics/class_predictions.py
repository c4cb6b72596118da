"""Predicted and true classes of examples, and their counts by class."""

from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64, Ints

Flags = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
#: Default threshold of a class.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassPredictions:
    """Predicted and true classes of n examples."""

    # whether each class applies, [n, C]; a soft label counts as its most probable class. A row without any
    # class of a single label belongs to a class that the head does not know
    actual: Flags
    predicted: Flags  # whether each class is predicted, [n, C]
    weights: Float64  # weight of each example, [n]

    @classmethod
    def from_outputs(cls, targets: Targets, outputs: Float32, thresholds: Float32) -> Self:
        """Return the classes that outputs [n, C] predict.

        `thresholds` apply to several labels, [C], or [n, C] if each example has its own; empty for 0.5.
        """
        if targets.task is Task.MULTI_LABEL:
            bounds = thresholds if len(thresholds) else np.float32(DEFAULT_THRESHOLD)
            return cls(actual=targets.matrix > 0, predicted=outputs >= bounds, weights=targets.weights)
        actual = _one_hot(targets.labels, outputs.shape[1])
        actual &= targets.matrix.any(axis=1, keepdims=True)
        return cls(
            actual=actual,
            predicted=_one_hot(outputs.argmax(axis=1), outputs.shape[1]),
            weights=targets.weights,
        )

    @property
    def correct(self) -> Flags:
        """Whether exactly the true classes are predicted, [n]."""
        correct: Flags = (self.actual == self.predicted).all(axis=1)
        return correct

    def counts(self) -> "ClassCounts":
        """Return the weight sums of each class."""
        weights = self.weights
        return ClassCounts(
            support=self.actual.sum(axis=0),
            actual=weights @ self.actual,
            predicted=weights @ self.predicted,
            correct=weights @ (self.actual & self.predicted),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassCounts:
    """Weight sums of examples by class."""

    support: Ints  # number of examples of each class, [C]
    actual: Float64  # weight of the examples of each class, [C]
    predicted: Float64  # weight of the examples predicted as each class, [C]
    correct: Float64  # weight of the examples of each class that are predicted as it, [C]

    @property
    def precision(self) -> Float64:
        """Precision of each class, [C]; NaN if the class is never predicted."""
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> Float64:
        """Recall of each class, [C]; NaN if the class has no examples."""
        return _share(self.correct, self.actual)

    @property
    def f1(self) -> Float64:
        """F1 of each class, [C]; NaN if the class neither occurs nor is predicted."""
        return _share(2 * self.correct, self.predicted + self.actual)

    @property
    def present(self) -> Flags:
        """Whether each class has examples, [C]."""
        present: Flags = self.support > 0
        return present


def limits_at(limits: NDArray[Scalar], places: Ints | Flags) -> NDArray[Scalar]:
    """Return the limits of the examples at some positions: rows [n, C]; common limits [C] are unchanged."""
    return limits[places] if limits.ndim > 1 else limits


def _one_hot(labels: Ints, classes: int) -> Flags:
    flags = np.zeros((len(labels), classes), np.bool_)
    flags[np.arange(len(labels)), labels] = True
    return flags


def _share(part: Float64, whole: Float64) -> Float64:
    shares: Float64 = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
