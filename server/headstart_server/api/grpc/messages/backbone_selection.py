"""The messages of backbone selections and rebases."""

from headstart.v1 import backbone_selection_pb2
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart_server.api.grpc.messages.common import selector_of
from headstart_server.api.grpc.messages.comparisons import gate_of
from headstart_server.api.grpc.messages.encode import message_of
from headstart_server.api.grpc.messages.recipes import recipe_of
from headstart_server.api.grpc.messages.times import optional_seconds
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
)
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.training.rebasing import RebaseSpec


def choice_message(choice: BackboneSelection | None) -> backbone_selection_pb2.BackboneSelection | None:
    """Return the message of a backbone selection; None for None."""
    if choice is None:
        return None
    candidates = map(_candidate_message, choice.candidates)
    return message_of(choice, backbone_selection_pb2.BackboneSelection, candidates=candidates)


def _candidate_message(candidate: BackboneCandidate) -> backbone_selection_pb2.BackboneCandidate:
    return message_of(
        candidate,
        backbone_selection_pb2.BackboneCandidate,
        message=LOCATIONS.redact(candidate.message),
        latency_duration=candidate.milliseconds / 1e3 if candidate.milliseconds else None,
        size_bytes=round(candidate.megabytes * 1e6),
        spent_duration=candidate.seconds,
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
