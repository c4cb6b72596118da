"""Conversions between messages about captured inputs and the values of the capture room."""

from typing import Any

from headstart.v1 import capture_policy_pb2
from headstart.v1 import review_service_pb2 as pb
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.api.grpc.messages.times import optional_seconds
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.capture.captured_input import CapturedInput, CaptureReason
from headstart_server.capture.captured_inputs import CaptureStatus
from headstart_server.capture.review_lists import ReviewEntry
from headstart_server.models.capture_policy import CapturePolicy

_REASONS = numbers_of(CaptureReason, pb.CaptureReason)
_FRACTIONS = ("random_fraction", "max_margin", "max_typicality", "rare_class_fraction")


def capture_policy_of(message: capture_policy_pb2.CapturePolicy) -> CapturePolicy:
    """Return the policy of a message, with defaults for unset bounds."""
    bounds: dict[str, Any] = {
        name: getattr(message, name) for name in ("max_count", "max_bytes") if message.HasField(name)
    }
    ttl = optional_seconds(message, "ttl")
    if ttl is not None:
        bounds["ttl"] = ttl
    policy = CapturePolicy(
        **{name: getattr(message, name) for name in _FRACTIONS},
        shadow_disagreement=message.shadow_disagreement,
        **bounds,
    )
    policy.check()
    return policy


def capture_policy_message(policy: CapturePolicy) -> capture_policy_pb2.CapturePolicy:
    """Return the message of a policy, with all bounds."""
    return message_of(policy, capture_policy_pb2.CapturePolicy)


def captured_message(captured: CapturedInput) -> pb.CapturedInput:
    """Return the message of a captured input."""
    return message_of(
        captured,
        pb.CapturedInput,
        reasons=[number for reason, number in _REASONS.items() if reason in captured.reasons],
        modality=Modality(captured.kind),
    )


def review_entry_message(entry: ReviewEntry) -> pb.ReviewEntry:
    """Return the message of an input that is listed for review."""
    return message_of(
        entry,
        pb.ReviewEntry,
        captured_input=captured_message(entry.captured),
        label=entry.predicted,
        near_duplicate_count=entry.near_duplicates,
    )


def status_message(status: CaptureStatus) -> pb.CaptureStatus:
    """Return the message of the state of a capture."""
    return message_of(
        status,
        pb.CaptureStatus,
        queue_full_count=status.queue_full,
        storage_failed_count=status.storage_failed,
        quota_full_count=status.quota_full,
        last_gap_time=status.last_gap,
    )
