"""How far probabilities can be believed."""

from dataclasses import dataclass

import numpy as np

from headstart_server.learning.rows import Float32, Float64
from headstart_server.learning.targets import Targets
from headstart_server.learning.task import Task
from headstart_server.learning.told import Told

#: Bins of equal width (Guo et al. 2017).
BINS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Answers whose probabilities lie in one range.

    Attributes:
        low: the range's lower end.
        high: its upper end.
        count: number of answers.
        confidence: their mean probability.
        accuracy: the share that came true.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Reliability over all ranges.

    Attributes:
        bins: those that are not empty, by rising probability.
        calibration_error: expected calibration error: the mean distance of confidence and accuracy over the
            bins, weighed by the examples in them.
    """

    bins: tuple[ReliabilityBin, ...]
    calibration_error: float


def reliability(targets: Targets, outputs: Float32, told: Told) -> Reliability:
    """Reliability of calibrated probabilities [n, C], n above 0.

    Of a single label the answer is the class that was told; of several each class is one, told or not.
    """
    if targets.task is Task.SINGLE_LABEL:
        sure = outputs.max(axis=1).astype(np.float64)
        true, weights = told.right.astype(np.float64), told.weights
    else:
        sure, true = outputs.ravel().astype(np.float64), told.actual.ravel().astype(np.float64)
        weights = np.repeat(told.weights, outputs.shape[1])
    return _binned(sure, true, weights)


def _binned(sure: Float64, true: Float64, weights: Float64) -> Reliability:
    place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    mass, believed, came = (
        np.bincount(place, weights * what, minlength=BINS) for what in (np.ones_like(sure), sure, true)
    )
    bins = tuple(
        ReliabilityBin(
            low=index / BINS,
            high=(index + 1) / BINS,
            count=int(count[index]),
            confidence=float(believed[index] / mass[index]),
            accuracy=float(came[index] / mass[index]),
        )
        for index in np.flatnonzero(count).tolist()
    )
    return Reliability(bins=bins, calibration_error=float(np.abs(believed - came).sum() / mass.sum()))
