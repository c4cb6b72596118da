"""The two forms of ridge's normal equations, each with out-of-fold scores.

Up to as many examples as features: N x N, one eigendecomposition for every regularization, and no refit. With
more: D x D, the sums over each fold subtracted from the sums over all examples.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float64, Ints
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.features.result_cache import RESULT_CACHE, bytes_key
from headstart_server.learning.heads.split import Folds

#: Maximum bytes of rows held on a device in double precision: 10,000 of 2,064 features are 165 MB.
HELD_ON_DEVICE = 1 << 30
#: Minimum rows of a block on a device.
LEAST_ROWS = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeTask:
    """The problem to solve: N rows with targets [N, C] and weights [N]."""

    rows: FeatureMatrix
    targets: Float64
    weights: Float64
    folds: Folds
    checkpoint: Callable[[], None]
    matrices: Matrices

    def members(self) -> list[Ints]:
        """Return the indexes of each fold."""
        return [np.flatnonzero(self.folds.assignment == fold) for fold in range(self.folds.count)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Decomposed:
    """Weighted rows [N, D] around their mean, with the eigenvalues and eigenvectors of their products."""

    row_mean: Float64
    rows: Float64
    values: Float64
    vectors: Float64

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.row_mean, self.rows, self.values, self.vectors))

    @classmethod
    def from_task(cls, task: RidgeTask) -> "_Decomposed":
        weights, matrices = task.weights, task.matrices
        matrix = np.concatenate([block for _, block in task.rows.blocks()])
        row_mean = weights @ matrix / weights.sum()
        rows = (matrix - row_mean) * np.sqrt(weights)[:, None]
        task.checkpoint()
        held = matrices.to_device(rows.T)
        values, vectors = matrices.eigen(matrices.product(held, held, transposed=True))
        return cls(row_mean=row_mean, rows=rows, values=np.maximum(values, 0.0), vectors=vectors)


class DualForm:
    """The N x N form, for no more examples than features; weights are multiplied into rows and targets."""

    def __init__(self, task: RidgeTask) -> None:
        self._members = task.members()
        self._checkpoint = task.checkpoint
        weights = task.weights
        self._roots = np.sqrt(weights)
        self._share = self._roots / np.sqrt(weights.sum())
        #: A fold's eigenvectors, and its shares in the last column: as large as the largest fold.
        self._scaled = np.empty((max(map(len, self._members), default=0), len(weights) + 1))
        self._target_mean = weights @ task.targets / weights.sum()
        self._targets = (task.targets - self._target_mean) * self._roots[:, None]
        # Relabeled examples have the same rows.
        is_kept = task.rows.key is not None and not task.matrices.is_device
        key = ("dual", task.rows.key, bytes_key(weights)) if is_kept else None
        solved = RESULT_CACHE.get(key, lambda: _Decomposed.from_task(task))
        self._row_mean, self._rows = solved.row_mean, solved.rows
        self._values, self._vectors = solved.values, solved.vectors
        self._projected = self._vectors.T @ self._targets

    def out_of_fold(self, regularization: float, fold: int) -> Float64:
        """Return scores [n, C] of the n examples of a fold by a head fitted on the other folds."""
        self._checkpoint()
        inside = self._members[fold]
        targets, scaled = self._targets[inside], self._scaled[: len(inside)]
        roots = np.sqrt(self._values / (self._values + regularization))
        vectors = scaled[:, :-1]
        np.multiply(self._vectors[inside], roots, out=vectors)
        scaled[:, -1] = self._share[inside]
        # A product with its own transpose takes half the time.
        system = scaled @ scaled.T
        np.negative(system, out=system)
        system.flat[:: len(inside) + 1] += 1.0
        residuals = targets - vectors @ (roots[:, None] * self._projected)
        residuals = np.linalg.solve(system, residuals)
        scores: Float64 = (targets - residuals) / self._roots[inside, None] + self._target_mean
        return scores

    def solve(self, regularization: float) -> tuple[Float64, Float64, Float64]:
        """Return weights [D, C] of the rows, mean target [C] and mean row [D]."""
        self._checkpoint()
        inverse = 1.0 / (self._values + regularization)
        solution = self._rows.T @ (self._vectors @ (inverse[:, None] * self._projected))
        return solution, self._target_mean, self._row_mean


class PrimalForm:
    """The D x D form, for more examples than features: only the out-of-fold scores have N rows.

    It holds one D x D matrix for each fold and three more; on a device the rows too, up to `HELD_ON_DEVICE`.
    """

    def __init__(self, task: RidgeTask) -> None:
        self._task = task
        rows, matrices = task.rows, task.matrices
        held = matrices.is_device and len(rows) * rows.size * 8 <= HELD_ON_DEVICE
        members = task.members() or [np.arange(len(rows))]
        folds = [_Fold(rows, places, matrices, held=held) for places in members]
        self._folds = folds if task.folds.count else []
        parts = [_Sums.from_fold(task, fold) for fold in folds]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.plus(part, 1.0)
        self._whole = _System.from_sums(task.matrices, whole)
        # The sums of each fold are freed as its system is built.
        self._without: list[_System] = []
        while self._folds and parts:
            self._without.append(_System.from_sums(task.matrices, whole.plus(parts.pop(0), -1.0)))

    def out_of_fold(self, regularization: float, fold: int) -> Float64:
        """Return scores [n, C] of the n examples of a fold by a head fitted on the other folds."""
        self._task.checkpoint()
        matrices, without = self._task.matrices, self._without[fold]
        solution = without.solve(regularization)
        shift = without.target_mean - without.row_mean @ matrices.to_host(solution)
        scores = [
            matrices.to_host(matrices.product(block, solution))[: len(places)] + shift
            for places, block in self._folds[fold].blocks()
        ]
        return np.concatenate(scores)

    def solve(self, regularization: float) -> tuple[Float64, Float64, Float64]:
        """Return weights [D, C] of the rows, mean target [C] and mean row [D]."""
        self._task.checkpoint()
        solution = self._task.matrices.to_host(self._whole.solve(regularization))
        return solution, self._whole.target_mean, self._whole.row_mean


class _Fold:
    """The rows of a fold as arrays, computed on each use, or held.

    On a device the arrays are padded with zeros to powers of two, because it compiles a program for each
    shape, and the sizes of folds differ from job to job.
    """

    def __init__(self, rows: FeatureMatrix, places: Ints, matrices: Matrices, *, held: bool) -> None:
        self._rows = rows
        self._places = places
        self._matrices = matrices
        self._held = list(self._made()) if held else None

    def blocks(self) -> Iterable[tuple[Ints, Any]]:
        return self._made() if self._held is None else self._held

    def _made(self) -> Iterator[tuple[Ints, Any]]:
        matrices = self._matrices
        for places, block in self._rows.blocks(self._places):
            yield places, matrices.to_device(_filled(block) if matrices.is_device else block)


def _filled(matrix: Float64) -> Float64:
    """Return a matrix padded with rows of zeros to the next power of two, at least `LEAST_ROWS`."""
    count = max(LEAST_ROWS, 1 << (len(matrix) - 1).bit_length())
    return np.concatenate([matrix, np.zeros((count - len(matrix), *matrix.shape[1:]))])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sums:
    """Weighted sums over examples, which yield the sums of any part by subtraction."""

    weight: float
    rows: Float64
    targets: Float64
    gram: Any
    cross: Any

    @classmethod
    def from_fold(cls, task: RidgeTask, fold: _Fold) -> "_Sums":
        matrices, size, columns = task.matrices, task.rows.size, task.targets.shape[1]
        gram, cross = (
            matrices.to_device(np.zeros((size, size))),
            matrices.to_device(np.zeros((size, columns))),
        )
        rows, targets, weight = np.zeros(size), np.zeros(columns), 0.0
        for places, block in fold.blocks():
            weights, shown = task.weights[places], task.targets[places]
            targets += weights @ shown
            weight += float(weights.sum())
            if matrices.is_device:
                weights, shown = _filled(weights[:, None])[:, 0], _filled(shown)
            rooted = block * matrices.to_device(np.sqrt(weights)[:, None])
            gram = gram + matrices.product(rooted, rooted, transposed=True)
            # The column of weights next to the targets sums up the rows.
            sums = matrices.to_device(np.hstack([weights[:, None] * shown, weights[:, None]]))
            of_block = matrices.product(block, sums, transposed=True)
            cross = cross + of_block[:, :-1]
            rows += matrices.to_host(of_block[:, -1])
        return cls(weight=weight, rows=rows, targets=targets, gram=gram, cross=cross)

    def plus(self, part: "_Sums", sign: float) -> "_Sums":
        return _Sums(
            weight=self.weight + sign * part.weight,
            rows=self.rows + sign * part.rows,
            targets=self.targets + sign * part.targets,
            gram=self.gram + part.gram if sign > 0 else self.gram - part.gram,
            cross=self.cross + part.cross if sign > 0 else self.cross - part.cross,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _System:
    """The normal equations around the means, without the regularization."""

    matrices: Matrices
    row_mean: Float64
    target_mean: Float64
    gram: Any
    cross: Any

    @classmethod
    def from_sums(cls, matrices: Matrices, sums: _Sums) -> "_System":
        mean = sums.rows / sums.weight
        return cls(
            matrices=matrices,
            row_mean=mean,
            target_mean=sums.targets / sums.weight,
            gram=sums.gram - matrices.to_device(np.outer(sums.weight * mean, mean)),
            cross=sums.cross - matrices.to_device(np.outer(mean, sums.targets)),
        )

    def solve(self, regularization: float) -> Any:
        """Return weights [D, C] of the rows, as an array."""
        return self.matrices.solve(self.gram, self.cross, regularization)
