"""Predictions of versions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headstart.display import bars, figure, heatmap_png, table
from headstart.errors import PredictionError
from headstart.inputs.task import Task
from headstart.label_values import LabelValue
from headstart.results.findings import ExampleReference
from headstart.v1 import prediction_service_pb2 as pb

_MAX_ROWS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassProbability:
    """A class and its probability.

    Attributes:
        name: name of the class.
        probability: calibrated, 0 to 1; the probabilities of all classes of a version sum to 1, unless it is
            multi-label.
        index: index of the class in `Version.class_names`.
        selected: whether the class is predicted: for a multi-label version if its probability reaches the
            class's threshold, otherwise if it is the most probable class.
    """

    name: str
    probability: float
    index: int
    selected: bool = False


class AbstentionReason(StrEnum):
    """The reason why an input is unknown. UNSPECIFIED: a reason that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    NONE = "NONE"
    UNLIKE_TRAINING = "UNLIKE_TRAINING"
    LOW_PROBABILITY = "LOW_PROBABILITY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A training example near an input.

    Attributes:
        example: the example, by its index among the version's examples.
        distance: cosine distance of the features that the head reads, 0 to 2.
    """

    example: ExampleReference
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """The exact change of a prediction if a training example is left out.

    Attributes:
        example: the example, by its index among the version's examples.
        score_change: change of the score of the most probable class, or of the number; below 0 if the
            example supports the prediction.
        probability_change: change of the calibrated probability of that class; None for a regression.
    """

    example: ExampleReference
    score_change: float
    probability_change: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Saliency:
    """The parts of an image that support a prediction.

    Attributes:
        map: float32 of shape [rows, columns] over the square that the backbone reads: the decrease of the
            score (log odds, or the number) if that part is covered; parts below 0 contradict the prediction.
        class_name: the explained class; empty for a regression.
        overlay: PNG of the image as the backbone reads it with the map as an overlay; empty if not requested.
    """

    map: NDArray[np.float32] = field(compare=False)
    class_name: str
    overlay: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.overlay or heatmap_png(self.map)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the overlay, or the map if it has no overlay, as a PNG file and return its path."""
        target = Path(path)
        target.write_bytes(self._repr_png_())
        return target


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """The truncation of an input whose end the backbone did not read.

    Attributes:
        kept_characters: number of characters that were read.
        characters: number of characters of the input.
    """

    kept_characters: int
    characters: int


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Prediction:
    """The prediction of a version for one input.

    Attributes:
        classes: the requested number of classes, most probable first; empty for a regression.
        model: the model.
        version: number of the version that predicted.
        task: kind of label that the version predicts.
        predicted: the predicted label: a class, all predicted classes, or a number.
        interval_low: lower end of the 90 % interval of a number; None if it could not be estimated.
        interval_high: upper end of the 90 % interval of a number.
        abstained: whether the input is reported as unknown; the other fields are set as without ``abstain``.
        abstention_reason: reason of the abstention.
        typicality: fraction of the training examples that are at least as far from their nearest neighbors as
            this input, 0 to 1; near 0 for inputs unlike all training examples. Only with ``abstain``; None if
            the version does not support it.
        neighbors: nearest training examples. Only with ``neighbors``.
        influences: training examples with the largest influence. Only with ``influence``.
        saliency: parts of the image that support the prediction. Only with ``saliency``.
        truncation: the part of the input that the backbone read; None if it read all of it.
        prediction_id: ID for feedback; empty unless the model has a capture policy.
    """

    classes: tuple[ClassProbability, ...]
    model: str
    version: int
    task: Task = Task.UNSPECIFIED
    predicted: LabelValue = None
    interval_low: float | None = None
    interval_high: float | None = None
    abstained: bool = False
    abstention_reason: AbstentionReason = AbstentionReason.NONE
    typicality: float | None = None
    neighbors: tuple[Neighbor, ...] = ()
    influences: tuple[Influence, ...] = ()
    saliency: Saliency | None = None
    truncation: Truncation | None = None
    prediction_id: str = ""

    def _repr_html_(self) -> str:
        rows = [(each.name, each.probability, each.name in self.labels) for each in self.classes]
        doubt = f"unknown: {self.abstention_reason.lower().replace('_', ' ')}" if self.abstained else ""
        value = "" if self.value is None else table([(self._summary(),)])
        return figure(f"{self.model}@{self.version}", bars(rows), value, note=doubt)

    def __repr__(self) -> str:
        doubt = f", abstained: {self.abstention_reason.lower()}" if self.abstained else ""
        return f"Prediction({self._summary()}{doubt}, {self.model}@{self.version})"

    @property
    def value(self) -> float | None:
        """The predicted number; None for classes."""
        return self.predicted if isinstance(self.predicted, float) else None

    @property
    def label(self) -> str:
        """The most probable class, even if the version abstained.

        Raises:
            ValueError: the version predicts several classes or a number; read `labels` or `value`.
        """
        return self._likeliest("label").name

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0 to 1.

        Raises:
            ValueError: as for `label`.
        """
        return self._likeliest("probability").probability

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each requested class, most probable first."""
        return {each.name: each.probability for each in self.classes}

    @property
    def labels(self) -> tuple[str, ...]:
        """All predicted classes; for a single-label version the most probable one, empty for a regression."""
        if isinstance(self.predicted, tuple):
            return self.predicted
        if self.task is Task.MULTI_LABEL:
            return tuple(each.name for each in self.classes if each.selected)
        return tuple(each.name for each in self.classes[:1])

    def _likeliest(self, name: str) -> ClassProbability:
        if self.task is Task.MULTI_LABEL:
            raise ValueError(
                f"A version that predicts any number of classes has no single {name}. Read `labels`, or "
                f"`classes` with their probabilities. Received: {self!r}"
            )
        if not self.classes:
            raise ValueError(
                f"A version that predicts a number has no {name}. Read `value`. Received: {self!r}"
            )
        return self.classes[0]

    def _summary(self) -> str:
        if self.value is not None:
            interval = self.interval_low is not None and self.interval_high is not None
            return f"{self.value:.6g}" + (
                f" ({self.interval_low:.6g} to {self.interval_high:.6g})" if interval else ""
            )
        if self.task is Task.MULTI_LABEL:
            chosen = [each for each in self.classes if each.selected]
            return ", ".join(f"{each.name} {each.probability:.1%}" for each in chosen) or "no class"
        return f"{self.classes[0].name} {self.classes[0].probability:.1%}" if self.classes else "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedInput:
    """One input of many, and its prediction.

    Attributes:
        name: path of the input, or line of its file; empty if it has no name.
        cells: cells of its row, by column; empty if it is not a row of a file.
        outcome: the prediction, or the error of an unusable input.
        message: message of the prediction, from which the command prints JSON; None for an error.
    """

    name: str
    cells: Mapping[str, Any]
    outcome: Prediction | PredictionError
    message: pb.Prediction | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ModelPredictions:
    """The predictions of one version for all inputs.

    Attributes:
        model: the model.
        version: number of the version that predicted.
        predictions: one prediction for each input, in order.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...]

    def _repr_html_(self) -> str:
        rows = [(index, each._summary()) for index, each in enumerate(self.predictions[:_MAX_ROWS])]
        more = len(self.predictions) - len(rows)
        note = f"and {more:,} more" if more else ""
        return figure(f"{self.model}@{self.version}", table(rows, ("input", "predicted")), note=note)

    def __repr__(self) -> str:
        return f"ModelPredictions({self.model}@{self.version}, {len(self.predictions)} predictions)"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTimes:
    """Server time of a call by stage; for several calls, the sum.

    Attributes:
        total_duration: from the arrival of the request to the complete response.
        resolve_duration: finding versions and loading heads.
        decode_duration: decoding and resizing.
        queue_duration: waiting for the device.
        backbone_duration: running the backbone.
        head_duration: heads, calibration and selection of the top classes.
    """

    total_duration: timedelta
    resolve_duration: timedelta
    decode_duration: timedelta
    queue_duration: timedelta
    backbone_duration: timedelta
    head_duration: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFault:
    """An unusable input.

    Attributes:
        index: index of the input in the call, from 0.
        reason: the contract's reason, such as ``UNDECODABLE_INPUT``.
        message: the expected and the received value.
    """

    index: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """The predictions of several versions for the same inputs.

    Attributes:
        results: one result for each target, in order.
        features: by backbone and view, float32 of shape [inputs, size of the view]; empty unless requested.
        times: server time by stage; None if there was no input.
        faults: skipped inputs, which have empty predictions.
    """

    results: tuple[ModelPredictions, ...]
    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    times: StageTimes | None
    faults: tuple[InputFault, ...] = ()

    def _repr_html_(self) -> str:
        return "".join(each._repr_html_() for each in self.results)
