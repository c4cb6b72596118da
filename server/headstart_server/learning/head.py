"""The head: the small trained part on top of a backbone's features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.calibration import Calibration, softmax
from headstart_server.learning.rows import Float32, Scaling, concatenate_views, normalized, scale_features
from headstart_server.learning.task import Task

__all__ = ["Float32", "Head", "HeadMetadata", "HiddenLayer", "normalized", "softmax"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HiddenLayer:
    """A hidden layer with rectified units (ReLU) between features and scores.

    Attributes:
        weights: [D, H].
        bias: [H].
    """

    weights: Float32
    bias: Float32

    def units(self, features: Float32) -> Float32:
        """What the H units give for prepared features [n, D]: [n, H]."""
        units: Float32 = features @ self.weights
        units += self.bias
        return np.maximum(units, 0, out=units)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMetadata:
    """What is known of a head beside its numbers.

    Attributes:
        task: the kind of task.
        views: the backbone's views it takes side by side.
        scaling: how features are prepared.
        class_names: the C classes; empty for regression.
    """

    task: Task
    views: tuple[str, ...]
    scaling: Scaling
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A head on features, with the calibration of its answers.

    Attributes:
        views: the backbone's views it takes side by side, of D features together.
        scaling: how features are prepared; that of `STANDARD` is in the first weights and their bias.
        weights: [D, C], or [H, C] behind a hidden layer; one column for regression.
        bias: [C].
        calibration: what makes scores into answers; it knows the task.
        class_names: the C classes, in the order of the columns of `weights`; empty for regression.
        hidden: the layer before, of H units; None for a linear head.
    """

    views: tuple[str, ...]
    scaling: Scaling = Scaling.UNIT
    weights: Float32
    bias: Float32
    calibration: Calibration
    class_names: tuple[str, ...]
    hidden: HiddenLayer | None = None

    @property
    def task(self) -> Task:
        """The kind of task."""
        return self.calibration.task

    @property
    def temperature(self) -> float:
        """Single label: what scores are divided by before the softmax."""
        return self.calibration.temperature

    @property
    def thresholds(self) -> Float32:
        """Multi-label: the probability from which on each class is taken to apply, [C]; empty otherwise."""
        return self.calibration.thresholds

    @property
    def interval(self) -> tuple[float, float] | None:
        """Regression: offsets from an answer between which the true number lies in 90 % of cases."""
        return self.calibration.interval

    @property
    def work(self) -> int:
        """Multiplications for one input."""
        return self.weights.size + (self.hidden.weights.size if self.hidden else 0)

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory, class names included (estimated at 80 bytes above their length)."""
        arrays = self.weights.nbytes + self.bias.nbytes + self.calibration.nbytes
        if self.hidden is not None:
            arrays += self.hidden.weights.nbytes + self.hidden.bias.nbytes
        return arrays + sum(len(name) + 80 for name in self.class_names)

    def scores(self, views: Mapping[str, Float32]) -> Float32:
        """Scores [n, C] of n inputs' features by view, before calibration."""
        features = scale_features(concatenate_views(views, self.views), self.scaling)
        if self.hidden is not None:
            features = self.hidden.units(features)
        scores: Float32 = features @ self.weights + self.bias
        return scores

    def outputs(self, views: Mapping[str, Float32]) -> Float32:
        """Calibrated answers [n, C] for n inputs' features by view.

        Probabilities of the classes: of a single label each row sums to 1, of several each stands by itself.
        For regression the numbers, [n, 1].
        """
        return self.calibration.outputs(self.scores(views))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All its numbers by name, as `from_tensors` takes them."""
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
        """The head of which `tensors` gave the numbers, in this release or an earlier one.

        Raises:
            KeyError, IndexError or ValueError: they are not those of such a head.
        """
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
