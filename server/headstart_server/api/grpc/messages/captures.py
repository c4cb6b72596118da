"""Conversions between messages about captured inputs and the values of the capture room."""

from typing import Any

from headstart.v1 import capture_policy_pb2, model_pb2, prediction_service_pb2
from headstart.v1 import review_service_pb2 as pb
from headstart_server.api.grpc.messages.common import duration, label_message, optional_seconds, timestamp
from headstart_server.capture.captured_input import CapturedInput, CaptureReason
from headstart_server.capture.captured_inputs import CaptureStatus
from headstart_server.capture.ranking import ReviewReason
from headstart_server.capture.review_lists import ReviewEntry
from headstart_server.models.capture_policy import CapturePolicy

REASONS = {
    CaptureReason.RANDOM: pb.CAPTURE_REASON_RANDOM,
    CaptureReason.LOW_MARGIN: pb.CAPTURE_REASON_LOW_MARGIN,
    CaptureReason.LOW_TYPICALITY: pb.CAPTURE_REASON_LOW_TYPICALITY,
    CaptureReason.RARE_CLASS: pb.CAPTURE_REASON_RARE_CLASS,
    CaptureReason.SHADOW_DISAGREEMENT: pb.CAPTURE_REASON_SHADOW_DISAGREEMENT,
}
REVIEW_REASONS = {
    ReviewReason.UNCERTAIN: pb.REVIEW_REASON_UNCERTAIN,
    ReviewReason.NOVEL: pb.REVIEW_REASON_NOVEL,
    ReviewReason.DISAGREEMENT: pb.REVIEW_REASON_DISAGREEMENT,
    ReviewReason.RARE_CLASS: pb.REVIEW_REASON_RARE_CLASS,
    ReviewReason.REPRESENTATIVE: pb.REVIEW_REASON_REPRESENTATIVE,
}
_MODALITIES = {
    "image": model_pb2.MODALITY_IMAGE,
    "text": model_pb2.MODALITY_TEXT,
    "tensor": model_pb2.MODALITY_TENSOR,
}
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
    return capture_policy_pb2.CapturePolicy(
        **{name: getattr(policy, name) for name in _FRACTIONS},
        shadow_disagreement=policy.shadow_disagreement,
        max_count=policy.max_count,
        max_bytes=policy.max_bytes,
        ttl=duration(policy.ttl),
    )


def captured_message(captured: CapturedInput) -> pb.CapturedInput:
    """Return the message of a captured input."""
    return pb.CapturedInput(
        model=captured.model,
        prediction_id=captured.prediction_id,
        version=captured.version,
        create_time=timestamp(captured.created),
        expire_time=timestamp(captured.expires),
        predicted=label_message(captured.predicted),
        classes=[
            prediction_service_pb2.ClassProbability(
                name=each.name, probability=each.probability, index=each.index, selected=each.selected
            )
            for each in captured.classes
        ],
        margin=captured.margin,
        typicality=captured.typicality,
        reasons=[message for reason, message in REASONS.items() if reason in captured.reasons],
        random_sample=captured.random_sample,
        modality=_MODALITIES[captured.kind],
        media_type=captured.media_type,
        size_bytes=captured.nbytes,
    )


def review_entry_message(entry: ReviewEntry) -> pb.ReviewEntry:
    """Return the message of an input that is listed for review."""
    return pb.ReviewEntry(
        captured_input=captured_message(entry.captured),
        reason=REVIEW_REASONS[entry.reason],
        value=entry.value,
        label=label_message(entry.predicted),
        margin=entry.margin,
        near_duplicate_count=entry.near_duplicates,
    )


def status_message(status: CaptureStatus) -> pb.CaptureStatus:
    """Return the message of the state of a capture."""
    return pb.CaptureStatus(
        captured_count=status.captured_count,
        captured_bytes=status.captured_bytes,
        pending_count=status.pending_count,
        queue_full_count=status.queue_full,
        storage_failed_count=status.storage_failed,
        quota_full_count=status.quota_full,
        last_gap_time=timestamp(status.last_gap),
    )
