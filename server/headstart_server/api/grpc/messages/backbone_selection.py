"""The messages of backbone selections and rebases."""

from headstart.v1 import backbone_selection_pb2
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart_server.api.grpc.messages.common import duration, optional_seconds, selector_of
from headstart_server.api.grpc.messages.comparisons import gate_of
from headstart_server.api.grpc.messages.recipes import recipe_of
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
)
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.training.rebasing import RebaseSpec

OUTCOMES = {
    CandidateOutcome.TRIED: backbone_selection_pb2.CANDIDATE_OUTCOME_TRIED,
    CandidateOutcome.NOT_TRIED: backbone_selection_pb2.CANDIDATE_OUTCOME_NOT_TRIED,
    CandidateOutcome.FAILED: backbone_selection_pb2.CANDIDATE_OUTCOME_FAILED,
}


def choice_message(choice: BackboneSelection | None) -> backbone_selection_pb2.BackboneSelection | None:
    """Return the message of a backbone selection; None for None."""
    if choice is None:
        return None
    return backbone_selection_pb2.BackboneSelection(
        backbone=choice.backbone,
        reason=choice.reason,
        candidates=[_candidate_message(candidate) for candidate in choice.candidates],
        time_budget=duration(choice.time_budget),
        example_count=choice.example_count,
    )


def _candidate_message(candidate: BackboneCandidate) -> backbone_selection_pb2.BackboneCandidate:
    return backbone_selection_pb2.BackboneCandidate(
        backbone=candidate.backbone,
        outcome=OUTCOMES[candidate.outcome],
        message=LOCATIONS.redact(candidate.message),
        accuracy=candidate.accuracy,
        mean_absolute_error=candidate.mean_absolute_error,
        standard_error=candidate.standard_error,
        gap=candidate.gap,
        gap_standard_error=candidate.gap_standard_error,
        latency_duration=duration(candidate.milliseconds / 1e3) if candidate.milliseconds else None,
        size_bytes=round(candidate.megabytes * 1e6),
        spent_duration=duration(candidate.seconds),
    )


def rebase_spec_of(message: pb.RebaseRequest) -> RebaseSpec:
    """Return the spec of a message; its ranges are checked when it is accepted."""
    gated = message.HasField("promote_if")
    return RebaseSpec(
        source=selector_of(message.source, "source"),
        backbone=message.backbone,
        alias=message.alias or None,
        backbone_candidates=tuple(message.backbone_candidates),
        backbone_time_budget=optional_seconds(message, "backbone_time_budget"),
        recipe=recipe_of(message.recipe) if message.HasField("recipe") else None,
        gate=gate_of(message.promote_if) if gated else PromotionCriteria(),
        gate_given=gated,
        priority=message.priority,
        webhook=message.webhook or None,
    )
