"""Which of several candidates is taken, from what each was worth on the same examples and what it costs.

The one-standard-error rule: of those that are not behind the best by more than one standard error the
cheapest (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3). The standard error is that of the
difference on the same examples: candidates mostly err on the same ones, and what they share tells nothing
between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Float64

#: What rounding may add to a difference that equals its standard error, as that of a single example does.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateScore:
    """How a candidate stands.

    Attributes:
        score: its mean, higher is better.
        error: the standard error of that.
        gap: by how much it is behind the best on the same examples; 0 for the best.
        gap_standard_error: the standard error of that difference.
    """

    score: float
    error: float
    gap: float
    gap_standard_error: float

    @property
    def is_as_good(self) -> bool:
        """Whether it is within one standard error of the best."""
        return self.gap <= self.gap_standard_error + _ROUNDING


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRanking:
    """What comes of a comparison of candidates.

    Attributes:
        chosen: the place of the one that is taken.
        best: the place of the one of the highest score; the cheapest of equals.
        standings: of each; None of one that nothing could be measured of. It is taken only if that is so of
            all, and then the cheapest is.
        example_count: number of examples that all of them were measured on.
    """

    chosen: int
    best: int
    standings: tuple[CandidateScore | None, ...]
    example_count: int


def rank_candidates(scores: Sequence[Float64], costs: Sequence[float], weights: Float64) -> CandidateRanking:
    """Take the cheapest candidate that is within one standard error of the best.

    Args:
        scores: of each candidate what it was worth on each example, higher is better; NaN where it says
            nothing, [N]. At least one candidate.
        costs: of each; of equal ones the first is the cheaper.
        weights: how much each example counts, above 0, [N].
    """
    matrix = np.stack([np.asarray(each, np.float64) for each in scores])
    finite: NDArray[np.bool_] = np.isfinite(matrix)
    by_cost = sorted(range(len(scores)), key=lambda place: costs[place])
    told = [place for place in by_cost if finite[place].any()]
    shared = finite[told].all(axis=0)
    if not told or not shared.any():
        return CandidateRanking(
            chosen=by_cost[0], best=by_cost[0], standings=(None,) * len(scores), example_count=0
        )
    matrix, weights = matrix[:, shared], np.asarray(weights, np.float64)[shared]
    best = max(told, key=lambda place: _mean(matrix[place], weights)[0])
    standings = [_standing(row, matrix[best], weights) for row in matrix]
    return CandidateRanking(
        chosen=next(place for place in told if standings[place].is_as_good),
        best=best,
        standings=tuple(standings[place] if place in told else None for place in range(len(scores))),
        example_count=int(shared.sum()),
    )


def _standing(scores: Float64, best: Float64, weights: Float64) -> CandidateScore:
    score, error = _mean(scores, weights)
    behind, gap_standard_error = _mean(best - scores, weights)
    return CandidateScore(
        score=score, error=error, gap=max(0.0, behind), gap_standard_error=gap_standard_error
    )


def _mean(values: Float64, weights: Float64) -> tuple[float, float]:
    """The weighted mean of some values and its standard error; 0 for a single one."""
    # Divided last: all right is exactly 1.
    mean = float(weights @ values / weights.sum())
    count = len(values)
    if count < 2:
        return mean, 0.0
    shares = weights / weights.sum()
    variance = float(np.square(shares * (values - mean)).sum()) * count / (count - 1)
    return mean, sqrt(variance)
