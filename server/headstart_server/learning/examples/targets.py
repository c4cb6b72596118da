"""The labels of many examples as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64, Ints


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Targets:
    """The labels of N examples.

    Attributes:
        matrix: [N, C]: the probability of each class (single label), 1 where a class applies and 0 elsewhere
            (multi-label); or the numbers, [N, 1].
        weights: weight of each example, above 0, [N].
        class_names: the C classes, in order; empty for regression.
    """

    task: Task
    matrix: Float64
    weights: Float64
    class_names: tuple[str, ...]

    @classmethod
    def from_targets(
        cls,
        targets: Sequence[Target],
        weights: Sequence[float] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> "Targets":
        """Return the labels of examples of one task, at least one.

        Classes default to those that occur, sorted; weights to 1.
        """
        task = targets[0].task
        names = class_names
        if names is None:
            names = sorted({name for target in targets for name in target.shares})
        column = {name: place for place, name in enumerate(names)}
        if task is Task.REGRESSION:
            matrix = np.array([[target.value] for target in targets], np.float64)
        else:
            matrix = np.zeros((len(targets), len(names)))
            for row, target in enumerate(targets):
                for name, share in target.shares.items():
                    matrix[row, column[name]] = share
        return cls(
            task=task,
            matrix=matrix,
            weights=np.ones(len(targets)) if weights is None else np.array(weights, np.float64),
            class_names=tuple(names),
        )

    @classmethod
    def of_labels(cls, labels: Ints, class_names: Sequence[str]) -> "Targets":
        """Return hard single labels from class indexes [N], each of weight 1."""
        return cls(
            task=Task.SINGLE_LABEL,
            matrix=np.eye(len(class_names))[labels],
            weights=np.ones(len(labels)),
            class_names=tuple(class_names),
        )

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def labels(self) -> Ints:
        """The most probable class of each example of a single-label task, [N]."""
        labels: Ints = self.matrix.argmax(axis=1)
        return labels

    def subset(self, places: Ints | NDArray[np.bool_] | Sequence[int]) -> "Targets":
        """Return the labels at some positions, in their order."""
        return replace(self, matrix=self.matrix[places], weights=self.weights[places])
