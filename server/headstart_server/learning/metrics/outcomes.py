"""Predictions of examples that a head was not fitted on, and the worst among them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import BLOCK, Float32, Float64, Ints
from headstart_server.learning.metrics.class_predictions import ClassPredictions, limits_at
from headstart_server.learning.metrics.metrics import losses

#: Maximum reported examples.
MAX_WORST = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleOutcome:
    """An example and its prediction; labels are empty for regression, or if the head does not know them."""

    index: int
    id: str
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: float | None
    loss: float
    number: float | None = None
    value: float | None = None
    multi_label: bool = False


def worst_examples(
    targets: Targets, outputs: Float32, predictions: ClassPredictions, ids: Sequence[str], places: Ints
) -> tuple[ExampleOutcome, ...]:
    """Return the examples of the largest loss, at most `MAX_WORST`, the worst first.

    `places` [n] are the positions of the n examples among all, whose IDs are `ids` [N].
    """
    loss = losses(targets, outputs)
    names = np.array(targets.class_names)
    likely = label_probability(targets, outputs, predictions)
    return tuple(
        ExampleOutcome(
            index=int(places[row]),
            id=ids[places[row]],
            labels=tuple(names[predictions.actual[row]].tolist()),
            predicted=tuple(names[predictions.predicted[row]].tolist()),
            probability=float(likely[row]),
            loss=float(loss[row]),
            multi_label=targets.task is Task.MULTI_LABEL,
        )
        for row in np.argsort(-loss, kind="stable")[:MAX_WORST].tolist()
    )


def label_probability(targets: Targets, outputs: Float32, predictions: ClassPredictions) -> Float64:
    """Return the probability of each label, [n]; of several labels the lowest of all true states."""
    if targets.task is Task.SINGLE_LABEL:
        right: Float64 = (outputs * predictions.actual).sum(axis=1, dtype=np.float64)
        return right
    lowest: Float64 = np.where(predictions.actual, outputs, 1 - outputs).min(axis=1).astype(np.float64)
    return lowest


def worst_regression_examples(
    targets: Targets, outputs: Float32, ids: Sequence[str], places: Ints
) -> tuple[ExampleOutcome, ...]:
    """Return the examples of the largest error of a regression; arguments as for `worst_examples`."""
    values = outputs[:, 0].astype(np.float64)
    errors = np.abs(values - targets.matrix[:, 0])
    return tuple(
        ExampleOutcome(
            index=int(places[row]),
            id=ids[places[row]],
            labels=(),
            predicted=(),
            probability=None,
            loss=float(errors[row]),
            number=float(targets.matrix[row, 0]),
            value=float(values[row]),
        )
        for row in np.argsort(-errors, kind="stable")[:MAX_WORST].tolist()
    )


class PredictionOutcome(NamedTuple):
    """The out-of-fold prediction of an example."""

    loss: float  # log loss in nats (several labels: mean over the classes); for regression the absolute error
    # the predicted classes: one of a single label, any number of several; empty for regression
    labels: tuple[str, ...] = ()
    value: float | None = None  # the predicted number of a regression
    # probability of the true class (several labels: the lowest of all true states); None for regression
    probability: float | None = None
    # whether the example was held out of training. Otherwise a head fitted without its fold predicted it
    held_out: bool = False
    # whether it counts in metrics; False if the predicting head could not know the class of the example
    counted: bool = True
    # probability of the predicted class of a single label; None for other tasks
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledOutputs:
    """Calibrated outputs of a head for examples, whose classes the head need not all know."""

    targets: Targets  # labels over the head's classes, followed by the classes it does not know, [N]
    outputs: Float32  # calibrated outputs, 0 for classes that the head does not know, [N, C]
    # thresholds of several labels, [C], or [N, C] if each example has its own; above 1 for classes that the
    # head does not know
    thresholds: Float32

    @classmethod
    def from_head(
        cls,
        targets: Sequence[Target],
        weights: Sequence[float],
        outputs: Float32,
        thresholds: Float32,
        class_names: Sequence[str],
    ) -> "LabeledOutputs":
        """Return outputs [N, C] of a head with the labels of the examples; `class_names` are the head's."""
        unknown = sorted({name for target in targets for name in target.shares} - set(class_names))
        if unknown:
            outputs = np.pad(outputs, ((0, 0), (0, len(unknown))))
            if len(thresholds):
                thresholds = np.pad(thresholds, (0, len(unknown)), constant_values=np.inf)
        shown = Targets.from_targets(targets, weights, (*class_names, *unknown))
        return cls(targets=shown, outputs=outputs, thresholds=thresholds)

    def outcomes(
        self, *, held_out: NDArray[np.bool_] | None = None, counted: NDArray[np.bool_] | None = None
    ) -> Iterator[PredictionOutcome]:
        """Yield the outcome of each example in order; flags [N] default to not held out, and counted."""
        flags = {
            "held_out": np.zeros(len(self.targets), np.bool_) if held_out is None else held_out,
            "counted": np.ones(len(self.targets), np.bool_) if counted is None else counted,
        }
        is_regression = self.targets.task is Task.REGRESSION
        for start in range(0, len(self.targets), BLOCK):
            places = np.arange(start, min(start + BLOCK, len(self.targets)))
            part = LabeledOutputs(
                targets=self.targets.subset(places),
                outputs=self.outputs[places],
                thresholds=limits_at(self.thresholds, places),
            )
            columns = part._of_numbers() if is_regression else part._of_classes()
            columns |= {name: values[places].tolist() for name, values in flags.items()}
            rows = (
                columns.get(name) or repeat(PredictionOutcome._field_defaults.get(name), len(places))
                for name in PredictionOutcome._fields
            )
            yield from map(PredictionOutcome._make, zip(*rows, strict=True))

    def _of_numbers(self) -> dict[str, list[Any]]:
        values = self.outputs[:, 0].astype(np.float64)
        errors = np.abs(values - self.targets.matrix[:, 0])
        return {"value": values.tolist(), "loss": errors.tolist()}

    def _of_classes(self) -> dict[str, list[Any]]:
        predictions = ClassPredictions.from_outputs(self.targets, self.outputs, self.thresholds)
        columns = {
            "labels": _names(self.targets.class_names, predictions.predicted),
            "probability": label_probability(self.targets, self.outputs, predictions).tolist(),
            "loss": losses(self.targets, self.outputs).tolist(),
        }
        if self.targets.task is Task.SINGLE_LABEL:
            columns["confidence"] = self.outputs.max(axis=1).tolist()
        return columns


def _names(class_names: Sequence[str], predicted: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    """Return the names of the predicted classes of each row of [n, C]."""
    found: list[tuple[str, ...]] = [()] * len(predicted)
    for row, place in zip(*(places.tolist() for places in np.nonzero(predicted)), strict=True):
        found[row] += (class_names[place],)
    return found
