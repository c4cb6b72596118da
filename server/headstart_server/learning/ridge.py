"""Ridge regression on one-hot labels, with regularisation and temperature by closed-form cross-validation.

Out-of-fold residuals need no refit: for any linear smoother with hat matrix H the residuals of a left-out
block g are ``(I - H_gg)^-1 r_g`` (the block form of the PRESS identity, Allen 1974; Golub, Heath and Wahba
1979). The intercept is not penalised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.ridge_forms import DualForm, PrimalForm, RidgeTask
from headstart_server.learning.rows import Float64, Ints, Rows
from headstart_server.learning.split import Folds
from headstart_server.learning.temperature import (
    SINGLE_SHOT_TEMPERATURE,
    fit_temperature,
    mean_log_loss,
    smoothed_log_loss,
)

#: Regularisations tried where none is given, on rows around their centre with a mean length of 1.
REGULARIZATIONS = tuple(float(value) for value in 10.0 ** np.arange(-4.5, 0.51, 0.5))
#: What is used where every class has a single example and nothing can be validated.
SINGLE_SHOT_REGULARIZATION = 1e-2
#: Examples above which the regularisations are walked downhill on some folds, instead of trying each on all:
#: the loss is smooth, and hundreds of examples tell it well enough.
WALK_ABOVE = 500
_WALK_FROM, _WALK_FOLDS = 6, 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeFit:
    """A fitted ridge head and what cross-validation said of it.

    Attributes:
        weights: [D, C], for prepared features.
        bias: [C].
        regularization: as given or chosen.
        temperature: as given or chosen.
        loss: mean out-of-fold log loss on smoothed labels, by which choices are made; None where nothing
            could be validated.
        log_loss: mean out-of-fold log loss in nats; None where nothing could be validated.
        predicted: out-of-fold class of each example, [N]; None where nothing could be validated.
    """

    weights: Float64
    bias: Float64
    regularization: float
    temperature: float
    loss: float | None = None
    log_loss: float | None = None
    predicted: Ints | None = None


def fit_ridge(
    rows: Rows,
    labels: Ints,
    classes: int,
    folds: Folds,
    *,
    weights: Float64 | None = None,
    regularization: float | None = None,
    temperature: float | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> RidgeFit:
    """Fit one-hot ridge.

    Args:
        rows: N examples.
        labels: class index of each example, [N].
        classes: number of classes C.
        folds: the cross-validation partition.
        weights: of each example in all sums, [N], above 0; None for 1.
        regularization: the penalty on the squared weights, for features scaled to a mean length of 1 around
            their centre; None chooses among `REGULARIZATIONS` by out-of-fold log loss.
        temperature: None chooses by out-of-fold log loss.
        checkpoint: called between pieces of work; may raise to stop.

    Returns:
        The fit. Where `folds` is empty the single-shot constants take the place of choices.
    """
    weights = np.ones(len(rows)) if weights is None else weights
    task = RidgeTask(
        rows=rows, labels=labels, classes=classes, weights=weights, folds=folds, checkpoint=checkpoint
    )
    system = DualForm(task) if len(rows) <= rows.size else PrimalForm(task)
    trial = None
    if folds.count and folds.counted.any():
        search = _Search(system, task, temperature)
        if regularization is not None:
            trial = search.at(regularization)
        elif len(rows) <= WALK_ABOVE:
            trial = min(map(search.at, REGULARIZATIONS), key=lambda trial: trial.loss)
        else:
            trial = search.walk(REGULARIZATIONS)
        regularization, temperature = trial.regularization, trial.temperature
    if regularization is None:
        regularization = SINGLE_SHOT_REGULARIZATION
    solution, label_mean, row_mean = system.solve(regularization)
    solution_of_features = rows.multiplier[:, None] * solution
    return RidgeFit(
        weights=solution_of_features,
        bias=label_mean - row_mean @ solution - rows.mean @ solution_of_features,
        regularization=regularization,
        temperature=SINGLE_SHOT_TEMPERATURE if temperature is None else temperature,
        loss=trial.loss if trial else None,
        log_loss=trial.log_loss if trial else None,
        predicted=trial.predicted if trial else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    regularization: float
    temperature: float
    loss: float
    log_loss: float
    predicted: Ints


class _Search:
    """Looks for the regularisation, each with its best temperature, of the lowest out-of-fold loss."""

    def __init__(self, system: DualForm | PrimalForm, task: RidgeTask, temperature: float | None) -> None:
        self._system = system
        self._task = task
        self._temperature = temperature

    def at(self, regularization: float, folds: int | None = None) -> _Trial:
        """Try one on all folds, or on the first ones."""
        task = self._task
        folds = task.folds.count if folds is None else folds
        scores = self._system.out_of_fold(regularization, folds)
        inside = task.folds.counted & (task.folds.of < folds)
        counted, labels, weights = scores[inside], task.labels[inside], task.weights[inside]
        if self._temperature is None:
            temperature, loss = fit_temperature(counted, labels, weights)
        else:
            temperature = self._temperature
            loss = smoothed_log_loss(counted, labels, weights, temperature)
        return _Trial(
            regularization=regularization,
            temperature=temperature,
            loss=loss,
            log_loss=mean_log_loss(counted, labels, temperature),
            predicted=scores.argmax(axis=1),
        )

    def walk(self, tried: Sequence[float]) -> _Trial:
        """The first one, from the middle on, that is better than both its neighbours on the first folds."""
        place, folds = _WALK_FROM, self._task.folds
        few = _WALK_FOLDS if folds.counted[folds.of < _WALK_FOLDS].any() else folds.count
        losses = {step: self.at(tried[step], few).loss for step in (place, place + 1)}
        direction = 1 if losses[place + 1] < losses[place] else -1
        place += max(direction, 0)
        while 0 <= place + direction < len(tried):
            losses[place + direction] = self.at(tried[place + direction], few).loss
            if losses[place + direction] >= losses[place]:
                break
            place += direction
        return self.at(tried[place])
