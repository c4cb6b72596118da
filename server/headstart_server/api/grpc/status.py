"""The table of gRPC statuses of domain errors, and the details of every error."""

import uuid

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.errors import HeadstartError

log = structlog.get_logger(__name__)

#: Statuses travel in trailers, which hold a message up to three times and should stay below 8 KiB.
MAX_MESSAGE_BYTES = 1024
MAX_METADATA_BYTES = 256
#: Fields of a request that an error names, and bytes of the message of each after the first.
MAX_VIOLATIONS, MAX_FURTHER_BYTES = 16, 128
#: The domain of every `ErrorInfo`.
DOMAIN = "headstart"

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_MISSING = grpc.StatusCode.NOT_FOUND
_UNREADY = grpc.StatusCode.FAILED_PRECONDITION
_FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
_AWAY = grpc.StatusCode.UNAVAILABLE

#: The gRPC code of each reason of the contract's `ErrorReason`.
CODES: dict[str, grpc.StatusCode] = {
    "INVALID_FIELD": _INVALID,
    "INVALID_STREAM": _INVALID,
    "REQUEST_ID_REUSED": _INVALID,
    "EMPTY_DATASET": _INVALID,
    "TOO_FEW_CLASSES": _INVALID,
    "TOO_MANY_CLASSES": _INVALID,
    "DATASET_TOO_LARGE": _FULL,
    "INVALID_LABEL": _INVALID,
    "UNDECODABLE_INPUT": _INVALID,
    "INPUT_TOO_LARGE": _INVALID,
    "WRONG_MODALITY": _INVALID,
    "CONTRADICTING_LABELS": _INVALID,
    "MODEL_NOT_FOUND": _MISSING,
    "VERSION_NOT_FOUND": _MISSING,
    "ALIAS_NOT_FOUND": _MISSING,
    "JOB_NOT_FOUND": _MISSING,
    "BACKBONE_NOT_FOUND": _MISSING,
    "MODEL_NOT_READY": _UNREADY,
    "VERSION_IN_USE": _UNREADY,
    "MODEL_NOT_EMPTY": _UNREADY,
    "BACKBONE_MISMATCH": _UNREADY,
    "ETAG_MISMATCH": grpc.StatusCode.ABORTED,
    "JOB_QUEUE_FULL": _FULL,
    "BACKBONE_QUEUE_FULL": _FULL,
    "RATE_EXCEEDED": _FULL,
    "QUOTA_EXCEEDED": _FULL,
    "TENANT_QUOTA_EXCEEDED": _FULL,
    "LOADING": _AWAY,
    "DRAINING": _AWAY,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "ARTIFACT_DAMAGED": grpc.StatusCode.DATA_LOSS,
    "CRASHED_REPEATEDLY": grpc.StatusCode.INTERNAL,
    "INTERNAL": grpc.StatusCode.INTERNAL,
    "CANCELLED": grpc.StatusCode.CANCELLED,
    "STORAGE_FULL": _FULL,
    "MESSAGE_TOO_LARGE": _FULL,
    "WRONG_TASK": _INVALID,
    "EXAMPLES_NOT_KEPT": _UNREADY,
    "EXAMPLE_NOT_FOUND": _MISSING,
    "CAPTURED_INPUT_NOT_FOUND": _MISSING,
    "NO_COMMON_EXAMPLES": _UNREADY,
    "TRAINER_DIED": grpc.StatusCode.INTERNAL,
    "JOB_TIME_LIMIT": grpc.StatusCode.DEADLINE_EXCEEDED,
    "JOB_MEMORY_LIMIT": _FULL,
    "DATABASE_UNAVAILABLE": _AWAY,
    "STORAGE_UNAVAILABLE": _AWAY,
    "BACKBONE_UNAVAILABLE": _UNREADY,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "ISSUER_KEYS_UNAVAILABLE": _AWAY,
    "EXPORT_UNAVAILABLE": _UNREADY,
    "EXPORT_FAILED": grpc.StatusCode.INTERNAL,
    "EXPORT_QUEUE_FULL": _FULL,
    "DATA_UNREADABLE": _UNREADY,
    "DATA_UNAVAILABLE": _AWAY,
    "WRITTEN_BY_NEWER_RELEASE": _UNREADY,
    "JOB_NOT_FINISHED": _UNREADY,
    "PREDICTION_NOT_CAPTURED": _UNREADY,
    "UNKNOWN_CLASS": _INVALID,
    "DATASET_NOT_FOUND": _MISSING,
    "DATASET_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "DATASET_NOT_READY": _UNREADY,
    "DATASET_FINISHED": _UNREADY,
    "BATCH_MISSING": _UNREADY,
    "BATCH_CONFLICT": grpc.StatusCode.ABORTED,
    "CHECKSUM_MISMATCH": _INVALID,
}

#: Reasons of RESOURCE_EXHAUSTED that are temporary, so that `RetryInfo` has a delay.
TEMPORARY = frozenset(
    {"JOB_QUEUE_FULL", "BACKBONE_QUEUE_FULL", "RATE_EXCEEDED", "EXPORT_QUEUE_FULL", "STORAGE_FULL"}
)


def status_of(error: Exception) -> status_pb2.Status:
    """Return the status of a call's error; an unknown one becomes INTERNAL with an ID that is also logged."""
    if not isinstance(error, HeadstartError):
        fault = uuid.uuid4().hex
        log.error("call_failed", fault=fault, exc_info=error)
        return reason_status("INTERNAL", f"A fault of the server; its log has id {fault}.", {"fault": fault})
    details: list[Message] = []
    if error.field is not None:
        violations = [_violation(error.field, error, MAX_MESSAGE_BYTES)]
        violations += [
            _violation(each.field, each, MAX_FURTHER_BYTES)
            for each in error.further[: MAX_VIOLATIONS - 1]
            if each.field is not None
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if CODES[error.reason] is _FULL:
        limit = error_details_pb2.QuotaFailure.Violation(
            subject=_for_callers(error.metadata.get("subject", error.reason.lower()), MAX_METADATA_BYTES),
            description=_for_callers(error.message, MAX_MESSAGE_BYTES),
        )
        details.append(error_details_pb2.QuotaFailure(violations=[limit]))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return reason_status(error.reason, error.message, error.metadata, *details)


def _violation(field: str, error: HeadstartError, most: int) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_for_callers(field, MAX_METADATA_BYTES),
        description=_for_callers(error.message, most),
        reason=error.reason,
    )


def reason_status(
    reason: str, message: str, metadata: dict[str, str], *details: Message
) -> status_pb2.Status:
    """Return the status of a reason, with its `ErrorInfo` and further details."""
    short = {name: _for_callers(value, MAX_METADATA_BYTES) for name, value in metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=short)
    packed = []
    for detail in (info, *details):
        wrapped = AnyMessage()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(
        code=code_pb2.Code.Value(CODES[reason].name),
        message=message_for_callers(message),
        details=packed,
    )


def message_for_callers(message: str) -> str:
    """Return the message of an error without the locations of the server, in the size of a status."""
    return _for_callers(message, MAX_MESSAGE_BYTES)


def _for_callers(text: str, most: int) -> str:
    """Return a text without the locations of the server, shortened to the limit of a status."""
    text = LOCATIONS.redact(text)
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return f"{encoded[:most].decode(errors='ignore')}... ({len(encoded)} bytes)"
