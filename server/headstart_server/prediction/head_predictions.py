"""Predicted classes of heads, and the agreement of two heads."""

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head


def predicted_classes(head: Head, outputs: Float32) -> NDArray[np.bool_]:
    """Return whether a head predicts each class of n inputs, [n, C]; a single label is the most probable."""
    if head.task is Task.MULTI_LABEL:
        reached: NDArray[np.bool_] = outputs >= head.thresholds
        return reached
    predicted = np.zeros(outputs.shape, np.bool_)
    predicted[np.arange(len(outputs)), outputs.argmax(axis=1)] = True
    return predicted


def agreement(head: Head, outputs: Float32, other: Head, others: Float32) -> NDArray[np.bool_] | None:
    """Return whether another head of the same task predicts the same for n inputs, [n].

    For classes: the same classes. For numbers: a number in the first head's 90 % interval.

    Args:
        head: the first head.
        outputs: outputs of the first head, [n, C].
        other: the other head; its classes may differ.
        others: outputs of the other head, [n, its C].

    Returns:
        None if the first head predicts numbers without an interval.
    """
    if head.task is Task.REGRESSION:
        if head.interval is None:
            return None
        apart = others[:, 0] - outputs[:, 0]
        low, high = head.interval
        within: NDArray[np.bool_] = (apart >= low) & (apart <= high)
        return within
    first, second = _names(head, outputs), _names(other, others)
    return np.array([one == two for one, two in zip(first, second, strict=True)], np.bool_)


def _names(head: Head, outputs: Float32) -> list[frozenset[str]]:
    return [
        frozenset(head.class_names[place] for place in np.flatnonzero(flags).tolist())
        for flags in predicted_classes(head, outputs)
    ]
