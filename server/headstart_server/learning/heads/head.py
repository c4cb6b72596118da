"""The head: the small trained part on top of a backbone's features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import (
    Float32,
    Scaling,
    concatenate_views,
    scale_features,
)
from headstart_server.learning.heads.calibration import Calibration

#: Rows up to which each is multiplied alone, so that its outputs do not depend on the rows next to it.
MAX_SINGLE_ROWS = 64


def row_products(features: Float32, weights: Float32) -> Float32:
    """Return the product [n, C] of rows [n, D] and weights [D, C]."""
    if len(features) > MAX_SINGLE_ROWS:
        return features @ weights
    products: Float32 = np.matmul(features[:, np.newaxis], weights)[:, 0]
    return products


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HiddenLayer:
    """A hidden layer with rectified units (ReLU) between features and scores: weights [D, H], bias [H]."""

    weights: Float32
    bias: Float32

    def units(self, features: Float32) -> Float32:
        """Return the activations [n, H] of scaled features [n, D]."""
        units: Float32 = features @ self.weights
        units += self.bias
        return np.maximum(units, 0, out=units)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMetadata:
    """Properties of a head other than its arrays."""

    task: Task
    views: tuple[str, ...]
    scaling: Scaling
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A linear head on features, or one behind a hidden layer, with the calibration of its predictions."""

    views: tuple[str, ...]  # the backbone's views that the head concatenates, D features together
    # the scaling of features; `STANDARD` is folded into the first weights and their bias
    scaling: Scaling = Scaling.UNIT
    weights: Float32  # [D, C], or [H, C] behind a hidden layer; one column for regression
    bias: Float32  # [C]
    calibration: Calibration
    # the C classes, in the order of the columns of `weights`; empty for regression
    class_names: tuple[str, ...]
    hidden: HiddenLayer | None = None

    @property
    def task(self) -> Task:
        """The kind of task."""
        return self.calibration.task

    @property
    def temperature(self) -> float:
        """Single label: the divisor of scores before the softmax."""
        return self.calibration.temperature

    @property
    def thresholds(self) -> Float32:
        """Multi-label: the lowest probability at which each class is predicted, [C]; empty otherwise."""
        return self.calibration.thresholds

    @property
    def interval(self) -> tuple[float, float] | None:
        """Regression: offsets from a prediction between which 90 % of true numbers lie."""
        return self.calibration.interval

    @property
    def work(self) -> int:
        """Multiplications for one input."""
        return self.weights.size + (self.hidden.weights.size if self.hidden else 0)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, including class names (estimated at 80 bytes above their length)."""
        arrays = self.weights.nbytes + self.bias.nbytes + self.calibration.nbytes
        if self.hidden is not None:
            arrays += self.hidden.weights.nbytes + self.hidden.bias.nbytes
        return arrays + sum(len(name) + 80 for name in self.class_names)

    def scores(self, views: Mapping[str, Float32]) -> Float32:
        """Return scores [n, C] of n inputs before calibration, from features by view."""
        features = scale_features(concatenate_views(views, self.views), self.scaling)
        if self.hidden is not None:
            features = self.hidden.units(features)
        scores: Float32 = row_products(features, self.weights) + self.bias
        return scores

    def outputs(self, views: Mapping[str, Float32]) -> Float32:
        """Return calibrated outputs [n, C] of n inputs, from features by view.

        They are probabilities of the classes, which sum to 1 for a single label, or the numbers [n, 1] of a
        regression.
        """
        return self.calibration.outputs(self.scores(views))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for `from_tensors`."""
        calibration = self.calibration
        tensors: dict[str, NDArray[Any]] = {"weights": self.weights, "bias": self.bias}
        if self.hidden is not None:
            tensors |= {"hidden.weights": self.hidden.weights, "hidden.bias": self.hidden.bias}
        if self.task is Task.SINGLE_LABEL:
            tensors["temperature"] = np.array([calibration.temperature], np.float64)
        elif self.task is Task.MULTI_LABEL:
            tensors |= {name: getattr(calibration, name) for name in _OF_EACH_CLASS}
        elif calibration.interval is not None:
            tensors["interval"] = np.array(calibration.interval, np.float64)
        return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], facts: HeadMetadata) -> "Head":
        """Return the head of `tensors`; KeyError, IndexError or ValueError if they belong to no such head."""
        weights, bias = tensors["weights"], tensors["bias"]
        columns = 1 if facts.task is Task.REGRESSION else len(facts.class_names)
        hidden = None
        if "hidden.weights" in tensors:
            hidden = HiddenLayer(weights=tensors["hidden.weights"], bias=tensors["hidden.bias"])
            if hidden.weights.shape[1:] != weights.shape[:1] or hidden.bias.shape != weights.shape[:1]:
                raise ValueError("Expected a hidden layer that fits the weights.")
        if weights.ndim != 2 or weights.shape[1] != columns or bias.shape != (columns,):
            raise ValueError("Expected a column of weights for each class.")
        return cls(
            views=facts.views,
            scaling=facts.scaling,
            weights=weights,
            bias=bias,
            calibration=_calibration(tensors, facts.task, columns),
            class_names=facts.class_names,
            hidden=hidden,
        )


_OF_EACH_CLASS = ("slopes", "offsets", "thresholds")


def _calibration(tensors: Mapping[str, NDArray[Any]], task: Task, columns: int) -> Calibration:
    if task is Task.SINGLE_LABEL:
        return Calibration(temperature=float(tensors["temperature"][0]))
    if task is Task.MULTI_LABEL:
        slopes, offsets, thresholds = (tensors[name] for name in _OF_EACH_CLASS)
        if not slopes.shape == offsets.shape == thresholds.shape == (columns,):
            raise ValueError("Expected a calibration of each class.")
        return Calibration(task=task, slopes=slopes, offsets=offsets, thresholds=thresholds)
    interval = tuple(tensors["interval"].tolist()) if "interval" in tensors else None
    if interval is not None and len(interval) != 2:
        raise ValueError("Expected two ends of an interval.")
    return Calibration(task=task, interval=interval)
