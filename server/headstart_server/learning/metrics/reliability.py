"""Reliability of predicted probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64
from headstart_server.learning.metrics.class_predictions import ClassPredictions

#: Number of bins of equal width (Guo et al. 2017).
BINS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Predictions whose probabilities lie in one range, as documented in the contract."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Nonempty bins by ascending probability, and the weighted mean gap of confidence and accuracy."""

    bins: tuple[ReliabilityBin, ...]
    calibration_error: float


def reliability(targets: Targets, outputs: Float32, predictions: ClassPredictions) -> Reliability:
    """Return the reliability of calibrated probabilities [n, C], n above 0.

    For a single label only the predicted class counts; for several labels each class does, predicted or not.
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
    """Return by bin the number of predictions and the sums of weights, probabilities and hits."""
    exact = sure.astype(np.float64)
    place = np.minimum((exact * BINS).astype(np.int64), BINS - 1)
    return np.stack(
        [
            np.bincount(place, of, minlength=BINS)
            for of in (np.ones(len(place)), weights, weights * exact, weights * true)
        ]
    )
