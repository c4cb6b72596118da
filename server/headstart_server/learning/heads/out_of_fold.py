"""Calibration from out-of-fold scores."""

from dataclasses import replace

import numpy as np

from headstart_server.learning.examples.targets import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.platt import fit_platt
from headstart_server.learning.heads.temperature import fit_temperature, smoothed_log_loss
from headstart_server.learning.heads.thresholds import UNKNOWN, fit_thresholds
from headstart_server.learning.metrics.residuals import prediction_interval


def calibrate(
    scores: Float64, targets: Targets, weights: Float64, *, temperature: float | None = None
) -> tuple[Calibration, float]:
    """Return the calibration of the lowest loss of the task, and that loss.

    `scores` are out of fold, [n, C]; `weights` [n] sum to the number of different examples. The temperature
    of a single label is selected unless it is given.
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
        temperature, loss = fit_temperature(scores, matrix, weights)
    else:
        loss = smoothed_log_loss(scores, matrix, weights, temperature)
    return Calibration(temperature=temperature), loss


def finish_calibration(
    calibration: Calibration, outputs: Float64, targets: Targets, weights: Float64
) -> Calibration:
    """Return the calibration with what only the final head needs: thresholds, or the interval of its numbers.

    It is computed from calibrated out-of-fold outputs [n, C] and weights [n].
    """
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
