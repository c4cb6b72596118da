"""The margin of predictions: how certain a head is about its labels."""

import numpy as np

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64
from headstart_server.learning.heads.head import Head


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
