"""How backbones were chosen, from messages."""

from headstart.answers.enums import read_enum
from headstart.answers.optional import optional
from headstart.results import BackboneCandidate, BackboneChoice, CandidateOutcome
from headstart.v1 import choosing_pb2 as pb

__all__ = ["read_choice"]

_FIGURES = ("accuracy", "mean_absolute_error", "standard_error", "behind", "behind_error")


def read_choice(choice: pb.BackboneChoice) -> BackboneChoice:
    """Reads how a backbone was chosen."""
    return BackboneChoice(
        backbone=choice.backbone,
        reason=choice.reason,
        candidates=tuple(map(_candidate, choice.candidates)),
        time_budget=choice.time_budget.ToTimedelta() if choice.HasField("time_budget") else None,
        example_count=choice.example_count,
    )


def _candidate(candidate: pb.BackboneCandidate) -> BackboneCandidate:
    return BackboneCandidate(
        backbone=candidate.backbone,
        outcome=read_enum(candidate.outcome, pb.CandidateOutcome.DESCRIPTOR, CandidateOutcome),
        message=candidate.message,
        milliseconds=candidate.milliseconds,
        megabytes=candidate.megabytes,
        spent_time=candidate.spent_time.ToTimedelta() if candidate.HasField("spent_time") else None,
        **optional(candidate, *_FIGURES),
    )
