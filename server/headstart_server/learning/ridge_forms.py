"""The two forms of ridge's normal equations, each with the scores of heads fitted without one fold.

Up to as many examples as features: N x N, one eigen-decomposition for every regularisation, and no refit.
With more: D x D, the sums over each fold subtracted from those over all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.rows import Float64, Ints, Rows
from headstart_server.learning.split import Folds


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeTask:
    """What is solved.

    Attributes:
        rows: N examples.
        targets: what each shows, [N, C].
        weights: of each example in all sums, [N].
        folds: the cross-validation partition.
        checkpoint: called between pieces of work; may raise to stop.
    """

    rows: Rows
    targets: Float64
    weights: Float64
    folds: Folds
    checkpoint: Callable[[], None]

    def members(self) -> list[Ints]:
        """The places of each fold."""
        return [np.flatnonzero(self.folds.of == fold) for fold in range(self.folds.count)]


class DualForm:
    """The N x N form, for no more examples than features; weights are taken into rows and targets."""

    def __init__(self, task: RidgeTask) -> None:
        self._members = task.members()
        self._checkpoint = task.checkpoint
        weights = task.weights
        self._roots = np.sqrt(weights)
        self._share = self._roots / np.sqrt(weights.sum())
        matrix = np.concatenate([block for _, block in task.rows.blocks()])
        self._row_mean = weights @ matrix / weights.sum()
        self._rows = (matrix - self._row_mean) * self._roots[:, None]
        self._target_mean = weights @ task.targets / weights.sum()
        self._targets = (task.targets - self._target_mean) * self._roots[:, None]
        task.checkpoint()
        values, self._vectors = np.linalg.eigh(self._rows @ self._rows.T)
        self._values = np.maximum(values, 0.0)
        self._projected = self._vectors.T @ self._targets

    def out_of_fold(self, regularization: float, folds: int) -> Float64:
        """Scores [N, C] of each example of the first folds, by a head fitted without its fold."""
        shrink = self._values / (self._values + regularization)
        residuals = self._targets - self._vectors @ (shrink[:, None] * self._projected)
        for inside in self._members[:folds]:
            self._checkpoint()
            vectors, share = self._vectors[inside], self._share[inside]
            hat = (vectors * shrink) @ vectors.T + np.outer(share, share)
            residuals[inside] = np.linalg.solve(np.eye(len(inside)) - hat, residuals[inside])
        scores: Float64 = (self._targets - residuals) / self._roots[:, None] + self._target_mean
        return scores

    def solve(self, regularization: float) -> tuple[Float64, Float64, Float64]:
        """Weights [D, C] of the rows, mean target [C] and mean row [D]."""
        self._checkpoint()
        inverse = 1.0 / (self._values + regularization)
        solution = self._rows.T @ (self._vectors @ (inverse[:, None] * self._projected))
        return solution, self._target_mean, self._row_mean


class PrimalForm:
    """The D x D form, for more examples than features: nothing of size N but the out-of-fold scores.

    It holds one D x D matrix for each fold and three more, whatever the number of examples.
    """

    def __init__(self, task: RidgeTask) -> None:
        self._task = task
        self._members = task.members()
        parts = [_Sums.of(task, places) for places in self._members or [np.arange(len(task.targets))]]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.plus(part, 1.0)
        self._whole = _System.of(whole)
        # Each fold's sums make room for its system as they are used.
        self._without: list[_System] = []
        while self._members and parts:
            self._without.append(_System.of(whole.plus(parts.pop(0), -1.0)))

    def out_of_fold(self, regularization: float, folds: int) -> Float64:
        """Scores [N, C] of each example of the first folds, by a head fitted without its fold."""
        scores = np.zeros_like(self._task.targets)
        for inside, without in list(zip(self._members, self._without, strict=True))[:folds]:
            self._task.checkpoint()
            solution = without.solve(regularization)
            for places, block in self._task.rows.blocks(inside):
                scores[places] = (block - without.row_mean) @ solution + without.target_mean
        return scores

    def solve(self, regularization: float) -> tuple[Float64, Float64, Float64]:
        """Weights [D, C] of the rows, mean target [C] and mean row [D]."""
        self._task.checkpoint()
        return self._whole.solve(regularization), self._whole.target_mean, self._whole.row_mean


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sums:
    """Weighted sums over examples, from which those of any part follow by subtraction."""

    weight: float
    rows: Float64
    targets: Float64
    gram: Float64
    cross: Float64

    @classmethod
    def of(cls, task: RidgeTask, places: Ints) -> "_Sums":
        size = task.rows.size
        columns = task.targets.shape[1]
        gram, cross, rows = np.zeros((size, size)), np.zeros((size, columns)), np.zeros(size)
        for part, block in task.rows.blocks(places):
            weights = task.weights[part]
            rooted = block * np.sqrt(weights)[:, None]
            gram += rooted.T @ rooted
            rows += weights @ block
            cross += block.T @ (weights[:, None] * task.targets[part])
        weights = task.weights[places]
        return cls(
            weight=float(weights.sum()),
            rows=rows,
            targets=weights @ task.targets[places],
            gram=gram,
            cross=cross,
        )

    def plus(self, part: "_Sums", sign: float) -> "_Sums":
        return _Sums(
            weight=self.weight + sign * part.weight,
            rows=self.rows + sign * part.rows,
            targets=self.targets + sign * part.targets,
            gram=self.gram + part.gram if sign > 0 else self.gram - part.gram,
            cross=self.cross + sign * part.cross,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _System:
    """The normal equations around the means, but for the regularisation."""

    row_mean: Float64
    target_mean: Float64
    gram: Float64
    cross: Float64

    @classmethod
    def of(cls, sums: _Sums) -> "_System":
        mean = sums.rows / sums.weight
        return cls(
            row_mean=mean,
            target_mean=sums.targets / sums.weight,
            gram=sums.gram - np.outer(sums.weight * mean, mean),
            cross=sums.cross - np.outer(mean, sums.targets),
        )

    def solve(self, regularization: float) -> Float64:
        """Weights [D, C] of the rows."""
        system = self.gram.copy()
        # Below the rounding of the sums there is nothing to solve for.
        least = np.finfo(np.float64).eps * max(float(np.trace(system)), np.finfo(np.float64).tiny)
        system[np.diag_indices_from(system)] += max(regularization, least)
        return np.linalg.solve(system, self.cross).astype(np.float64, copy=False)
