"""The backbone selection of a version: candidates, results and the reason."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CandidateOutcome(StrEnum):
    """What happened to a candidate."""

    TRIED = "tried"
    NOT_TRIED = "not_tried"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate:
    """A candidate of a backbone selection.

    Attributes:
        outcome: what happened to the candidate.
        message: why it was not tried, or failed; empty if it was tried.
        accuracy: out-of-fold accuracy, 0 to 1; with several labels, all labels of an example must be correct.
            None for regression, or if nothing could be measured.
        standard_error: standard error of the accuracy or mean absolute error.
        gap: difference to the best candidate on the same examples, in the same unit.
        milliseconds: latency of one input at serving, on the machine that ran the job; 0 if not tried.
        megabytes: size of the weights in float32, in millions of bytes.
        seconds: time that the trial took; 0 if not tried.
    """

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
class BackboneSelection:
    """The result of a backbone selection.

    Attributes:
        backbone: name of the selected backbone.
        reason: why it was selected, in a sentence.
        candidates: all candidates, in the order in which they are tried.
        time_budget: seconds after which no further candidate is tried; None for no limit.
        example_count: number of examples that all tried candidates were measured on.
    """

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: float | None = None
    example_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the selection as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "BackboneSelection":
        """Return the selection that `to_json` wrote."""
        candidates = tuple(
            BackboneCandidate(**{**each, "outcome": CandidateOutcome(each["outcome"])})
            for each in fields["candidates"]
        )
        return cls(**{**fields, "candidates": candidates})
