"""How far probabilities can be believed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Float32, Float64
from headstart_server.learning.targets import Targets
from headstart_server.learning.task import Task
from headstart_server.learning.told import ClassPredictions

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


def reliability(targets: Targets, outputs: Float32, predictions: ClassPredictions) -> Reliability:
    """Reliability of calibrated probabilities [n, C], n above 0.

    Of a single label the answer is the class that was told; of several each class is one, told or not.
    """
    sums = np.zeros((4, BINS))
    if targets.task is Task.SINGLE_LABEL:
        sums += _sums(outputs.max(axis=1), predictions.correct, predictions.weights)
    else:
        for place in range(outputs.shape[1]):
            sums += _sums(outputs[:, place], predictions.actual[:, place], predictions.weights)
    count, mass, believed, came = sums
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


def _sums(sure: Float32, true: NDArray[np.bool_], weights: Float64) -> Float64:
    """In each bin the number of answers, and the sums of weights, of probabilities and of what came true."""
    exact = sure.astype(np.float64)
    place = np.minimum((exact * BINS).astype(np.int64), BINS - 1)
    return np.stack(
        [
            np.bincount(place, of, minlength=BINS)
            for of in (np.ones(len(place)), weights, weights * exact, weights * true)
        ]
    )
