"""Ridge regression on labels, with its settings by closed-form cross-validation.

Out-of-fold residuals need no refit: for any linear smoother with hat matrix H the residuals of a left-out
block g are ``(I - H_gg)^-1 r_g`` (the block form of the PRESS identity, Allen 1974; Golub, Heath and Wahba
1979). The intercept is not penalized.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float64
from headstart_server.learning.features.matrices import DeviceError, Matrices, NumpyMatrices
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.out_of_fold import calibrate, default_calibration
from headstart_server.learning.heads.ridge_forms import DualForm, PrimalForm, RidgeTask
from headstart_server.learning.heads.solver_result import CrossFitted, SolverResult
from headstart_server.learning.heads.split import Folds
from headstart_server.learning.heads.temperature import SINGLE_SHOT_TEMPERATURE

#: Regularizations that are tried, on rows around their mean with a mean length of 1.
REGULARIZATIONS = tuple(float(value) for value in 10.0 ** np.arange(-4.5, 0.51, 0.5))
#: Default if every class has a single example and nothing can be validated.
SINGLE_SHOT_REGULARIZATION = 1e-2
#: Examples above which the regularizations are searched downhill on some folds, instead of trying each on
#: all: the loss is smooth, and hundreds of examples estimate it well enough.
WALK_ABOVE = 500
_WALK_FROM, _WALK_FOLDS = 6, 2
#: Multiplications of the largest product at which a device outweighs the transfer: 0.1 s on a core.
LARGE = 1_000_000_000
NUMPY = NumpyMatrices()


def fit_ridge(
    rows: FeatureMatrix,
    targets: Targets,
    folds: Folds,
    *,
    weights: Float64 | None = None,
    regularization: float | None = None,
    temperature: float | None = None,
    near: float | None = None,
    checkpoint: Callable[[], None] = lambda: None,
    matrices: Matrices = NUMPY,
) -> SolverResult:
    """Fit ridge on one-hot labels, soft labels, columns of 0 and 1, or numbers.

    `regularization` is the penalty on the squared weights, for rows with a mean length of 1; None selects it
    among `REGULARIZATIONS` by the out-of-fold loss of the task, like the `temperature` of a single label.
    With many examples the search starts at the one closest to `near`, by default in the middle. Without folds
    the single-shot constants replace all choices. `weights` [N] are above 0 and default to those of the
    targets. `checkpoint` is called between pieces of work and may raise to stop. `matrices` computes large
    products and solves; numpy computes small ones, and all if it fails.
    """
    weights = targets.weights if weights is None else weights
    unit = _Unit.from_targets(targets, weights)
    targets = unit.scaled(targets)
    judged = folds.weights_once(weights)
    task = RidgeTask(
        rows=rows,
        targets=targets.matrix,
        weights=weights,
        folds=folds,
        checkpoint=checkpoint,
        matrices=matrices if len(rows) * rows.size * min(len(rows), rows.size) >= LARGE else NUMPY,
    )
    cross_fitted = CrossFitted(
        targets, judged, folds, temperature=temperature, shift=unit.shift, scale=unit.scale
    )
    choice = _Choice(
        targets=targets,
        judged=judged,
        regularization=regularization,
        temperature=temperature,
        start=_WALK_FROM if near is None else int(np.abs(np.log(REGULARIZATIONS) - np.log(near)).argmin()),
        cross_fitted=cross_fitted,
    )
    try:
        with task.matrices.session():
            trial, solved = choice.select_and_solve(task)
    except DeviceError:
        trial, solved = choice.select_and_solve(replace(task, matrices=NUMPY))
    of_features = rows.multiplier[:, None] * solved.solution
    bias = solved.target_mean - solved.row_mean @ solved.solution - rows.mean @ of_features
    return SolverResult(
        weights=of_features * unit.scale,
        bias=bias * unit.scale + unit.shift,
        calibration=trial.calibration if trial else _single_shot(targets, temperature),
        regularization=solved.regularization,
        loss=trial.loss if trial else None,
        scores=trial.scores * unit.scale + unit.shift if trial else None,
        cross_fitted=choice.cross_fitted if trial else None,
    )


def _single_shot(targets: Targets, temperature: float | None) -> Calibration:
    return default_calibration(
        targets,
        temperature=SINGLE_SHOT_TEMPERATURE if temperature is None else temperature,
        slope=1 / SINGLE_SHOT_TEMPERATURE,
        offset=-0.5 / SINGLE_SHOT_TEMPERATURE,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unit:
    """The unit in which numbers are learned: deviations around the mean; classes are unchanged."""

    shift: float = 0.0
    scale: float = 1.0

    @classmethod
    def from_targets(cls, targets: Targets, weights: Float64) -> "_Unit":
        if targets.task is not Task.REGRESSION:
            return cls()
        values = targets.matrix[:, 0]
        mean = float(weights @ values / weights.sum())
        deviation = float(np.sqrt(weights @ np.square(values - mean) / weights.sum()))
        return cls(shift=mean, scale=deviation or 1.0)

    def scaled(self, targets: Targets) -> Targets:
        if self == _Unit():
            return targets
        return replace(targets, matrix=(targets.matrix - self.shift) / self.scale)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    regularization: float
    calibration: Calibration
    loss: float
    scores: Float64
    folds: int  # the number of folds whose scores are computed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Solution:
    regularization: float
    solution: Float64
    target_mean: Float64
    row_mean: Float64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Choice:
    """Given settings, and the selection of the others."""

    targets: Targets
    judged: Float64
    regularization: float | None
    temperature: float | None
    start: int  # index of the regularization at which a walk starts
    cross_fitted: CrossFitted

    def select_and_solve(self, task: RidgeTask) -> tuple[_Trial | None, _Solution]:
        """Select the open settings, and solve on all examples."""
        system = DualForm(task) if len(task.rows) <= task.rows.size else PrimalForm(task)
        trial, regularization = None, self.regularization
        if task.folds.count and task.folds.counted.any():
            search = _Search(system, task.folds, self)
            if regularization is not None:
                trial = search.at(regularization)
            elif len(task.rows) <= WALK_ABOVE:
                trial = min(map(search.at, REGULARIZATIONS), key=lambda trial: trial.loss)
            else:
                trial = search.walk(REGULARIZATIONS, self.start)
            regularization = trial.regularization
            self.cross_fitted.choose(trial.scores, trial.calibration)
        if regularization is None:
            regularization = SINGLE_SHOT_REGULARIZATION
        solution, target_mean, row_mean = system.solve(regularization)
        return trial, _Solution(
            regularization=regularization, solution=solution, target_mean=target_mean, row_mean=row_mean
        )


class _Search:
    """Searches the regularization, each with its best temperature, of the lowest out-of-fold loss."""

    def __init__(self, system: DualForm | PrimalForm, folds: Folds, choice: _Choice) -> None:
        self._system = system
        self._folds = folds
        self._choice = choice
        self._near: Calibration | None = None

    def at(self, regularization: float) -> _Trial:
        """Try a regularization on all folds."""
        return self._complete(self._on(regularization, self._folds.count))

    def walk(self, tried: Sequence[float], start: int) -> _Trial:
        """Return the first trial from index `start` on that beats both neighbors on the first folds."""
        place, folds = min(start, len(tried) - 2), self._folds
        few = _WALK_FOLDS if folds.counted[folds.assignment < _WALK_FOLDS].any() else folds.count
        best, other = self._on(tried[place], few), self._on(tried[place + 1], few)
        direction = 1 if other.loss < best.loss else -1
        if direction > 0:
            best, place = other, place + 1
        while 0 <= place + direction < len(tried):
            other = self._on(tried[place + direction], few)
            if other.loss >= best.loss:
                break
            best, place = other, place + direction
        return self._complete(best)

    def _complete(self, trial: _Trial) -> _Trial:
        """Extend a trial to all folds, and offer its scores as out-of-fold outputs."""
        if trial.folds < self._folds.count:
            trial = self._on(trial.regularization, self._folds.count, trial)
        self._choice.cross_fitted.offer(trial.scores, trial.calibration)
        return trial

    def _on(self, regularization: float, folds: int, earlier: _Trial | None = None) -> _Trial:
        """Try a regularization on the first folds; the folds of an earlier trial keep their scores."""
        scores = np.zeros_like(self._choice.targets.matrix) if earlier is None else earlier.scores
        for fold in range(0 if earlier is None else earlier.folds, folds):
            scores[self._folds.assignment == fold] = self._system.out_of_fold(regularization, fold)
        inside = self._folds.counted & (self._folds.assignment < folds)
        calibration, loss = calibrate(
            scores[inside],
            self._choice.targets.subset(inside),
            self._choice.judged[inside],
            temperature=self._choice.temperature,
            # Only on some folds: the result on all folds does not depend on earlier trials.
            near=self._near if folds < self._folds.count else None,
        )
        self._near = calibration
        return _Trial(
            regularization=regularization, calibration=calibration, loss=loss, scores=scores, folds=folds
        )
