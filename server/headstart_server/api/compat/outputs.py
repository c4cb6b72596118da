"""Predictions as the named tensors of other protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.head import Head
from headstart_server.prediction.version_prediction import VersionPrediction

PROBABILITIES, LABEL, SELECTED, VALUE = "probabilities", "label", "selected", "value"


class Kind(Enum):
    """The type of an output's elements."""

    FLOAT = "float"
    BOOL = "bool"
    STRING = "string"


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One output of a version."""

    name: str
    kind: Kind
    # the number of classes, for [n, classes]; None for one element for each input, [n]
    classes: int | None = None


def outputs_of(head: Head) -> tuple[Output, ...]:
    """Return the outputs of a version with this head, the main one first."""
    if head.task is Task.REGRESSION:
        return (Output(name=VALUE, kind=Kind.FLOAT),)
    classes = len(head.class_names)
    probabilities = Output(name=PROBABILITIES, kind=Kind.FLOAT, classes=classes)
    if head.task is Task.MULTI_LABEL:
        return probabilities, Output(name=SELECTED, kind=Kind.BOOL, classes=classes)
    return probabilities, Output(name=LABEL, kind=Kind.STRING)


def chosen(head: Head, names: Sequence[str], field: str) -> Sequence[Output]:
    """Return the outputs of some names, in their order; all outputs without names."""
    outputs = outputs_of(head)
    if not names:
        return outputs
    by_name = {output.name: output for output in outputs}
    if len(set(names)) < len(names) or not by_name.keys() >= set(names):
        raise InvalidField(
            f"Expected outputs of {', '.join(by_name)}, each once. Received: "
            f"{', '.join(map(repr, names[:10]))}.",
            field=field,
        )
    return [by_name[name] for name in names]


def values_of(answer: VersionPrediction, output: Output) -> NDArray[Any]:
    """Return the values of an output in its shape: float32, bool, or an object array of bytes for strings."""
    if output.name == VALUE:
        return np.zeros(0, np.float32) if answer.values is None else answer.values.astype(np.float32)
    if output.name == LABEL:
        names = answer.version.head.class_names
        labels = np.empty(len(answer.indexes), object)
        labels[:] = [names[index].encode() for index in answer.indexes[:, 0].tolist()]
        return labels
    # Predictions are sorted by probability; in outputs, each class has its own column.
    ranked = answer.probabilities if output.name == PROBABILITIES else answer.selected
    values: NDArray[Any] = np.empty_like(ranked)
    np.put_along_axis(values, answer.indexes, ranked, axis=1)
    return values
