"""A network with one hidden layer on cached features, its number of epochs by cross-validation.

AdamW (Loshchilov and Hutter 2019) with dropout (Srivastava et al. 2014), in numpy: for one layer on a CPU as
fast as Keras, for which a server would have to start another process.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Ints
from headstart_server.learning.heads.calibration import Calibration, sigmoid, softmax
from headstart_server.learning.heads.head import HiddenLayer
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.out_of_fold import calibrate, default_calibration
from headstart_server.learning.heads.solver_result import CrossFitted, SolverResult
from headstart_server.learning.heads.split import Folds

#: Defaults of open settings.
HIDDEN_UNITS, DROPOUT, WEIGHT_DECAY = 256, 0.5, 1.0
#: See `whitening`.
FLATTENING = 3e-3
#: Maximum number of axes, and the variance relative to the largest that counts as rounding.
MOST_AXES, _ROUNDING = 1024, 1e-6
#: Number of epochs if nothing can be validated.
UNVALIDATED_EPOCHS = 30
#: Target number of steps of an epoch, and the allowed numbers of examples of a step.
_STEPS, _LEAST, _MOST = 16, 8, 128
#: A network whose training loss is at least this fraction of its out-of-fold loss does not overfit yet. It
#: may be on a plateau, such as the one at which a hidden layer is linear, and gets so many further steps.
_UNDERFITTED, _PLATEAU_STEPS = 0.5, 800
#: Maximum examples of a forward pass.
_FORWARD = 1024
#: Decay of Adam's two moments, and the summand that avoids a division by zero.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpSettings:
    """Settings of the training of a network, as documented in the contract."""

    hidden_units: int
    dropout: float
    weight_decay: float
    learning_rate: float
    max_epochs: int
    patience: int
    temperature: float | None = None
    time_budget: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Best:
    epoch: int
    loss: float
    calibration: Calibration
    scores: Float64
    network: "_Network"


def fit_mlp(
    rows: FeatureMatrix,
    targets: Targets,
    folds: Folds,
    settings: MlpSettings,
    *,
    weights: Float64,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
    checkpoint: Callable[[], None] = lambda: None,
) -> SolverResult:
    """Train a network.

    One network without each fold and one on all examples are trained side by side, epoch by epoch. So the
    out-of-fold loss is known after each epoch, the network on all examples is available as of the best epoch,
    and there is a result whenever time is up. `weights` [N] are above 0; `seed` seeds initial weights,
    dropout and the order of the examples; `checkpoint` is called at each step and may raise to stop.
    """
    task = _Training(
        rows, targets, folds, settings=settings, weights=weights, seed=seed, checkpoint=checkpoint
    )
    late = clock() + settings.time_budget if settings.time_budget is not None else float("inf")
    epochs = settings.max_epochs if task.validates else min(UNVALIDATED_EPOCHS, settings.max_epochs)
    best: _Best | None = None
    reason = StopReason.STEPS
    for epoch in range(1, epochs + 1):
        if not task.train(epoch, lambda: clock() >= late) and best is not None:
            reason = StopReason.TIME
            break
        now = task.judged(epoch)
        if best is None or now.loss < best.loss:
            best = now
        elif epoch - best.epoch >= task.patience(settings.patience, now.loss):
            reason = StopReason.CONVERGED
            break
        if clock() >= late:
            reason = StopReason.TIME
            break
    assert best is not None  # noqa: S101 - there is at least one epoch
    return task.solved(best, reason)


class _Training:
    """The networks, one without each fold and the last one on all examples, and their examples."""

    def __init__(
        self,
        rows: FeatureMatrix,
        targets: Targets,
        folds: Folds,
        *,
        settings: MlpSettings,
        weights: Float64,
        seed: int,
        checkpoint: Callable[[], None],
    ) -> None:
        self._targets, self._folds, self._settings = targets, folds, settings
        self._judged, self._checkpoint = folds.weights_once(weights), checkpoint
        self.validates = bool(folds.count and folds.counted.any())
        self._multiplier, self._mean = rows.multiplier, rows.mean
        self._centre, self._spread = _standard(targets, weights)
        self._shown = ((targets.matrix - self._centre) / self._spread).astype(np.float32)
        self._cross_fitted = CrossFitted(targets, self._judged, folds, temperature=settings.temperature)
        self._counts = (weights / weights.mean()).astype(np.float32)
        self._batch = int(np.clip(2 ** round(np.log2(max(len(rows) / _STEPS, 1))), _LEAST, _MOST))
        matrix = np.concatenate([block.astype(np.float32) for _, block in rows.blocks()])
        folds_left_out = range(folds.count if self.validates else 0)
        self._seen = [np.flatnonzero(folds.assignment != fold) for fold in folds_left_out] + [
            np.arange(len(rows))
        ]
        self._axes, self._features = [], []
        for seen in self._seen:
            checkpoint()
            # Computed from each network's training examples only: others would leak into the validation.
            axes, center = whitening(matrix[seen])
            self._axes.append(axes)
            self._features.append((matrix - center) @ axes)
        self._rngs = [np.random.default_rng([seed, member]) for member in range(len(self._seen))]
        units, outputs = settings.hidden_units, targets.matrix.shape[1]
        self._networks = [
            _Network((axes.shape[1], units, outputs), np.random.default_rng(seed), settings)
            for axes in self._axes
        ]

    def train(self, epoch: int, is_late: Callable[[], bool]) -> bool:
        """Train each network for an epoch; return False if there was no time to finish it."""
        for seen, features, network, rng in zip(
            self._seen, self._features, self._networks, self._rngs, strict=True
        ):
            network.loss = 0.0
            for batch in _parts(rng.permutation(seen), self._batch):
                self._checkpoint()
                if epoch > 1 and is_late():
                    return False
                lost = network.step(
                    features[batch], self._shown[batch], self._counts[batch], rng, self._targets.task
                )
                network.loss += lost * len(batch) / len(seen)
        return True

    def patience(self, epochs: int, loss: float) -> int:
        """Return the epochs without a lower out-of-fold loss that end the training; `loss` is the last."""
        if self._networks[-1].loss < _UNDERFITTED * loss / float(self._spread[0]) ** 2:
            return epochs
        return max(epochs, _PLATEAU_STEPS * self._batch // len(self._shown))

    def judged(self, epoch: int) -> _Best:
        """Evaluate the networks on the examples that they were not trained on."""
        scores = np.zeros(self._shown.shape, np.float64)
        network = self._networks[-1].copy()
        if not self.validates:
            none = default_calibration(self._targets, temperature=1.0, slope=1.0, offset=0.0)
            return _Best(epoch=epoch, loss=-float(epoch), calibration=none, scores=scores, network=network)
        for member, one in enumerate(self._networks[:-1]):
            for batch in _parts(np.flatnonzero(self._folds.assignment == member), _FORWARD):
                self._checkpoint()
                scores[batch] = one.scores(self._features[member][batch])
        scores = scores * self._spread + self._centre
        counted = self._folds.counted
        calibration, loss = calibrate(
            scores[counted],
            self._targets.subset(counted),
            self._judged[counted],
            temperature=self._settings.temperature,
        )
        self._cross_fitted.offer(scores, calibration)
        return _Best(epoch=epoch, loss=loss, calibration=calibration, scores=scores, network=network)

    def solved(self, best: _Best, reason: StopReason) -> SolverResult:
        """Return the network on all examples as of the best epoch, for scaled features."""
        self._cross_fitted.choose(best.scores, best.calibration)
        first, first_bias, second, second_bias = (part.astype(np.float64) for part in best.network.parts)
        first = self._multiplier[:, None] * (self._axes[-1] @ first)
        return SolverResult(
            weights=second * self._spread,
            bias=second_bias * self._spread + self._centre,
            calibration=best.calibration,
            loss=best.loss if self.validates else None,
            scores=best.scores if self.validates else None,
            cross_fitted=self._cross_fitted if self.validates else None,
            stop_reason=reason,
            hidden=HiddenLayer(
                weights=first.astype(np.float32),
                bias=(first_bias - self._mean @ first).astype(np.float32),
            ),
            epochs=best.epoch,
        )


class _Network:
    """One network with Adam's moments, all float32."""

    def __init__(self, shape: tuple[int, int, int], rng: np.random.Generator, settings: MlpSettings) -> None:
        size, units, outputs = shape
        self._settings = settings
        # He et al. 2015 for the rectified layer; the outputs begin at their mean.
        self.parts: list[Float32] = [
            (rng.normal(size=(size, units)) * np.sqrt(2 / size)).astype(np.float32),
            np.zeros(units, np.float32),
            np.zeros((units, outputs), np.float32),
            np.zeros(outputs, np.float32),
        ]
        self._means = [[np.zeros_like(part) for part in self.parts] for _ in range(2)]
        self._steps = 0
        #: Mean training loss in the last epoch, with dropout.
        self.loss = 0.0

    def copy(self) -> "_Network":
        """Return a copy of the weights, without the state of the training."""
        twin = object.__new__(_Network)
        twin.parts = [part.copy() for part in self.parts]
        return twin

    def scores(self, features: Float32) -> Float32:
        """Return scores [n, C] of features [n, D]."""
        first, first_bias, second, second_bias = self.parts
        scores: Float32 = np.maximum(features @ first + first_bias, 0) @ second + second_bias
        return scores

    def step(
        self, features: Float32, shown: Float32, counts: Float32, rng: np.random.Generator, task: Task
    ) -> float:
        """Take one step of AdamW on a batch and return its mean loss before the step."""
        first, first_bias, second, second_bias = self.parts
        units = np.maximum(features @ first + first_bias, 0)
        if self._settings.dropout:
            kept = rng.random(units.shape, np.float32) >= self._settings.dropout
            units *= kept * np.float32(1 / (1 - self._settings.dropout))
        scores = units @ second + second_bias
        answered = softmax(scores) if task is Task.SINGLE_LABEL else scores
        answered = sigmoid(scores) if task is Task.MULTI_LABEL else answered
        errors = (answered - shown) * (counts / np.float32(len(counts)))[:, None]
        below = (errors @ second.T) * (units > 0)
        if self._settings.dropout:
            below *= np.float32(1 / (1 - self._settings.dropout))
        self._descend([features.T @ below, below.sum(axis=0), units.T @ errors, errors.sum(axis=0)])
        return _mean_loss(answered, shown, task)

    def _descend(self, slopes: list[Float32]) -> None:
        self._steps += 1
        rate = self._settings.learning_rate * np.sqrt(1 - _BETA2**self._steps) / (1 - _BETA1**self._steps)
        kept = np.float32(1 - self._settings.learning_rate * self._settings.weight_decay)
        for part, slope, mean, square in zip(self.parts, slopes, *self._means, strict=True):
            _descend(part, slope, mean, square, rate=np.float32(rate), kept=kept if part.ndim == 2 else None)


def _mean_loss(answered: Float32, shown: Float32, task: Task) -> float:
    if task is Task.REGRESSION:
        return float(np.square(answered - shown).mean())
    likely = np.maximum(answered, np.finfo(np.float32).tiny)
    lost = -(shown * np.log(likely)).sum(axis=1)
    if task is Task.MULTI_LABEL:
        unlikely = np.maximum(1 - answered, np.finfo(np.float32).epsneg)
        lost = -(shown * np.log(likely) + (1 - shown) * np.log(unlikely)).mean(axis=1)
    return float(lost.mean())


def _descend(
    part: Float32,
    slope: Float32,
    mean: Float32,
    square: Float32,
    *,
    rate: np.float32,
    kept: np.float32 | None,
) -> None:
    """Take one step of Adam for one tensor in place, since copies take most time; overwrites `slope`."""
    np.multiply(mean, np.float32(_BETA1), out=mean)
    np.add(mean, np.float32(1 - _BETA1) * slope, out=mean)
    np.multiply(square, np.float32(_BETA2), out=square)
    np.square(slope, out=slope)
    np.multiply(slope, np.float32(1 - _BETA2), out=slope)
    np.add(square, slope, out=square)
    np.sqrt(square, out=slope)
    np.add(slope, np.float32(_EPSILON), out=slope)
    np.divide(mean, slope, out=slope)
    np.multiply(slope, rate, out=slope)
    if kept is not None:
        np.multiply(part, kept, out=part)
    np.subtract(part, slope, out=part)


def whitening(rows: Float32, flattening: float = FLATTENING) -> tuple[Float32, Float32]:
    """Return axes [D, d] on which rows [n, D] have equal variance, and their mean, [D].

    Gradient descent learns along directions of large variance first, and would stop before the small ones,
    which contain much of what separates classes. Principal components, each divided by the root of its
    variance plus `flattening` (a fraction of all variance, below which is noise), avoid that. On the axes, at
    most `MOST_AXES`, rows have a mean length of about the root of d.
    """
    center = rows.mean(axis=0)
    centered = rows - center
    total = float(np.square(centered).sum()) / len(rows)
    if len(rows) < rows.shape[1]:
        variances, vectors = np.linalg.eigh(centered @ centered.T / np.float32(len(rows)))
    else:
        variances, vectors = np.linalg.eigh(centered.T @ centered / np.float32(len(rows)))
    kept = np.flatnonzero(variances > _ROUNDING * max(variances[-1], np.finfo(np.float32).tiny))[-MOST_AXES:]
    if not len(kept):
        # All rows are equal.
        return np.zeros((rows.shape[1], 1), np.float32), center
    variances, vectors = variances[kept], vectors[:, kept]
    if len(rows) < rows.shape[1]:
        vectors = centered.T @ (vectors / np.sqrt(variances * len(rows)))
    axes = vectors / np.sqrt(variances + flattening * total)
    length = np.sqrt(float((variances / (variances + flattening * total)).sum()))
    return (axes * (np.sqrt(len(kept)) / length)).astype(np.float32), center


def _standard(targets: Targets, weights: Float64) -> tuple[Float64, Float64]:
    """Return mean and spread of the numbers of a regression, [1]; 0 and 1 for classes."""
    if targets.task is not Task.REGRESSION:
        return np.zeros(1), np.ones(1)
    center = np.average(targets.matrix, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.square(targets.matrix - center), axis=0, weights=weights))
    return center, np.where(spread > 0, spread, 1.0)


def _parts(order: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
