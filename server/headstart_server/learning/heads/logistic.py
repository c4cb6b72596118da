"""Logistic regression, with its regularization by cross-validation along a path of warm starts.

Supports weights and soft labels. The intercept is not penalized.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.examples.target import LEAST_WEIGHT, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float64
from headstart_server.learning.heads.calibration import Calibration, sigmoid
from headstart_server.learning.heads.lbfgs import Minimum, minimize
from headstart_server.learning.heads.out_of_fold import calibrate, default_calibration
from headstart_server.learning.heads.solver_result import CrossFitted, SolverResult
from headstart_server.learning.heads.split import Folds

#: Regularizations that are tried, on rows around their mean with a mean length of 1.
REGULARIZATIONS = tuple(float(value) for value in 10.0 ** -np.arange(2.0, 6.01, 0.5))
#: Default if every class has a single example and nothing can be validated.
SINGLE_SHOT_REGULARIZATION = 1e-3
#: Gradient tolerance and maximum steps while regularizations are compared.
_ROUGH, _ROUGH_STEPS = 1e-4, 100
#: The same for the final head. The relative error of the weights is the gradient by the regularization.
_FINE, _FINEST, _FINE_STEPS = 1e-5, 1e-7, 1000


def fit_logistic(
    rows: FeatureMatrix,
    targets: Targets,
    folds: Folds,
    *,
    weights: Float64 | None = None,
    regularization: float | None = None,
    temperature: float | None = None,
    balanced: bool = False,
    time_budget: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    checkpoint: Callable[[], None] = lambda: None,
) -> SolverResult:
    """Fit logistic regression: multinomial for a single label, one per class for several labels.

    Half of `regularization` times the squared weights is added to the mean loss, for rows with a mean length
    of 1; None selects it among `REGULARIZATIONS` by out-of-fold loss, like `temperature`, which is 1 if
    nothing can be validated. `balanced` predicts a single label as if all classes were equally frequent: the
    logarithms of their frequencies are subtracted from the bias (logit adjustment, Menon et al. 2021), and
    choices weigh each class the same. `weights` [N] are above 0 and default to those of the targets. After
    `time_budget` seconds the best solution so far is used. `checkpoint` is called at each evaluation of the
    loss and may raise to stop.
    """
    task = _Path(rows, targets, weights, folds, balanced=balanced, checkpoint=checkpoint)
    late = clock() + time_budget if time_budget is not None else float("inf")
    tried = REGULARIZATIONS if regularization is None else (regularization,)
    best: _Trial | None = None
    cross_fitted = CrossFitted(targets, task.judged, folds, temperature=temperature)
    if folds.count and folds.counted.any():
        for one in tried:
            if best is not None and clock() >= late:
                break
            trial = task.at(one, temperature, lambda: clock() >= late)
            cross_fitted.offer(trial.scores, trial.calibration)
            if best is not None and trial.loss >= best.loss:
                # With less regularization the loss would only rise.
                break
            best = trial
            cross_fitted.choose(trial.scores, trial.calibration)
    if regularization is None:
        regularization = best.regularization if best else SINGLE_SHOT_REGULARIZATION
    found = task.whole(regularization, best.whole if best else None, lambda: clock() >= late)
    solution, bias = task.unfolded(found.point)
    of_features = rows.multiplier[:, None] * solution
    calibration = best.calibration if best else None
    return SolverResult(
        weights=of_features,
        bias=bias - rows.mean @ of_features,
        calibration=calibration
        or default_calibration(targets, temperature=temperature or 1.0, slope=1.0, offset=0.0),
        regularization=regularization,
        loss=best.loss if best else None,
        scores=best.scores if best else None,
        cross_fitted=cross_fitted if best else None,
        stop_reason=found.reason,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    regularization: float
    calibration: Calibration
    loss: float
    scores: Float64
    whole: Float64


class _Path:
    """Solves for one regularization after another, on all examples and without each fold."""

    def __init__(
        self,
        rows: FeatureMatrix,
        targets: Targets,
        weights: Float64 | None,
        folds: Folds,
        *,
        balanced: bool,
        checkpoint: Callable[[], None],
    ) -> None:
        self._shown, self._targets = targets, targets.matrix
        self._folds, self._checkpoint = folds, checkpoint
        self._weights = targets.weights if weights is None else weights
        self._loss = _binary_losses if targets.task is Task.MULTI_LABEL else _losses
        shares = self._weights @ self._targets / self._weights.sum()
        shares = np.maximum(shares, LEAST_WEIGHT)
        self._shift = np.log(shares) if balanced else 0.0 * shares
        judged = folds.weights_once(self._weights * (self._targets @ (1 / shares) if balanced else 1.0))
        # Their sum is the number of different examples, against which calibration weighs its prior.
        self.judged = judged * (folds.weights_once(self._weights).sum() / judged.sum())
        matrix = np.concatenate([block for _, block in rows.blocks()])
        # The optimum lies in the span of the rows, so with fewer rows than features, coordinates in it
        # suffice.
        self._basis: Float64 | None = None
        if len(matrix) < matrix.shape[1]:
            values, vectors = np.linalg.eigh(matrix @ matrix.T)
            kept = values > np.finfo(np.float64).eps * len(matrix) * max(
                values[-1], np.finfo(np.float64).tiny
            )
            roots = np.sqrt(values[kept])
            self._basis = matrix.T @ (vectors[:, kept] / roots)
            matrix = vectors[:, kept] * roots
        self._matrix = np.hstack([matrix, np.ones((len(matrix), 1))])
        # From the frequencies that `_shift` subtracts: the bias of a tiny class hardly moves, and from 0 this
        # class would always be predicted.
        begun = self._shift - self._shift.mean()
        self._start = np.vstack([np.zeros((matrix.shape[1], len(shares))), begun]).ravel()
        self._starts: dict[int, Float64] = {}

    def at(self, regularization: float, temperature: float | None, is_late: Callable[[], bool]) -> _Trial:
        """Solve on all examples and without each fold, from where the last regularization ended."""
        whole = self._solve(-1, regularization, is_late).point
        scores = np.zeros_like(self._targets)
        for fold in range(self._folds.count):
            inside = self._folds.assignment == fold
            solution = self._solve(fold, regularization, is_late).point
            scores[inside] = self._matrix[inside] @ solution.reshape(-1, scores.shape[1]) - self._shift
        counted, judged = self._folds.counted, self.judged[self._folds.counted]
        calibration, loss = calibrate(
            scores[counted], self._shown.subset(counted), judged, temperature=temperature
        )
        return _Trial(
            regularization=regularization, calibration=calibration, loss=loss, scores=scores, whole=whole
        )

    def whole(self, regularization: float, start: Float64 | None, is_late: Callable[[], bool]) -> Minimum:
        """Solve on all examples with a small tolerance."""
        if start is not None:
            self._starts[-1] = start
        return self._solve(-1, regularization, is_late, fine=True)

    def unfolded(self, point: Float64) -> tuple[Float64, Float64]:
        """Return weights [D, C] of the rows and bias [C] of a solution."""
        solution = point.reshape(-1, self._targets.shape[1])
        weights = solution[:-1] if self._basis is None else self._basis @ solution[:-1]
        return weights, solution[-1] - self._shift

    def _solve(
        self, fold: int, regularization: float, is_late: Callable[[], bool], *, fine: bool = False
    ) -> Minimum:
        """Solve without a fold; -1 uses all examples."""
        kept = self._folds.assignment != fold if fold >= 0 else slice(None)
        matrix, targets, weights = self._matrix[kept], self._targets[kept], self._weights[kept]
        weights = weights / weights.sum()
        shape = matrix.shape[1], targets.shape[1]

        def evaluate(point: Float64) -> tuple[float, Float64]:
            self._checkpoint()
            solution = point.reshape(shape)
            scores = matrix @ solution
            losses, errors = self._loss(scores, targets)
            slope = matrix.T @ (weights[:, None] * errors)
            slope[:-1] += regularization * solution[:-1]
            penalty = 0.5 * regularization * float(np.square(solution[:-1]).sum())
            return float(weights @ losses) + penalty, slope.ravel()

        found = minimize(
            evaluate,
            self._starts.get(fold, self._start),
            tolerance=max(_FINE * regularization, _FINEST) if fine else _ROUGH,
            max_steps=_FINE_STEPS if fine else _ROUGH_STEPS,
            is_late=is_late,
        )
        self._starts[fold] = found.point
        return found


def _losses(scores: Float64, targets: Float64) -> tuple[Float64, Float64]:
    """Return the log loss of each example under a softmax, [n], and its gradient for the scores, [n, C]."""
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    sums = powers.sum(axis=1, keepdims=True)
    losses = targets.sum(axis=1) * np.log(sums[:, 0]) - (targets * scores).sum(axis=1)
    return losses, targets.sum(axis=1, keepdims=True) * powers / sums - targets


def _binary_losses(scores: Float64, targets: Float64) -> tuple[Float64, Float64]:
    """Return the log loss of each example over its classes, [n], and its gradient for the scores, [n, C]."""
    losses = np.maximum(scores, 0) - targets * scores + np.log1p(np.exp(-np.abs(scores)))
    return losses.sum(axis=1), sigmoid(scores) - targets
