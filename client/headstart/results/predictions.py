"""What versions say about inputs."""

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
from headstart.results.findings import ExampleReference
from headstart.results.label_values import LabelValue
from headstart.v1 import prediction_service_pb2 as pb

__all__ = [
    "AbstentionReason",
    "ClassProbability",
    "InputFault",
    "ModelPredictions",
    "Neighbor",
    "PredictedInput",
    "Prediction",
    "Predictions",
    "Saliency",
    "StageTimes",
    "Truncation",
]


_SHOWN: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassProbability:
    """A class and how likely it is.

    Attributes:
        name: as the examples were labelled.
        probability: calibrated, 0 to 1; over all classes of a version they sum to 1, unless it is
            multi-label.
        index: the class's place in `Version.class_names`.
        selected: for a multi-label version, whether the class is taken to apply: its probability reaches the
            class's threshold. Otherwise true for the likeliest class.
    """

    name: str
    probability: float
    index: int
    selected: bool = False


class AbstentionReason(StrEnum):
    """Why an input is unknown. UNSPECIFIED: a reason that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    NONE = "NONE"
    UNLIKE_TRAINING = "UNLIKE_TRAINING"
    LOW_PROBABILITY = "LOW_PROBABILITY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A training example near an input.

    Attributes:
        example: the example, by its place among the version's examples.
        distance: 1 less the cosine of the angle between the features as the head sees them, 0 to 2.
    """

    example: ExampleReference
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Saliency:
    """Which parts of a picture speak for an answer.

    Attributes:
        map: float32 of shape [rows, columns] over the square that the backbone sees: by how much the score
            (log odds, or the number) falls when that part is covered; below 0 it speaks against the answer.
        class_name: the class it is about; empty for a number.
        overlay: the picture as the backbone sees it with the map laid over it, a PNG file; empty if it was
            not requested.
    """

    map: NDArray[np.float32] = field(compare=False)
    class_name: str
    overlay: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.overlay or heatmap_png(self.map)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the overlay, or only the map without one, as a PNG file and return its path."""
        target = Path(path)
        target.write_bytes(self._repr_png_())
        return target


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """That a backbone did not see the end of an input.

    Attributes:
        kept_characters: the characters it saw.
        characters: the characters there are.
    """

    kept_characters: int
    characters: int


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Prediction:
    """What a version says about one input.

    Attributes:
        classes: the likeliest first, as many as were requested; empty for a number.
        model: the model that answered.
        version: the number of its version that answered.
        task: the kind of label the version predicts.
        predicted: the predicted label: a class, all classes that apply, or a number.
        interval_low: lower end of the 90 % interval of a number; None if it could not be estimated.
        interval_high: upper end of the 90 % interval of a number.
        abstained: True if the input is reported as unknown; everything else is what it would get otherwise.
            Only with ``abstain``.
        abstention_reason: why.
        typicality: the share of the training examples that lie at least as far from their nearest others as
            this input does, 0 to 1: a small one is unlike anything trained on. Only with ``abstain``; None
            for versions that cannot tell.
        neighbors: the nearest training examples. Only with ``neighbors``.
        saliency: which parts of the picture speak for the answer. Only with ``saliency``.
        truncation: how much of the input the version's backbone saw, if it did not see its end, as of a text
            of more tokens than it takes; else None.
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
    saliency: Saliency | None = None
    truncation: Truncation | None = None

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
        """The name of the likeliest class, whether the version abstained or not.

        Raises:
            ValueError: the version predicts several classes or a number; read `labels` or `value`.
        """
        return self._likeliest("label").name

    @property
    def probability(self) -> float:
        """How likely the likeliest class is, 0 to 1.

        Raises:
            ValueError: as for `label`.
        """
        return self._likeliest("probability").probability

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each class that was requested, the most probable first."""
        return {each.name: each.probability for each in self.classes}

    @property
    def labels(self) -> tuple[str, ...]:
        """All classes that apply; for a single-label version the most probable one, for numbers none."""
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
        name: its path, or the line of its file; empty if it has no name.
        cells: the cells of its row, by the file's columns; empty if it is no row of a file.
        outcome: the prediction, or the error of an input that cannot be used.
        message: the contract's message of the prediction, which the JSON of the command line is made of;
            None for an error.
    """

    name: str
    cells: Mapping[str, Any]
    outcome: Prediction | PredictionError
    message: pb.Prediction | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
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

    def _repr_html_(self) -> str:
        rows = [(index, each._summary()) for index, each in enumerate(self.predictions[:_SHOWN])]
        more = len(self.predictions) - len(rows)
        note = f"and {more:,} more" if more else ""
        return figure(f"{self.model}@{self.version}", table(rows, ("input", "predicted")), note=note)

    def __repr__(self) -> str:
        return f"ModelPredictions({self.model}@{self.version}, {len(self.predictions)} predictions)"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTimes:
    """Where a call's time went on the server; of several calls, the sum.

    Attributes:
        total_duration: from its arrival to the finished answer.
        resolve_duration: finding versions and loading heads that were not resident.
        decode_duration: decoding and resizing.
        queue_duration: waiting for the device.
        backbone_duration: the backbone.
        head_duration: heads, calibration and choosing the top classes.
    """

    total_duration: timedelta
    resolve_duration: timedelta
    decode_duration: timedelta
    queue_duration: timedelta
    backbone_duration: timedelta
    head_duration: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFault:
    """An input that cannot be used.

    Attributes:
        index: its place among the inputs of the call, from 0.
        reason: the contract's reason, such as ``UNDECODABLE_INPUT``.
        message: what was expected and what was received.
    """

    index: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What several versions say about the same inputs.

    Attributes:
        results: one for each target, in order.
        features: by backbone and view, float32 of shape [inputs, size of the view]; empty unless requested.
        times: where the time went; None if there was no input.
        faults: the inputs that were skipped, which have empty predictions.
    """

    results: tuple[ModelPredictions, ...]
    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    times: StageTimes | None
    faults: tuple[InputFault, ...] = ()

    def _repr_html_(self) -> str:
        return "".join(each._repr_html_() for each in self.results)
