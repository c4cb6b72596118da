"""The examples with the largest loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64, Ints
from headstart_server.learning.metrics.class_predictions import ClassPredictions
from headstart_server.learning.metrics.metrics import losses

#: Reported examples.
MAX_WORST = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleOutcome:
    """An example and its prediction.

    Attributes:
        index: position among the examples, from 0.
        id: the caller's ID of the example.
        labels: its classes; empty for regression, or if the head does not know them.
        probability: of the true class; of several labels the lowest of all true states, present or absent;
            None for regression.
        loss: log loss in nats; for regression the absolute error.
        number: regression: the true number.
        value: regression: the predicted number.
        multi_label: whether any number of classes may apply.
    """

    index: int
    id: str
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: float | None
    loss: float
    number: float | None = None
    value: float | None = None
    multi_label: bool = False

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ExampleOutcome":
        """Return the outcome that `asdict` wrote."""
        labels, predicted = tuple(fields["labels"]), tuple(fields["predicted"])
        return cls(**{**fields, "labels": labels, "predicted": predicted})


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
