"""Conversions between messages of retrain policies and their values."""

from headstart.v1 import feedback_pb2, retrain_policy_pb2
from headstart_server.api.grpc.messages.comparisons import gate_of
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.api.grpc.messages.times import optional_seconds, timestamp
from headstart_server.errors import InvalidField
from headstart_server.feedback.feedback import RetrainState
from headstart_server.jobs.job import origin_of
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.retrain_policy import (
    DEFAULT_MAX_FAILURES,
    DEFAULT_MIN_INTERVAL,
    RetrainPolicy,
    UnknownClasses,
)

_UNKNOWN_CLASSES = numbers_of(UnknownClasses, retrain_policy_pb2.UnknownClasses)


def policy_of(message: retrain_policy_pb2.RetrainPolicy) -> RetrainPolicy:
    """Return the policy of a message. Raise InvalidField if a value is not in its range."""
    interval = optional_seconds(message, "min_interval_duration")
    return RetrainPolicy(
        alias=message.alias,
        min_feedback_count=message.min_feedback_count if message.HasField("min_feedback_count") else None,
        max_delay=optional_seconds(message, "max_delay_duration"),
        min_accuracy=message.min_accuracy if message.HasField("min_accuracy") else None,
        promote_if=gate_of(message.promote_if) if message.HasField("promote_if") else PromotionCriteria(),
        min_interval=DEFAULT_MIN_INTERVAL if interval is None else interval,
        unknown_classes=_unknown_classes_of(message),
        webhook=message.webhook or None,
        max_failures=message.max_failures if message.HasField("max_failures") else DEFAULT_MAX_FAILURES,
    ).check()


def policy_message(policy: RetrainPolicy | None) -> retrain_policy_pb2.RetrainPolicy | None:
    """Return the message of a policy, without the secret part of its webhook; None for None."""
    if policy is None:
        return None
    return message_of(
        policy,
        retrain_policy_pb2.RetrainPolicy,
        max_delay_duration=policy.max_delay,
        min_interval_duration=policy.min_interval,
        webhook=origin_of(policy.webhook) if policy.webhook else "",
    )


def status_message(policy: RetrainPolicy, state: RetrainState, now: float) -> feedback_pb2.RetrainStatus:
    """Return the message of the state of a model's retraining."""
    if state.job_id:
        stage = feedback_pb2.RETRAIN_STATE_RUNNING
    elif state.failures >= policy.max_failures:
        stage = feedback_pb2.RETRAIN_STATE_STOPPED
    elif state.failures:
        stage = feedback_pb2.RETRAIN_STATE_BACKING_OFF
    else:
        stage = feedback_pb2.RETRAIN_STATE_IDLE
    is_waiting = state.not_before > now and stage != feedback_pb2.RETRAIN_STATE_STOPPED
    return feedback_pb2.RetrainStatus(
        state=stage,
        job_id=state.job_id,
        last_job_id=state.last_job_id,
        last_version=state.last_version or None,
        failure_count=state.failures,
        error=state.error.get("message", ""),
        next_time=timestamp(state.not_before) if is_waiting else None,
    )


def _unknown_classes_of(message: retrain_policy_pb2.RetrainPolicy) -> UnknownClasses:
    if not message.HasField("unknown_classes"):
        return UnknownClasses.ALLOW
    for value, number in _UNKNOWN_CLASSES.items():
        if number == message.unknown_classes:
            return value
    raise InvalidField(
        f"The value {message.unknown_classes} of unknown_classes is unknown. Use ALLOW or REJECT.",
        field="retrain.unknown_classes",
    )
