"""What was told about examples beside what they show, counted class by class."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Float32, Float64, Ints
from headstart_server.learning.targets import Targets
from headstart_server.learning.task import Task

Flags = NDArray[np.bool_]
#: From which probability a class is told where there is no threshold.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassPredictions:
    """What was told about examples, and what they show.

    Attributes:
        actual: whether each class applies, [n, C]: of a soft label the likeliest one. None of a single label
            says that its class is unknown to the head.
        told: whether each class was told, [n, C].
        weights: how much each example counts, [n].
    """

    actual: Flags
    predicted: Flags
    weights: Float64

    @classmethod
    def from_outputs(cls, targets: Targets, outputs: Float32, thresholds: Float32) -> Self:
        """What calibrated outputs [n, C] tell; `thresholds` [C] of several labels."""
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
        """Whether exactly the classes that apply were told, [n]."""
        correct: Flags = (self.actual == self.predicted).all(axis=1)
        return correct

    def counts(self) -> "ClassCounts":
        """Precision, recall and F1 of each class."""
        weights = self.weights
        return ClassCounts(
            support=self.actual.sum(axis=0),
            actual=weights @ self.actual,
            predicted=weights @ self.predicted,
            correct=weights @ (self.actual & self.predicted),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassCounts:
    """Sums of the weights of examples, class by class.

    Attributes:
        support: number of examples of each class, [C].
        actual: weight of those, [C].
        told: weight of the examples that were told to be of each class, [C].
        correct: weight of those that are and were told to be, [C].
    """

    support: Ints
    actual: Float64
    predicted: Float64
    correct: Float64

    @property
    def precision(self) -> Float64:
        """Share of examples told to be of each class that are, [C]; NaN where none was."""
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> Float64:
        """Share of examples of each class that were told to be, [C]; NaN where there is none."""
        return _share(self.correct, self.actual)

    @property
    def f1(self) -> Float64:
        """Harmonic mean of precision and recall, [C]; NaN where the class neither occurs nor is told."""
        return _share(2 * self.correct, self.predicted + self.actual)

    @property
    def present(self) -> Flags:
        """Whether there are examples of each class, [C]."""
        present: Flags = self.support > 0
        return present


def _one_hot(labels: Ints, classes: int) -> Flags:
    flags = np.zeros((len(labels), classes), np.bool_)
    flags[np.arange(len(labels)), labels] = True
    return flags


def _share(part: Float64, whole: Float64) -> Float64:
    shares: Float64 = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
