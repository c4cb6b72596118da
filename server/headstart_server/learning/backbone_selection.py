"""How the backbone of a version was chosen: the candidates, what was found of each, and why one was taken."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CandidateOutcome(StrEnum):
    """What became of a candidate."""

    TRIED = "tried"
    NOT_TRIED = "not_tried"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate:
    """One backbone that might have been taken.

    Attributes:
        backbone: its name.
        outcome: what became of it.
        message: why it was not tried, or failed; empty if it was tried.
        accuracy: share told right out of fold, 0 to 1; of several labels the share with every class right.
            None for numbers, and where nothing could be measured.
        mean_absolute_error: of numbers; else None.
        standard_error: of that figure; None without one.
        gap: by how much it is behind the best on the same examples, in the unit of that figure; None
            without one.
        gap_standard_error: the standard error of that difference.
        milliseconds: that one input takes at serving, on the machine that ran the job; 0 if it was not tried.
        megabytes: size of its weights in float32, in millions of bytes.
        seconds: that trying it took; 0 if it was not tried.
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
    """What was chosen, and from what.

    Attributes:
        backbone: the name of the one that was taken.
        reason: why, in a sentence.
        candidates: all, in the order in which they were to be tried.
        time_budget: seconds after which no further one was tried; None for no limit.
        example_count: number of examples that all those tried were measured on.
    """

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: float | None = None
    example_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "BackboneSelection":
        """The choice that `to_json` wrote.

        Raises:
            KeyError, TypeError or ValueError: the fields are not those of a choice.
        """
        candidates = tuple(
            BackboneCandidate(**{**each, "outcome": CandidateOutcome(each["outcome"])})
            for each in fields["candidates"]
        )
        return cls(**{**fields, "candidates": candidates})
