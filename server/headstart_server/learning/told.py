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
class Told:
    """What was told about examples, and what they show.

    Attributes:
        actual: whether each class applies, [n, C]: of a soft label the likeliest one. None of a single label
            says that its class is unknown to the head.
        told: whether each class was told, [n, C].
        weights: how much each example counts, [n].
    """

    actual: Flags
    told: Flags
    weights: Float64

    @classmethod
    def of(cls, targets: Targets, outputs: Float32, thresholds: Float32) -> Self:
        """What calibrated outputs [n, C] tell; `thresholds` [C] of several labels."""
        if targets.task is Task.MULTI_LABEL:
            bounds = thresholds if len(thresholds) else np.float32(DEFAULT_THRESHOLD)
            return cls(actual=targets.matrix > 0, told=outputs >= bounds, weights=targets.weights)
        actual = _one_hot(targets.labels, outputs.shape[1])
        actual &= targets.matrix.any(axis=1, keepdims=True)
        return cls(
            actual=actual,
            told=_one_hot(outputs.argmax(axis=1), outputs.shape[1]),
            weights=targets.weights,
        )

    @property
    def right(self) -> Flags:
        """Whether exactly the classes that apply were told, [n]."""
        right: Flags = (self.actual == self.told).all(axis=1)
        return right

    def rates(self) -> "Rates":
        """Precision, recall and F1 of each class."""
        weights = self.weights
        return Rates(
            support=self.actual.sum(axis=0),
            having=weights @ self.actual,
            told=weights @ self.told,
            both=weights @ (self.actual & self.told),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rates:
    """Sums of the weights of examples, class by class.

    Attributes:
        support: number of examples of each class, [C].
        having: weight of those, [C].
        told: weight of the examples that were told to be of each class, [C].
        both: weight of those that are and were told to be, [C].
    """

    support: Ints
    having: Float64
    told: Float64
    both: Float64

    @property
    def precision(self) -> Float64:
        """Share of examples told to be of each class that are, [C]; NaN where none was."""
        return _share(self.both, self.told)

    @property
    def recall(self) -> Float64:
        """Share of examples of each class that were told to be, [C]; NaN where there is none."""
        return _share(self.both, self.having)

    @property
    def f1(self) -> Float64:
        """Harmonic mean of precision and recall, [C]; NaN where the class neither occurs nor is told."""
        return _share(2 * self.both, self.told + self.having)

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
