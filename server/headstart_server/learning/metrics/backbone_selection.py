"""Backbone selection: the one-standard-error rule, and the result with its reason.

The rule selects the cheapest candidate within one standard error of the best (Breiman, Friedman, Olshen and
Stone 1984, section 3.4.3). It uses the standard error of the difference on the same examples: candidates
mostly err on the same examples, and shared errors do not distinguish them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.storage.json_values import JsonValue

#: Rounding error of a difference that equals its standard error, as for a single example.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateScore:
    """Mean score of a candidate and its difference to the best, each with its standard error."""

    score: float
    error: float
    gap: float
    gap_standard_error: float

    @property
    def is_as_good(self) -> bool:
        """Whether the candidate is within one standard error of the best."""
        return self.gap <= self.gap_standard_error + _ROUNDING


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRanking:
    """Result of a comparison of candidates.

    The selected and the best candidate are indexes; the best has the highest score and is the cheapest of
    equals. The score of a candidate that could not be measured is None; a candidate is selected only if all
    were measured.
    """

    chosen: int
    best: int
    standings: tuple[CandidateScore | None, ...]
    example_count: int


def rank_candidates(scores: Sequence[Float64], costs: Sequence[float], weights: Float64) -> CandidateRanking:
    """Select the cheapest candidate that is within one standard error of the best.

    The scores of each candidate are [N], higher is better, NaN if unknown; `weights` [N] are above 0. The
    first of equally expensive candidates counts as cheaper.
    """
    matrix = np.stack([np.asarray(each, np.float64) for each in scores])
    finite: NDArray[np.bool_] = np.isfinite(matrix)
    by_cost = sorted(range(len(scores)), key=lambda place: costs[place])
    measured = [place for place in by_cost if finite[place].any()]
    shared = finite[measured].all(axis=0)
    if not measured or not shared.any():
        return CandidateRanking(
            chosen=by_cost[0], best=by_cost[0], standings=(None,) * len(scores), example_count=0
        )
    matrix, weights = matrix[:, shared], np.asarray(weights, np.float64)[shared]
    best = max(measured, key=lambda place: _mean(matrix[place], weights)[0])
    standings = [_standing(row, matrix[best], weights) for row in matrix]
    return CandidateRanking(
        chosen=next(place for place in measured if standings[place].is_as_good),
        best=best,
        standings=tuple(standings[place] if place in measured else None for place in range(len(scores))),
        example_count=int(shared.sum()),
    )


def _standing(scores: Float64, best: Float64, weights: Float64) -> CandidateScore:
    score, error = _mean(scores, weights)
    behind, gap_standard_error = _mean(best - scores, weights)
    return CandidateScore(
        score=score, error=error, gap=max(0.0, behind), gap_standard_error=gap_standard_error
    )


def _mean(values: Float64, weights: Float64) -> tuple[float, float]:
    """Return the weighted mean of values and its standard error; 0 for a single one."""
    # Divided last, so that all correct gives exactly 1.
    mean = float(weights @ values / weights.sum())
    count = len(values)
    if count < 2:
        return mean, 0.0
    shares = weights / weights.sum()
    variance = float(np.square(shares * (values - mean)).sum()) * count / (count - 1)
    return mean, sqrt(variance)


class CandidateOutcome(StrEnum):
    """The outcome of a candidate."""

    TRIED = "tried"
    NOT_TRIED = "not_tried"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate(JsonValue):
    """A candidate of a backbone selection, as documented in the contract."""

    backbone: str
    outcome: CandidateOutcome
    message: str = ""
    accuracy: float | None = None
    mean_absolute_error: float | None = None
    standard_error: float | None = None
    gap: float | None = None
    gap_standard_error: float | None = None
    milliseconds: float = 0.0
    megabytes: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSelection(JsonValue):
    """The result of a backbone selection, as documented in the contract."""

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: float | None = None
    example_count: int = 0
