"""How the backbone of a version was chosen, if the fine-tune used the backbone ``auto``."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

__all__ = ["BackboneCandidate", "BackboneSelection", "CandidateOutcome"]


class CandidateOutcome(StrEnum):
    """What became of a candidate: measured, left out, or not to be loaded or run."""

    UNSPECIFIED = "UNSPECIFIED"
    TRIED = "TRIED"
    NOT_TRIED = "NOT_TRIED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate:
    """One backbone that might have been taken.

    Attributes:
        backbone: its name.
        outcome: what became of it.
        message: why it was not tried, or failed; empty if it was tried.
        accuracy: the share of right predictions in cross-validation, 0 to 1; of several labels the share with
            every class right. None for numbers, and where nothing could be measured.
        mean_absolute_error: of numbers.
        standard_error: of that figure.
        gap: by how much it is behind the best on the same examples; 0 for the best.
        gap_standard_error: the standard error of that difference.
        latency_duration: the time to decode one input and to run the backbone on it; None if untried.
        size_bytes: the size of its weights in float32.
        spent_duration: how long trying it took; None if it was not tried.
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
    """What was chosen, and from what.

    Attributes:
        backbone: the one that was taken: of those not behind the best by more than one standard error the
            one that takes the fewest milliseconds.
        reason: why, in a sentence.
        candidates: all, in the order in which they were to be tried.
        time_budget: after which no further one was tried; None: no limit.
        example_count: the examples that all those tried were measured on.
    """

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: timedelta | None = None
    example_count: int = 0

    def __repr__(self) -> str:
        return f"BackboneSelection({self.backbone} of {len(self.candidates)} candidates)"
