"""Predicted classes of heads, outputs that are no numbers, and the agreement of two heads."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from headstart_server.errors import UndecodableInput
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.models.resident import ResidentVersion


def predicted_classes(head: Head, outputs: Float32) -> NDArray[np.bool_]:
    """Return whether a head predicts each class of n inputs, [n, C]; a single label is the most probable."""
    if head.task is Task.MULTI_LABEL:
        reached: NDArray[np.bool_] = outputs >= head.thresholds
        return reached
    predicted = np.zeros(outputs.shape, np.bool_)
    predicted[np.arange(len(outputs)), outputs.argmax(axis=1)] = True
    return predicted


def rows_without_numbers(outputs: Float32) -> Sequence[int]:
    """Return the places of the inputs whose outputs [n, C] contain NaN or infinity."""
    # Almost always finite: the sum of squares is checked faster.
    if isfinite(np.vdot(outputs, outputs)):
        return ()
    places: list[int] = np.flatnonzero(~np.isfinite(outputs).all(axis=1)).tolist()
    return places


def overflow_faults(version: ResidentVersion, outputs: Float32) -> dict[int, UndecodableInput]:
    """Return the errors of the inputs whose outputs [n, C] contain NaN or infinity, by index."""
    return {
        place: UndecodableInput(
            f"Version {version.number} of model '{version.model}' predicts NaN or infinity for the input. "
            "Send features of about the size of those in the training examples, or leave the input out."
        )
        for place in rows_without_numbers(outputs)
    }


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
