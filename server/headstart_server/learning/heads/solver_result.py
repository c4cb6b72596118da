"""The result of a solver, with out-of-fold outputs.

The setting of the lowest out-of-fold loss looks better than it is: with few examples it fits their noise. So
the outputs by which a head is measured come, fold by fold, from the setting and the calibration that are best
on the other folds, thresholds and interval included (Varma and Simon 2006 describe the bias; Stone 1974 the
double choice that avoids it). The scores of all settings are computed anyway, so this costs no further fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import HiddenLayer
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.out_of_fold import calibrate, finish_calibration
from headstart_server.learning.heads.split import Folds
from headstart_server.learning.heads.temperature import smoothed_losses
from headstart_server.learning.metrics.metrics import losses

#: Outputs above which noise hardly affects the choice, so all folds share it.
MOST_OUTPUTS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OutOfFold:
    """Calibrated outputs of N examples, chosen and calibrated without the fold of each example."""

    outputs: Float64  # [N, C]
    thresholds: Float32  # thresholds of several labels for each example, [N, C]; [N, 0] for other tasks
    # offsets of the interval of a regression for each example, [N, 2], NaN if unknown; [N, 0] for other tasks
    interval: Float64


class CrossFitted:
    """Keeps, for each fold, the scores of the setting that is best on the other folds.

    Args:
        weights: weight of each example in choices, [N]; their sum is the number of different examples.
        temperature: of a single label; None selects it.
        shift: regression: summand that converts scaled scores to the unit of the examples.
        scale: regression: factor that converts scaled scores to the unit of the examples.
    """

    def __init__(
        self,
        targets: Targets,
        weights: Float64,
        folds: Folds,
        *,
        temperature: float | None = None,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        self._shift, self._scale = shift, scale
        self._chosen: tuple[Float64, Calibration] | None = None
        self._targets, self._folds, self._temperature = targets, folds, temperature
        self._weights = np.where(folds.counted, weights, 0.0) if folds.count else np.zeros(0)
        self._best = np.full(folds.count, np.inf)
        self._kept: list[tuple[Float64, Calibration] | None] = [None] * folds.count
        others = self._weights.sum() - self._sums(self._weights)
        self._others = others if targets.matrix.size <= MOST_OUTPUTS else np.zeros(folds.count)

    def offer(self, scores: Float64, calibration: Calibration) -> None:
        """Offer the scores [N, C] of a setting and their calibration."""
        if not (self._others > 0).any():
            return
        weighted = self._weights * self._losses(scores, calibration)
        without = (weighted.sum() - self._sums(weighted)) / np.where(self._others > 0, self._others, np.nan)
        for fold in np.flatnonzero(without < self._best).tolist():
            if self._others[fold] > 0:
                self._best[fold], self._kept[fold] = without[fold], (scores, calibration)

    def choose(self, scores: Float64, calibration: Calibration) -> None:
        """Set the scores [N, C] of the setting that is best on all folds, and their calibration."""
        self._chosen = scores, calibration

    def out_of_fold(self, others: Sequence["CrossFitted"] = ()) -> OutOfFold:
        """Return the outputs, those of each fold from the setting that is best on the other folds.

        `others` are further candidates on the same folds; this one is the best on all folds.
        """
        if self._chosen is None:
            raise ValueError("Call choose before out_of_fold.")
        scores, calibration = self._chosen
        shared = calibration.outputs(scores)
        outputs = shared.copy()
        task = self._targets.task
        thresholds = np.zeros(outputs.shape if task is Task.MULTI_LABEL else (len(outputs), 0), np.float32)
        interval = np.full((len(outputs), 2 if task is Task.REGRESSION else 0), np.nan)
        for fold in range(self._folds.count):
            best = min((self, *others), key=lambda one: one._best[fold])
            kept = best._kept[fold]
            inside = self._folds.assignment == fold
            found, answered = calibration, shared
            if kept is not None:
                found = best._calibrated_without(fold, *kept)
                answered = found.outputs(kept[0])
                outputs[inside] = answered[inside]
            found = finish_calibration(found, answered, self._targets, self._folds.counted & ~inside)
            if task is Task.MULTI_LABEL:
                thresholds[inside] = found.thresholds
            elif found.interval is not None:
                interval[inside] = found.interval
        outputs *= self._scale
        outputs += self._shift
        return OutOfFold(outputs=outputs, thresholds=thresholds, interval=interval * self._scale)

    def _calibrated_without(self, fold: int, scores: Float64, near: Calibration) -> Calibration:
        others = self._folds.counted & (self._folds.assignment != fold)
        return calibrate(
            scores[others],
            self._targets.subset(others),
            self._weights[others],
            temperature=self._temperature,
            near=near,
        )[0]

    def _losses(self, scores: Float64, calibration: Calibration) -> Float64:
        if self._targets.task is Task.SINGLE_LABEL:
            count = float(self._weights.sum())
            return smoothed_losses(scores, self._targets.matrix, calibration.temperature, count)
        return losses(self._targets, calibration.outputs(scores).astype(np.float32))

    def _sums(self, values: Float64) -> Float64:
        if not self._folds.count:
            return np.zeros(0)
        sums: Float64 = np.bincount(self._folds.assignment, values, minlength=self._folds.count).astype(
            np.float64
        )
        return sums


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SolverResult:
    """The arrays of a head and its cross-validation, which is None if nothing could be validated."""

    weights: Float64  # [D, C] for scaled features, or [H, C] behind a hidden layer
    bias: Float64  # [C]
    calibration: Calibration
    regularization: float | None = None  # as given or selected; None if the solver has none
    # mean out-of-fold loss after calibration, by which choices are made: log loss on smoothed labels, or the
    # squared error relative to the variance
    loss: float | None = None
    scores: Float64 | None = None  # out-of-fold scores in the order of the rows, [N, C]
    cross_fitted: CrossFitted | None = None  # returns the outputs that the head is measured by
    stop_reason: StopReason | None = None
    hidden: HiddenLayer | None = None
    epochs: int = 0
    # weights of the tail that computes the `last` view of this head; None for the backbone's own
    tail: TailWeights | None = None
    note: str = ""  # how the head was fitted, for users
