"""What versions say about inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClassProbability",
    "ModelPredictions",
    "Prediction",
    "Predictions",
    "StageTimes",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassProbability:
    """A class and how likely it is.

    Attributes:
        name: as the examples were labelled.
        probability: calibrated, 0 to 1; over all classes of a version they sum to 1.
        index: the class's place in `Version.class_names`.
    """

    name: str
    probability: float
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a version says about one input.

    Attributes:
        classes: the likeliest first, as many as were asked for.
        model: the model that answered.
        version: the number of its version that answered.
    """

    classes: tuple[ClassProbability, ...]
    model: str
    version: int

    @property
    def label(self) -> str:
        """The name of the likeliest class."""
        return self.classes[0].name

    @property
    def probability(self) -> float:
        """How likely the likeliest class is, 0 to 1."""
        return self.classes[0].probability


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPredictions:
    """What one version says about all inputs.

    Attributes:
        model: the model.
        version: the number of the version that answered.
        predictions: one for each input, in order.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTimes:
    """Where a call's time went on the server; of several calls, the sum.

    Attributes:
        total: from its arrival to the finished answer.
        resolve: finding versions and loading heads that were not resident.
        decode: decoding and resizing.
        queue: waiting for the device.
        backbone: the backbone.
        head: heads, calibration and choosing the top classes.
    """

    total: timedelta
    resolve: timedelta
    decode: timedelta
    queue: timedelta
    backbone: timedelta
    head: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What several versions say about the same inputs.

    Attributes:
        results: one for each target, in order.
        features: by backbone and view, float32 of shape [inputs, size of the view]; empty unless asked for.
        times: where the time went; None if there was no input.
    """

    results: tuple[ModelPredictions, ...]
    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    times: StageTimes | None
