"""The label of one example: a class, several classes, class probabilities, or a number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64, Ints

#: Ratio of the largest to the smallest class above which classes are balanced.
IMBALANCE = 3
#: Lowest weight that solvers use, relative to the mean: they divide by weights and subtract their sums.
LEAST_WEIGHT = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The label of one example."""

    task: Task
    # probabilities of classes by name. Single label: one class at 1, or a soft label that sums to 1. Multi-
    # label: each class that applies at 1; may be empty. Regression: empty
    shares: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None  # the number of a regression

    @classmethod
    def of_label(cls, label: str) -> "Target":
        """Return a single label."""
        return cls(task=Task.SINGLE_LABEL, shares={label: 1.0})

    @classmethod
    def of_labels(cls, labels: Iterable[str]) -> "Target":
        """Return a label of any number of classes."""
        return cls(task=Task.MULTI_LABEL, shares=dict.fromkeys(labels, 1.0))

    @classmethod
    def of_shares(cls, shares: Mapping[str, float]) -> "Target":
        """Return a soft label of class probabilities."""
        return cls(task=Task.SINGLE_LABEL, shares=dict(shares))

    @classmethod
    def of_value(cls, value: float) -> "Target":
        """Return the number of a regression."""
        return cls(task=Task.REGRESSION, value=value)

    @property
    def label(self) -> str:
        """The most probable class of a single label, the first by name of equals; empty for other tasks."""
        if self.task is not Task.SINGLE_LABEL:
            return ""
        if len(self.shares) == 1:
            return next(iter(self.shares))
        return min(self.shares, key=lambda name: (-self.shares[name], name), default="")

    @property
    def is_hard(self) -> bool:
        """Whether this is a single label with probability 1."""
        return self.task is Task.SINGLE_LABEL and list(self.shares.values()) == [1.0]

    @property
    def text(self) -> str:
        """The label as text: the most probable class, all classes, or the number; empty for no class."""
        if self.value is not None:
            return f"{self.value:.6g}"
        return self.label if self.task is Task.SINGLE_LABEL else ", ".join(self.shares)

    def to_json(self) -> Any:
        """Return JSON values; a plain string for a hard single label. Equal labels give equal JSON."""
        if self.is_hard:
            return self.label
        if self.task is Task.REGRESSION:
            return {"value": self.value}
        if self.task is Task.MULTI_LABEL:
            return {"labels": sorted(self.shares)}
        return {"shares": {name: self.shares[name] for name in sorted(self.shares)}}

    @classmethod
    def from_json(cls, value: Any, names: dict[str, str] | None = None) -> "Target":
        """Return the label that `to_json` wrote.

        Args:
            names: names of classes that several labels share; None to share none.
        """
        if isinstance(value, str):
            return cls.of_label(value)
        if "value" in value:
            return cls.of_value(float(value["value"]))
        if "labels" not in value:
            return cls(task=Task.SINGLE_LABEL, shares=value["shares"])
        if names is None:
            return cls.of_labels(value["labels"])
        return cls.of_labels(names.setdefault(name, name) for name in value["labels"])

    def __str__(self) -> str:
        """Return the label in quotes, all labels, the probabilities or the number."""
        if self.task is Task.REGRESSION:
            return f"{self.value:g}"
        if self.task is Task.MULTI_LABEL:
            return ", ".join(map(repr, sorted(self.shares))) or "no label"
        if self.is_hard:
            return repr(self.label)
        return ", ".join(f"{name!r} {self.shares[name]:g}" for name in sorted(self.shares))


def targets_json(targets: Sequence[Target]) -> list[Any]:
    """Return labels as JSON values, each as `Target.to_json` does."""
    # A list that was read shares one target among all examples of a class.
    values = {key: target.to_json() for key, target in {id(target): target for target in targets}.items()}
    return [values[id(target)] for target in targets]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Targets:
    """The labels of N examples."""

    task: Task
    # [N, C]: the probability of each class (single label), 1 where a class applies and 0 elsewhere (multi-
    # label); or the numbers, [N, 1]
    matrix: Float64
    weights: Float64  # weight of each example, above 0, [N]
    class_names: tuple[str, ...]  # the C classes, in order; empty for regression

    @classmethod
    def from_targets(
        cls,
        targets: Sequence[Target],
        weights: Sequence[float] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> "Targets":
        """Return the labels of examples of one task, at least one.

        Classes default to the occurring ones, sorted; weights to 1.
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


def normalized_weights(weights: Float64) -> Float64:
    """Return weights with a mean of 1, each at least `LEAST_WEIGHT`, [N]."""
    normalized: Float64 = np.maximum(weights / weights.mean(), LEAST_WEIGHT)
    return normalized


def is_imbalanced(targets: Targets) -> bool:
    """Return whether the largest class of a single label outweighs the smallest by more than `IMBALANCE`."""
    if targets.task is not Task.SINGLE_LABEL:
        return False
    masses = targets.weights @ targets.matrix
    return bool(masses.max() > IMBALANCE * masses[masses > 0].min())


def balancing(targets: Targets) -> Float64:
    """Return factors of the weights that give each class of a single label the same sum, [N]."""
    masses = targets.weights @ targets.matrix
    present = masses > 0
    # A class may have only a tiny share of a soft label.
    bounded = np.maximum(masses, LEAST_WEIGHT * masses.mean())
    inverse = np.divide(1.0, bounded, out=np.zeros_like(masses), where=present)
    factors: Float64 = targets.weights.sum() / present.sum() * (targets.matrix @ inverse)
    return factors
