"""Calibration from out-of-fold scores."""

from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.platt import fit_platt
from headstart_server.learning.heads.temperature import fit_temperature, smoothed_log_loss
from headstart_server.learning.metrics.metrics import effective_count

#: Minimum number of examples for a class's own threshold; with fewer, the common threshold is used.
OWN_FROM = 10
#: Default if nothing could be validated.
UNKNOWN = 0.5
_STEPS = 1000


def fit_thresholds(probabilities: Float64, targets: Float64, weights: Float64) -> Float64:
    """Return for each class the threshold of the highest F1 on out-of-fold probabilities, [C].

    It lies in the middle between two probabilities, so that rounding does not decide. A class with fewer than
    `OWN_FROM` examples gets the threshold of the highest F1 over all classes together. `probabilities` and
    `targets`, 1 where a class applies, are [n, C]; `weights` are [n], 0 for examples to leave out.
    """
    used = weights > 0
    having = used @ targets
    own = (having >= OWN_FROM) & (used.sum() - having >= OWN_FROM)
    together = UNKNOWN if own.all() else _together(probabilities, targets, weights)
    return np.array(
        [
            _best(probabilities[used, place], targets[used, place], weights[used]) if own[place] else together
            for place in range(probabilities.shape[1])
        ]
    )


def _best(probabilities: Float64, targets: Float64, weights: Float64) -> float:
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    # A threshold can only stand between two probabilities that differ.
    last = np.append(falling[1:] < falling[:-1], True)
    taken, right = np.cumsum(weights[order])[last], np.cumsum((weights * targets)[order])[last]
    place = int(np.argmax(2 * right / (taken + right[-1])))
    steps = np.append(falling[last], 0.0)
    return float(steps[place] + steps[place + 1]) / 2


def _together(probabilities: Float64, targets: Float64, weights: Float64) -> float:
    """Return the threshold of the highest F1 over all classes, one of `_STEPS`: sorting would need memory."""
    taken, right = np.zeros(_STEPS), np.zeros(_STEPS)
    for column, has in zip(probabilities.T, targets.T, strict=True):
        steps = np.minimum((column * _STEPS).astype(np.int64), _STEPS - 1)
        taken += np.bincount(steps, weights, minlength=_STEPS)
        right += np.bincount(steps, weights * has, minlength=_STEPS)
    taken, right = np.cumsum(taken[::-1])[::-1], np.cumsum(right[::-1])[::-1]
    if not right[0]:
        return UNKNOWN
    return float(np.argmax(2 * right / (taken + right[0]))) / _STEPS


#: Fraction of new numbers inside the interval.
COVERAGE = 0.9
#: Number of residuals from which their quantiles are used: the 5 % ends then lie within them.
QUANTILES_FROM = 20
#: Two-sided 90 % quantiles of Student's t distribution for 1 to 19 degrees of freedom.
_STUDENT = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729),
)


def prediction_interval(residuals: Float64, weights: Float64) -> tuple[float, float] | None:
    """Return offsets between which 90 % of new numbers lie; None for fewer than two residuals.

    Residuals [n] of weight 0 are left out.
    They are the quantiles of the residuals plus one more example beyond either end, as in CV+ (Barber,
    Candes, Ramdas and Tibshirani 2021). Below `QUANTILES_FROM` these would lie beyond all residuals, so the
    residuals are taken to be normal around 0.
    """
    used = weights > 0
    residuals, weights = residuals[used], weights[used]
    if len(residuals) < 2:
        return None
    count = effective_count(weights)
    if count < QUANTILES_FROM:
        spread = sqrt(float(weights @ np.square(residuals) / weights.sum()))
        half = _STUDENT[max(int(count) - 1, 0)] * spread * sqrt(1 + 1 / count)
        return -half, half
    return -_end(-residuals, weights, count), _end(residuals, weights, count)


def _end(residuals: Float64, weights: Float64, count: float) -> float:
    """Return the residual beyond which a new one lies in half of the cases that are not covered."""
    order = np.argsort(residuals, kind="stable")
    # The new example weighs as much as an average one, and may lie beyond them all.
    shares = np.cumsum(weights[order]) / (weights.sum() * (1 + 1 / count))
    place = int(np.searchsorted(shares, 1 - (1 - COVERAGE) / 2 - 1e-12))
    return float(residuals[order[min(place, len(order) - 1)]])


def calibrate(
    scores: Float64,
    targets: Targets,
    weights: Float64,
    *,
    temperature: float | None = None,
    near: Calibration | None = None,
) -> tuple[Calibration, float]:
    """Return the calibration of the lowest loss for out-of-fold scores [n, C], and that loss.

    `weights` [n] sum to the number of different examples. The temperature of a single label is selected
    unless it is given; from the calibration `near` of similar scores, it takes fewer steps.
    """
    task, matrix = targets.task, targets.matrix
    if task is Task.REGRESSION:
        errors = np.square(scores - matrix)[:, 0]
        return Calibration(task=task), float(weights @ errors / weights.sum())
    if task is Task.MULTI_LABEL:
        slopes, offsets, loss = fit_platt(scores, matrix, weights)
        return Calibration(
            task=task, slopes=slopes.astype(np.float32), offsets=offsets.astype(np.float32)
        ), loss
    if temperature is None:
        start = None if near is None else near.temperature
        temperature, loss = fit_temperature(scores, matrix, weights, start)
    else:
        loss = smoothed_log_loss(scores, matrix, weights, temperature)
    return Calibration(temperature=temperature), loss


def finish_calibration(
    calibration: Calibration, outputs: Float64, targets: Targets, used: NDArray[np.bool_]
) -> Calibration:
    """Return the calibration with thresholds, or the interval of numbers, which choices do not need.

    It is computed from the calibrated out-of-fold outputs [n, C] of the `used` examples, [n].
    """
    weights = np.where(used, targets.weights, 0.0)
    if targets.task is Task.MULTI_LABEL:
        thresholds = fit_thresholds(outputs, targets.matrix, weights)
        return replace(calibration, thresholds=thresholds.astype(np.float32))
    if targets.task is Task.REGRESSION:
        interval = prediction_interval((targets.matrix - outputs)[:, 0], weights)
        return replace(calibration, interval=interval)
    return calibration


def default_calibration(targets: Targets, *, temperature: float, slope: float, offset: float) -> Calibration:
    """Return a constant calibration, for examples on which nothing could be validated."""
    if targets.task is Task.SINGLE_LABEL:
        return Calibration(temperature=temperature)
    if targets.task is Task.REGRESSION:
        return Calibration(task=targets.task)
    classes = targets.matrix.shape[1]
    return Calibration(
        task=targets.task,
        slopes=np.full(classes, slope, np.float32),
        offsets=np.full(classes, offset, np.float32),
        thresholds=np.full(classes, UNKNOWN, np.float32),
    )
