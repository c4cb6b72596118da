"""Predicted labels and class probabilities of captured inputs."""

import numpy as np

from headstart_server.capture.captured_input import ClassProbability
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.prediction.head_predictions import predicted_classes

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
