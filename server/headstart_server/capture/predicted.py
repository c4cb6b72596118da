"""Predictions of a version for captured inputs: labels, probabilities, margins and directions."""

from collections.abc import Mapping, Sequence

import numpy as np

from headstart_server.capture.captured_input import ClassProbability
from headstart_server.learning.analysis.references import PROJECTED, project_directions
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64, normalized
from headstart_server.learning.features.similarity import similarity_rows
from headstart_server.learning.heads.head import Head
from headstart_server.prediction.head_predictions import predicted_classes


def directions_bytes(views: Mapping[str, Float32], names: Sequence[str]) -> list[bytes]:
    """Return the directions of n inputs from features [n, D of the view] by view."""
    rows = project_directions(similarity_rows(views, names))
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return [row.tobytes() for row in np.rint(rows / largest * 127).astype(np.int8)]


def directions_of(stored: Sequence[bytes]) -> Float32:
    """Return the directions as rows of length 1, [N, d]; shorter ones are padded with zeros."""
    rows = np.zeros((len(stored), PROJECTED), np.float32)
    for place, each in enumerate(stored):
        values = np.frombuffer(each, np.int8)[:PROJECTED]
        rows[place, : len(values)] = values
    return normalized(rows)


def margins_of(head: Head, outputs: Float32) -> Float64:
    """Return the margin of each of n inputs from outputs [n, C], 0 to 1; NaN for regression.

    It is the probability of the most probable class minus that of the second; for multi-label twice the
    smallest distance of a probability from its threshold.
    """
    if head.task is Task.REGRESSION:
        return np.full(len(outputs), np.nan)
    if head.task is Task.MULTI_LABEL:
        distances = np.abs(outputs.astype(np.float64) - head.thresholds).min(axis=1)
        capped: Float64 = np.minimum(2 * distances, 1.0)
        return capped
    if outputs.shape[1] < 2:
        return np.ones(len(outputs))
    top = np.partition(outputs.astype(np.float64), -2, axis=1)
    margins: Float64 = top[:, -1] - top[:, -2]
    return margins


#: Classes that are stored for each input.
_TOP = 5


def targets_of(head: Head, outputs: Float32) -> list[Target]:
    """Return the label that a head predicts for each of n inputs, from outputs [n, C]."""
    if head.task is Task.REGRESSION:
        return [Target.of_value(float(value)) for value in outputs[:, 0]]
    predicted = predicted_classes(head, outputs)
    names = [[head.class_names[index] for index in np.flatnonzero(row).tolist()] for row in predicted]
    if head.task is Task.MULTI_LABEL:
        return [Target.of_labels(each) for each in names]
    return [Target.of_label(each[0]) for each in names]


def classes_of(head: Head, outputs: Float32) -> list[tuple[ClassProbability, ...]]:
    """Return the most probable classes of each of n inputs, by descending probability."""
    if head.task is Task.REGRESSION:
        return [() for _ in outputs]
    selected = predicted_classes(head, outputs)
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :_TOP]
    return [
        tuple(
            ClassProbability(
                name=head.class_names[index],
                index=index,
                probability=float(row[index]),
                selected=bool(chosen[index]),
            )
            for index in indexes
        )
        for row, chosen, indexes in zip(outputs, selected, order.tolist(), strict=True)
    ]
