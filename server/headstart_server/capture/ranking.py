"""Ranks captured inputs by the value of a label for the model, with similar inputs apart.

The value of an input is its uncertainty, raised by novelty, disagreement and rare classes, times the
deviation that remains in its direction once the inputs before it are labeled (sequential design in a linear
model with a Gaussian prior). So an input that resembles an earlier one is worth little.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import Float32, Float64

#: Cosine from which two inputs are nearly equal.
NEAR = 0.95
#: Inputs that are ranked one after the other; those after them have descending values.
_SEQUENTIAL = 300
#: Variance of the noise of a label, relative to the variance of the prior in each direction.
_NOISE = 0.1
#: How much each reason raises the uncertainty, which is 0 to 1.
_NOVELTY, _DISAGREEMENT, _RARE = 0.3, 0.3, 0.3
#: Uncertainty of an input about which nothing is known.
_UNKNOWN = 0.5


class ReviewReason(StrEnum):
    """The reason that contributed most to the value of an input."""

    UNCERTAIN = "uncertain"
    NOVEL = "novel"
    DISAGREEMENT = "disagreement"
    RARE_CLASS = "rare_class"
    REPRESENTATIVE = "representative"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """N inputs to rank.

    Attributes:
        directions: features of length 1 in a small space, [N, d].
        margins: margins of the ranking version, 0 to 1, NaN where it has none, [N].
        typicality: typicality for the ranking version, NaN where it is unknown, [N].
        disagrees: whether another version predicted another label, [N].
        rare: whether the predicted class is rare, [N].
    """

    directions: Float32
    margins: Float64
    typicality: Float64
    disagrees: NDArray[np.bool_]
    rare: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """An input in the ranking.

    Attributes:
        index: its index in the candidates.
        value: its value, relative to the largest one, 0 to 1.
        reason: the reason that contributed most.
        near_duplicates: number of later inputs that are nearly equal to it.
    """

    index: int
    value: float
    reason: ReviewReason
    near_duplicates: int


def rank(candidates: Candidates, limit: int) -> list[Ranked]:
    """Return at most `limit` inputs by descending value; those nearly equal to an earlier one come last."""
    directions = candidates.directions
    if not len(directions):
        return []
    value, reasons = _values(candidates)
    variance = np.full(len(directions), 1 / _NOISE)
    # Covariance of the weights times the directions, updated one selected input at a time (Sherman-Morrison).
    projected = directions / np.float32(_NOISE)
    is_open = np.ones(len(directions), np.bool_)
    ranked: list[Ranked] = []
    later: list[int] = []
    while len(ranked) < min(limit, _SEQUENTIAL) and is_open.any():
        worth = np.where(is_open, value * np.sqrt(np.maximum(variance, 0.0)), -1.0)
        index = int(worth.argmax())
        similar = directions @ directions[index]
        near = is_open & (similar >= NEAR)
        near[index] = False
        is_open[near] = False
        is_open[index] = False
        later += np.flatnonzero(near).tolist()
        ranked.append(
            Ranked(
                index=index,
                value=float(worth[index]),
                reason=reasons[index],
                near_duplicates=int(near.sum()),
            )
        )
        covariance = projected @ directions[index]
        gain = covariance / (1 + variance[index])
        projected -= np.outer(gain, projected[index])
        variance -= covariance.astype(np.float64) ** 2 / (1 + variance[index])
    worth = value * np.sqrt(np.maximum(variance, 0.0))
    rest = np.flatnonzero(is_open)
    order = [*rest[np.argsort(-worth[rest], kind="stable")].tolist(), *later]
    ranked += [
        Ranked(index=index, value=float(worth[index]), reason=reasons[index], near_duplicates=0)
        for index in order[: limit - len(ranked)]
    ]
    return _relative(ranked)


def _values(candidates: Candidates) -> tuple[Float64, list[ReviewReason]]:
    """Return the value of each input without regard to the others, and the reason that contributed most."""
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
    # An input that nothing speaks for is listed because it represents others.
    largest = shares.argmax(axis=1).tolist()
    reasons = [
        names[place] if total >= 0.2 else ReviewReason.REPRESENTATIVE
        for place, total in zip(largest, value.tolist(), strict=True)
    ]
    return value + 1e-3, reasons


def _relative(ranked: list[Ranked]) -> list[Ranked]:
    largest = max(each.value for each in ranked)
    return [
        Ranked(
            index=each.index,
            value=min(each.value / largest, 1.0),
            reason=each.reason,
            near_duplicates=each.near_duplicates,
        )
        for each in ranked
    ]
