"""The selection of a backbone by ``auto``."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class CandidateOutcome(StrEnum):
    """The outcome of a candidate."""

    UNSPECIFIED = "UNSPECIFIED"
    TRIED = "TRIED"
    NOT_TRIED = "NOT_TRIED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate:
    """One candidate of a backbone selection.

    Attributes:
        backbone: name of the backbone.
        outcome: outcome of the trial.
        message: reason why it was not tried, or failed; empty if it was tried.
        accuracy: fraction of correct cross-validated predictions, 0 to 1; for a multi-label task the fraction
            with every class correct. None for a regression, and if nothing was measured.
        mean_absolute_error: mean absolute error of a regression.
        standard_error: standard error of that metric.
        gap: difference from the best candidate on the same examples; 0 for the best.
        gap_standard_error: standard error of the gap.
        latency_duration: time to decode one input and run the backbone on it; None if untried.
        size_bytes: size of the weights in float32.
        spent_duration: duration of the trial; None if untried.
    """

    backbone: str
    outcome: CandidateOutcome
    message: str = ""
    accuracy: float | None = None
    mean_absolute_error: float | None = None
    standard_error: float | None = None
    gap: float | None = None
    gap_standard_error: float | None = None
    latency_duration: timedelta | None = None
    size_bytes: int = 0
    spent_duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSelection:
    """The selected backbone and all candidates.

    Attributes:
        backbone: the selected backbone: the fastest within one standard error of the best.
        reason: reason in one sentence.
        candidates: all candidates, in the order of their trials.
        time_budget: time after which no further candidate was tried; None: no limit.
        example_count: number of examples that every tried candidate was measured on.
    """

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: timedelta | None = None
    example_count: int = 0

    def __repr__(self) -> str:
        return f"BackboneSelection({self.backbone} of {len(self.candidates)} candidates)"
