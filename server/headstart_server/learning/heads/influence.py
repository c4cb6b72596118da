"""Influence of single training examples on predictions of a ridge head, in closed form.

Ridge regression is a linear smoother, so the head without one example needs no refit: with the share
``h(z)_i`` of example i in the score of an input z, its residual ``e_i`` and its leverage ``h(x_i)_i``, the
score falls by ``h(z)_i e_i / (1 - h(x_i)_i)`` (Cook 1977; Allen 1974). Scaling, regularization, weights and
calibration stay as they were fitted, and the intercept is refitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headstart_server.learning.examples.target import Targets, balancing, normalized_weights
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64
from headstart_server.learning.features.matrices import least_regularization
from headstart_server.learning.heads.head import Head
from headstart_server.learning.heads.recipe import Ridge

#: Inputs whose influences are computed together, which bounds the memory.
INPUTS_AT_ONCE = 32
#: Largest difference of the weights from those of the head, relative to the largest weight.
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """Change of one prediction if one training example is left out."""

    place: int  # index of the example among the training examples
    score_change: float  # change of the score of the most probable class, or of the number
    probability_change: float | None  # change of its probability; None for regression


class HeadMismatchError(ValueError):
    """A fit of the examples does not reproduce the weights of the head."""


class RidgeInfluence:
    """Computes influences on predictions of one head.

    Args:
        views: features [N, D of the view] of its training examples by view.

    Raises:
        HeadMismatchError: the head was fitted on other features or labels.
    """

    def __init__(
        self,
        head: Head,
        recipe: Ridge,
        views: Mapping[str, Float32],
        targets: Targets,
    ) -> None:
        self._head = head
        self._views = [views[name] for name in recipe.views]
        self._recipe = recipe
        self._rows = FeatureMatrix(views, recipe.views, recipe.scaling)
        weights = normalized_weights(targets.weights)
        self._weights = weights * balancing(targets) if recipe.balanced else weights
        self._total = float(self._weights.sum())
        self._target_mean = self._weights @ targets.matrix / self._total
        centered = targets.matrix - self._target_mean
        regularization = recipe.regularization or 0.0
        form = _Dual if len(self._rows) <= self._rows.size else _Primal
        self._form: _Form = form(self._rows, self._weights, centered, regularization)
        self._check(head)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(view.nbytes for view in self._views) + self._form.nbytes

    def influences(self, views: Mapping[str, Float32], count: int) -> list[list[Influence]]:
        """Return the most influential training examples for each of n inputs, by descending absolute change.

        Args:
            views: features [n, D of the view] by view.
            count: maximum number of examples for each input.
        """
        found: list[list[Influence]] = []
        if len(self._rows) < 2:
            return [[] for _ in next(iter(views.values()))]
        inputs = self._rows.transformed(views)
        for start in range(0, len(inputs), INPUTS_AT_ONCE):
            found += self._ranked(inputs[start : start + INPUTS_AT_ONCE], count)
        return found

    def changes(self, views: Mapping[str, Float32], column: int) -> Float64:
        """Return the change of one score of each of n inputs by leaving out each example, [n, N]."""
        return -self._form.shares(self._rows.transformed(views)) * self._form.ratios[:, column]

    def _ranked(self, inputs: Float64, count: int) -> list[list[Influence]]:
        shares, scores = self._form.shares(inputs), self._form.scores(inputs) + self._target_mean
        return [self._most(*each, count) for each in zip(shares, scores, strict=True)]

    def _most(self, shares: Float64, scores: Float64, count: int) -> list[Influence]:
        ratios, calibration = self._form.ratios, self._head.calibration
        outputs = calibration.outputs(scores[None])[0]
        column = int(outputs.argmax())
        changes = -shares * ratios[:, column]
        # Stable, so that equal changes come in the order of the examples.
        places = np.argsort(-np.abs(changes), kind="stable")[:count]
        probabilities: Sequence[float | None] = [None] * len(places)
        if calibration.task is not Task.REGRESSION:
            without = calibration.outputs(scores - shares[places, None] * ratios[places])
            probabilities = (without[:, column] - outputs[column]).tolist()
        return [
            Influence(place=place, score_change=change, probability_change=probability)
            for place, change, probability in zip(
                places.tolist(), changes[places].tolist(), probabilities, strict=True
            )
        ]

    def _check(self, head: Head) -> None:
        solution = self._rows.multiplier[:, None] * self._form.solution
        largest = max(float(np.abs(head.weights).max(initial=0.0)), float(np.finfo(np.float32).tiny))
        if (
            solution.shape != head.weights.shape
            or not np.abs(solution - head.weights).max(initial=0.0) <= TOLERANCE * largest
        ):
            raise HeadMismatchError("Expected the training examples of the head.")


class _Form(Protocol):
    """The solved normal equations, with rows around their weighted mean."""

    #: Weights of the rows, [D, C].
    solution: Float64
    #: Residual of each example divided by 1 - leverage, [N, C].
    ratios: Float64

    @property
    def nbytes(self) -> int: ...

    def shares(self, inputs: Float64) -> Float64:
        """Return the share of each example in the score of each input, [n, N]."""

    def scores(self, inputs: Float64) -> Float64:
        """Return the scores of inputs around the mean target, [n, C]."""


class _Dual:
    """N x N, for no more examples than features.

    With the regularization L, the kernel K of the weighted rows and G = (K + L)^-1 outside the direction of
    the weights, residuals are ``L G y`` and 1 - leverage is ``L diag(G)``: their ratio needs no difference of
    large numbers.
    """

    def __init__(
        self,
        rows: FeatureMatrix,
        weights: Float64,
        targets: Float64,
        regularization: float,
    ) -> None:
        self._roots, self._total = np.sqrt(weights), float(weights.sum())
        matrix = np.concatenate([block for _, block in rows.blocks()])
        self._mean = weights @ matrix / self._total
        self._matrix = (matrix - self._mean) * self._roots[:, None]
        kernel = self._matrix @ self._matrix.T
        regularization = least_regularization(regularization, float(np.trace(kernel)))
        # The weighted rows sum to 0 in this direction, in which the intercept is fitted.
        direction = self._roots / np.sqrt(self._total)
        lifted = max(float(np.trace(kernel)) / len(kernel), regularization)
        kernel += lifted * np.outer(direction, direction)
        kernel[np.diag_indices_from(kernel)] += regularization
        self._inverse = np.linalg.inv(kernel)
        self._inverse -= np.outer(direction, direction) / (lifted + regularization)
        self._dual = self._inverse @ (targets * self._roots[:, None])
        self.solution = self._matrix.T @ self._dual
        diagonal = np.maximum(np.diag(self._inverse), np.finfo(np.float64).tiny)
        self.ratios = self._dual / (self._roots * diagonal)[:, None]

    @property
    def nbytes(self) -> int:
        return int(self._matrix.nbytes + self._inverse.nbytes + self.ratios.nbytes)

    def shares(self, inputs: Float64) -> Float64:
        kernel = (inputs - self._mean) @ self._matrix.T
        shares: Float64 = kernel @ self._inverse * self._roots + np.square(self._roots) / self._total
        return shares

    def scores(self, inputs: Float64) -> Float64:
        scores: Float64 = (inputs - self._mean) @ self.solution
        return scores


class _Primal:
    """D x D, for more examples than features; rows are computed from features when needed."""

    def __init__(
        self,
        rows: FeatureMatrix,
        weights: Float64,
        targets: Float64,
        regularization: float,
    ) -> None:
        self._rows, self._weights, self._total = rows, weights, float(weights.sum())
        size = rows.size
        sums = (weights[part] @ block for part, block in rows.blocks())
        self._mean = sum(sums, np.zeros(size)) / self._total
        gram, cross = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
        for part, block in rows.blocks():
            centered = block - self._mean
            gram += (centered * weights[part, None]).T @ centered
            cross += (centered * weights[part, None]).T @ targets[part]
        gram[np.diag_indices_from(gram)] += least_regularization(regularization, float(np.trace(gram)))
        self._inverse = np.linalg.inv(gram)
        self.solution = self._inverse @ cross
        self.ratios = np.zeros_like(targets)
        for part, block in rows.blocks():
            centered = block - self._mean
            quadratic = np.einsum("nd,nd->n", centered @ self._inverse, centered)
            rest = 1.0 - weights[part] * (quadratic + 1.0 / self._total)
            residuals = targets[part] - centered @ self.solution
            self.ratios[part] = residuals / np.maximum(rest, np.finfo(np.float64).eps)[:, None]

    @property
    def nbytes(self) -> int:
        return int(self._inverse.nbytes + self.ratios.nbytes)

    def shares(self, inputs: Float64) -> Float64:
        directions = (inputs - self._mean) @ self._inverse
        shares = np.empty((len(inputs), len(self._rows)))
        for part, block in self._rows.blocks():
            shares[:, part] = directions @ (block - self._mean).T
        shares += 1.0 / self._total
        shares *= self._weights
        return shares

    def scores(self, inputs: Float64) -> Float64:
        scores: Float64 = (inputs - self._mean) @ self.solution
        return scores


def required_bytes(examples: int, size: int, columns: int) -> int:
    """Estimate the bytes of the influences of examples with `size` features and `columns` scores."""
    narrow = min(examples, size)
    rows = 12 if examples <= size else 4
    return rows * examples * size + 8 * narrow * narrow + 8 * examples * columns
