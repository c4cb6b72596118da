"""Ranks captured inputs by the value that a label for each has to the model, with similar inputs apart.

The value of an input is its uncertainty, raised by novelty, disagreement and rare classes, times the variance
that its label would take from the predictions for all inputs (V-optimal design in a linear model with a
Gaussian prior, given the training examples and the inputs ranked before it; Yu, Bi and Tresp 2006). An input
has a high value if it is uncertain and resembles many others, and a low one if it resembles an input ranked
before it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import Float32, Float64

#: Inputs that are ranked one after the other; all further inputs are sorted by value.
_SEQUENTIAL = 100
#: Variance of a label's noise, relative to the prior variance for an input of mean length.
_NOISE = 1.0
#: Amounts by which the reasons raise the uncertainty, which is 0 to 1.
_NOVELTY, _DISAGREEMENT, _RARE = 0.3, 0.3, 0.3
#: Uncertainty of an unknown prediction, and value below which an input only represents others.
_UNKNOWN, _LITTLE = 0.5, 0.2


class ReviewReason(StrEnum):
    """The reason that contributed most to the value of an input."""

    UNCERTAIN = "uncertain"
    NOVEL = "novel"
    DISAGREEMENT = "disagreement"
    RARE_CLASS = "rare_class"
    REPRESENTATIVE = "representative"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """N inputs to rank."""

    rows: Float32  # features in a small space, [N, d]
    labeled: Float32  # features of training examples in the same space, [K, d]; may be empty
    directions: Float32  # features of length 1 in a small space, to find nearly equal inputs, [N, D]
    near: float  # cosine from which two inputs are nearly equal
    margins: Float64  # margins of the ranking version, 0 to 1, NaN where it has none, [N]
    typicality: Float64  # typicality for the ranking version, NaN where it is unknown, [N]
    disagrees: NDArray[np.bool_]  # whether another version predicted another label, [N]
    rare: NDArray[np.bool_]  # whether the predicted class is rare, [N]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """An input in the ranking."""

    index: int
    value: float  # its value, relative to the largest one, 0 to 1
    reason: ReviewReason
    near_duplicates: int  # number of later inputs that are nearly equal to it


class _Design:
    """The variance of the predictions for all inputs, given the examples so far.

    A label for an input x takes (z' P x)^2 / (1 + x' P x) from the variance for z, where P is the covariance
    of the weights. The sums over all z are kept, so that one more label takes some products with a vector.
    """

    def __init__(self, candidates: Candidates) -> None:
        center = candidates.rows.mean(axis=0)
        rows, labeled = candidates.rows - center, candidates.labeled - center
        scale = np.float32(max(float(np.sqrt(np.square(rows).sum(axis=1).mean())), 1e-12))
        self._rows, labeled = rows / scale, labeled / scale
        precision = _NOISE * np.eye(rows.shape[1]) + (labeled.T @ labeled).astype(np.float64)
        # In units of the noise.
        self._covariance = np.linalg.inv(precision).astype(np.float32)
        projected = self._rows @ self._covariance
        self._variance = (projected * self._rows).sum(axis=1).astype(np.float64)
        self._sums = ((projected @ (self._rows.T @ self._rows)) * projected).sum(axis=1).astype(np.float64)

    def reductions(self) -> Float64:
        """Return by how much the label of each input would reduce the variance, [N]."""
        found: Float64 = np.maximum(self._sums, 0.0) / (1 + self._variance)
        return found

    def add(self, index: int) -> None:
        row = self._covariance @ self._rows[index]
        known = 1 + float(self._variance[index])
        covariances = self._rows @ row
        shared = self._rows @ (self._covariance @ (self._rows.T @ covariances))
        parts = covariances.astype(np.float64) / known
        self._sums += parts * (parts * float(covariances @ covariances) - 2 * shared)
        self._variance = np.maximum(self._variance - parts**2 * known, 0.0)
        self._covariance -= np.outer(row, row / np.float32(known))


def rank(candidates: Candidates, limit: int) -> list[Ranked]:
    """Return at most `limit` inputs by descending value; those nearly equal to an earlier one come last."""
    count = len(candidates.rows)
    if not count or limit < 1:
        return []
    uncertain, reasons = _uncertainty(candidates)
    design = _Design(candidates)
    is_open = np.ones(count, np.bool_)
    ranked: list[Ranked] = []
    later: list[int] = []

    def add(index: int, value: float, near_duplicates: int) -> None:
        ranked.append(
            Ranked(index=index, value=value, reason=reasons[index], near_duplicates=near_duplicates)
        )

    while len(ranked) < min(limit, _SEQUENTIAL) and is_open.any():
        worth = np.where(is_open, uncertain * design.reductions(), -1.0)
        index = int(worth.argmax())
        near = is_open & (candidates.directions @ candidates.directions[index] >= candidates.near)
        near[index] = False
        is_open[near] = False
        is_open[index] = False
        later += np.flatnonzero(near).tolist()
        add(index, float(worth[index]), int(near.sum()))
        design.add(index)
    worth = uncertain * design.reductions()
    rest = np.flatnonzero(is_open)
    for index in (*rest[np.argsort(-worth[rest], kind="stable")].tolist(), *later):
        if len(ranked) == limit:
            break
        add(index, float(worth[index]), 0)
    return _relative(ranked)


def _uncertainty(candidates: Candidates) -> tuple[Float64, list[ReviewReason]]:
    """Return the raised uncertainty of each input, [N], and the reason that contributed most."""
    margins = np.where(np.isnan(candidates.margins), _UNKNOWN, candidates.margins)
    typicality = np.where(np.isnan(candidates.typicality), 1.0, candidates.typicality)
    parts = {
        ReviewReason.UNCERTAIN: 1.0 - np.clip(margins, 0.0, 1.0),
        ReviewReason.NOVEL: _NOVELTY * np.clip(1.0 - typicality / 0.2, 0.0, 1.0),
        ReviewReason.DISAGREEMENT: _DISAGREEMENT * candidates.disagrees,
        ReviewReason.RARE_CLASS: _RARE * candidates.rare,
    }
    names = list(parts)
    shares = np.stack([parts[name] for name in names], axis=1)
    value = shares.sum(axis=1)
    # Without another reason, an input is listed because it represents others.
    largest = shares.argmax(axis=1).tolist()
    reasons = [
        names[place] if total >= _LITTLE else ReviewReason.REPRESENTATIVE
        for place, total in zip(largest, value.tolist(), strict=True)
    ]
    return value + 1e-3, reasons


def _relative(ranked: list[Ranked]) -> list[Ranked]:
    """Divide values by the largest, and limit each to the value before it."""
    largest = max(1e-30, *(each.value for each in ranked))
    values = np.minimum.accumulate([each.value / largest for each in ranked]).tolist()
    return [replace(each, value=value) for each, value in zip(ranked, values, strict=True)]
