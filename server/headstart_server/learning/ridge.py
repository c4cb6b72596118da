"""Ridge regression on one-hot labels, with regularisation and temperature by closed-form cross-validation.

One eigen-decomposition serves every regularisation of a fit. Out-of-fold residuals need no refit: for any
linear smoother with hat matrix H the residuals of a left-out block g are ``(I - H_gg)^-1 r_g`` (the block
form of the PRESS identity, Allen 1974; Golub, Heath and Wahba 1979). The intercept is not penalised.
Temperature scaling after Guo et al. 2017, fitted on the out-of-fold scores.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.split import Folds, Ints

Float64 = NDArray[np.float64]

#: Regularisations tried where none is given, on features centred and scaled to a mean length of 1.
REGULARIZATIONS = tuple(float(value) for value in 10.0 ** np.arange(-4.5, 0.51, 0.5))
#: Temperatures tried where none is given; the best is refined between its neighbours.
TEMPERATURES = tuple(float(value) for value in np.geomspace(0.01, 2.0, 24))
#: What is used where every class has a single example and nothing can be validated.
SINGLE_SHOT_REGULARIZATION = 1e-2
SINGLE_SHOT_TEMPERATURE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeFit:
    """A fitted ridge head and what cross-validation said of it.

    Attributes:
        weights: [D, C], for the features as they were given.
        bias: [C].
        regularization: as given or chosen.
        temperature: as given or chosen.
        log_loss: mean out-of-fold log loss in nats at both; None where nothing could be validated.
        predicted: out-of-fold class of each example, [N]; None where nothing could be validated.
    """

    weights: Float64
    bias: Float64
    regularization: float
    temperature: float
    log_loss: float | None
    predicted: Ints | None


def fit_ridge(
    features: Float64,
    labels: Ints,
    classes: int,
    folds: Folds,
    *,
    regularization: float | None = None,
    temperature: float | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> RidgeFit:
    """Fit one-hot ridge.

    Args:
        features: [N, D].
        labels: class index of each example, [N].
        classes: number of classes C.
        folds: the cross-validation partition.
        regularization: the penalty on the squared weights, for features scaled to a mean length of 1 around
            their centre; None chooses among `REGULARIZATIONS` by out-of-fold log loss.
        temperature: None chooses by out-of-fold log loss.
        checkpoint: called between pieces of work; may raise to stop.

    Returns:
        The fit. Where `folds` is empty the single-shot constants take the place of choices.
    """
    mean = features.mean(axis=0)
    rows = features - mean
    length = float(np.linalg.norm(rows, axis=1).mean())
    # Features are float32: rows that differ by its rounding only are alike, and must not be blown up.
    alike = length <= np.finfo(np.float32).eps * float(np.linalg.norm(features, axis=1).max())
    scale = 0.0 if alike else 1.0 / length
    rows = rows * scale
    system: _Dual | _Primal = (_Dual if len(rows) <= rows.shape[1] else _Primal)(rows, labels, classes)

    if folds.count and folds.counted.any():
        tried = REGULARIZATIONS if regularization is None else (regularization,)
        trial = _cross_validate(system, folds, tried, temperature, checkpoint)
        regularization, temperature = trial.regularization, trial.temperature
        log_loss, predicted = trial.log_loss, trial.predicted
    else:
        regularization = SINGLE_SHOT_REGULARIZATION if regularization is None else regularization
        temperature = SINGLE_SHOT_TEMPERATURE if temperature is None else temperature
        log_loss, predicted = None, None

    checkpoint()
    weights = system.weights(regularization) * scale
    return RidgeFit(
        weights=weights,
        bias=system.label_mean - mean @ weights,
        regularization=regularization,
        temperature=temperature,
        log_loss=log_loss,
        predicted=predicted,
    )


class _Dual:
    """The N x N form, for no more examples than features."""

    def __init__(self, rows: Float64, labels: Ints, classes: int) -> None:
        self.labels = labels
        self._rows = rows
        targets = np.eye(classes)[labels]
        self.label_mean = targets.mean(axis=0)
        self._targets = targets - self.label_mean
        values, self._vectors = np.linalg.eigh(rows @ rows.T)
        self._values = np.maximum(values, 0.0)
        self._projected = self._vectors.T @ self._targets

    def out_of_fold(self, folds: Folds, tried: Sequence[float]) -> Iterator[tuple[int, int, Float64]]:
        members = [np.flatnonzero(folds.of == fold) for fold in range(folds.count)]
        for place, regularization in enumerate(tried):
            shrink = self._values / (self._values + regularization)
            residuals = self._targets - self._vectors @ (shrink[:, None] * self._projected)
            for fold, inside in enumerate(members):
                vectors = self._vectors[inside]
                hat = (vectors * shrink) @ vectors.T + 1.0 / len(self.labels)
                left_out = np.linalg.solve(np.eye(len(inside)) - hat, residuals[inside])
                yield place, fold, self._targets[inside] + self.label_mean - left_out

    def weights(self, regularization: float) -> Float64:
        inverse = 1.0 / (self._values + regularization)
        solution: Float64 = self._rows.T @ (self._vectors @ (inverse[:, None] * self._projected))
        return solution


class _Primal:
    """The D x D form, for more examples than features.

    One decomposition for each fold, and nothing of size N x C.
    """

    def __init__(self, rows: Float64, labels: Ints, classes: int) -> None:
        self.labels = labels
        self._rows = rows
        self._classes = classes
        self._gram = rows.T @ rows
        self._moments = _Moments.of(rows, labels, classes)
        self.label_mean = self._moments.label_counts / self._moments.count

    def out_of_fold(self, folds: Folds, tried: Sequence[float]) -> Iterator[tuple[int, int, Float64]]:
        for fold in range(folds.count):
            inside = folds.of == fold
            rows = self._rows[inside]
            kept = self._moments.without(_Moments.of(rows, self.labels[inside], self._classes))
            mean, label_mean, cross = kept.centred()
            gram = self._gram - rows.T @ rows - kept.count * np.outer(mean, mean)
            values, vectors = np.linalg.eigh(gram)
            projected_rows = (rows - mean) @ vectors
            projected_cross = vectors.T @ cross
            for place, regularization in enumerate(tried):
                inverse = 1.0 / (np.maximum(values, 0.0) + regularization)
                yield place, fold, projected_rows @ (inverse[:, None] * projected_cross) + label_mean

    def weights(self, regularization: float) -> Float64:
        _, _, cross = self._moments.centred()
        # The rows are centred, so their Gram matrix needs no correction.
        penalised = self._gram + regularization * np.eye(len(self._gram))
        return np.linalg.solve(penalised, cross).astype(np.float64, copy=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Moments:
    """Sums over examples, from which means and cross products of any part follow by subtraction."""

    count: int
    row_sum: Float64
    label_counts: Float64
    row_sum_by_class: Float64

    @classmethod
    def of(cls, rows: Float64, labels: Ints, classes: int) -> "_Moments":
        by_class = np.stack([rows[labels == index].sum(axis=0) for index in range(classes)], axis=1)
        return cls(
            count=len(rows),
            row_sum=rows.sum(axis=0),
            label_counts=np.bincount(labels, minlength=classes).astype(np.float64),
            row_sum_by_class=by_class,
        )

    def without(self, part: "_Moments") -> "_Moments":
        return _Moments(
            count=self.count - part.count,
            row_sum=self.row_sum - part.row_sum,
            label_counts=self.label_counts - part.label_counts,
            row_sum_by_class=self.row_sum_by_class - part.row_sum_by_class,
        )

    def centred(self) -> tuple[Float64, Float64, Float64]:
        """Mean row [D], mean label [C] and centred cross products [D, C]."""
        mean = self.row_sum / self.count
        return mean, self.label_counts / self.count, self.row_sum_by_class - np.outer(mean, self.label_counts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    regularization: float
    temperature: float
    log_loss: float
    predicted: Ints


def _cross_validate(
    system: _Dual | _Primal,
    folds: Folds,
    tried: Sequence[float],
    temperature: float | None,
    checkpoint: Callable[[], None],
) -> _Trial:
    temperatures = np.array(TEMPERATURES if temperature is None else (temperature,))
    losses = np.zeros((len(tried), len(temperatures)))
    predicted = np.zeros((len(tried), len(folds.of)), np.int64)
    members = [np.flatnonzero(folds.of == fold) for fold in range(folds.count)]
    for place, fold, scores in system.out_of_fold(folds, tried):
        checkpoint()
        inside = members[fold]
        predicted[place, inside] = scores.argmax(axis=1)
        counted = folds.counted[inside]
        losses[place] += _log_losses(scores[counted], system.labels[inside][counted], temperatures)
    losses /= folds.counted.sum()
    place, best = divmod(int(losses.argmin()), len(temperatures))
    chosen, log_loss = _refine(temperatures, losses[place], best)
    return _Trial(
        regularization=tried[place], temperature=chosen, log_loss=log_loss, predicted=predicted[place]
    )


def _log_losses(scores: Float64, labels: Ints, temperatures: Float64) -> Float64:
    """Summed negative log-likelihood of the labels at each temperature."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(labels)), labels]
    return np.array(
        [
            (np.log(np.exp(shifted / temperature).sum(axis=1)) - right / temperature).sum()
            for temperature in temperatures
        ]
    )


def _refine(temperatures: Float64, losses: Float64, best: int) -> tuple[float, float]:
    """The minimum of the parabola through the best temperature and its neighbours, on a logarithmic scale."""
    if not 0 < best < len(temperatures) - 1:
        return float(temperatures[best]), float(losses[best])
    left, middle, right = losses[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    if curvature <= 0:
        return float(temperatures[best]), float(middle)
    shift = 0.5 * (left - right) / curvature
    step = np.log(temperatures[best + 1] / temperatures[best])
    return float(temperatures[best] * np.exp(shift * step)), float(middle - 0.25 * (left - right) * shift)
