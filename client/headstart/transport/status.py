"""Converts gRPC failures and `google.rpc.Status` to this package's errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import Error as JsonError
from google.protobuf.message import DecodeError, Message
from google.protobuf.message import Error as MessageError
from google.rpc import error_details_pb2, status_pb2

from headstart import errors
from headstart.control_characters import without_controls

Detail = TypeVar("Detail", bound=Message)

MESSAGE_TOO_LARGE: Final = "MESSAGE_TOO_LARGE"
"""The reason of a request above the server's limit; the metadata has ``size`` and ``limit`` in bytes."""

_DETAILS_KEY: Final = "grpc-status-details-bin"
_DOMAIN: Final = "headstart"

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_KINDS: Final[dict[grpc.StatusCode, type[errors.HeadstartError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.DATA_LOSS: errors.DataLoss,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.INTERNAL: errors.Internal,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
}

_HINTS: Final = {
    "Expected SETTINGS frame": "the port does not speak gRPC. Is it the HTTP port? Use the gRPC port.",
    "WRONG_VERSION_NUMBER": "the port has no TLS. Connect without tls, or use the port that has it.",
    "CERTIFICATE_VERIFY_FAILED": "no known authority signed its certificate. Pass the certificate of the "
    "authority as TlsConfig(ca=...), or --ca.",
    "Hostname Verification Check failed": "its certificate is for another host name. Use a name in the "
    "certificate.",
    "Socket closed": "it closed the connection. If it uses TLS, pass tls=True or --tls.",
}
"""Remedies, by parts of gRPC's messages."""

# Written by gRPC's core, and by servers and proxies in Go, before Headstart's server sees the request.
_TOO_LARGE: Final = re.compile(
    r"^(?!CLIENT).*received message larger than max \((\d+) vs\.? (\d+)\)", re.IGNORECASE
)

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MAX_PROBLEM: Final = 300  # characters in a message

_Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...] | grpc.aio.Metadata | None"


class RpcFailure(Protocol):
    """The common interface of failed calls of `grpc` and `grpc.aio`."""

    def code(self) -> grpc.StatusCode:
        """The canonical code."""

    def details(self) -> str | None:
        """The message."""

    def trailing_metadata(self) -> _Metadata:
        """Return the trailing metadata."""


def error_from_rpc(failure: RpcFailure, server: str, *, is_closed: bool = False) -> errors.HeadstartError:
    """Return the error of a caught gRPC failure, whose message names the server if it did not answer.

    If this side has not closed its channel, a cancellation without a reason comes from a stopping server or
    proxy, so it is UNAVAILABLE.
    """
    status = _status(failure)
    if status is not None:
        return error_from_status(status)
    message = without_controls(failure.details() or "") or failure.code().name
    if too_large := _TOO_LARGE.search(message):
        return _error(_too_large(int(too_large[1]), int(too_large[2])))
    if failure.code() is grpc.StatusCode.CANCELLED and not is_closed:
        message = f"The server at {server} ended the call without an answer, as a stopping server does"
        return _error(errors.ErrorDetails(code=grpc.StatusCode.UNAVAILABLE, message=message))
    if failure.code() is grpc.StatusCode.UNAVAILABLE:
        message = f"No server answers at {server}: {_hint(message) or message}"
    elif failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"No answer from {server} within the time allowed. Raise the timeout, if the server runs"
    return _error(errors.ErrorDetails(code=failure.code(), message=message))


@contextmanager
def reading(server: str) -> Iterator[None]:
    """Raise `Internal`, which names the server, if a response cannot be read within the block."""
    try:
        yield
    except errors.HeadstartError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, MessageError, JsonError) as error:
        raise invalid_response(server, str(error)) from error


def invalid_response(server: str, problem: str) -> errors.Internal:
    """Return the error of a response that cannot be read."""
    message = (
        f"The response of the server at {server} is invalid: {without_controls(problem)[:_MAX_PROBLEM]}. "
        "Check that it is a Headstart server, and that no proxy changes its responses"
    )
    return errors.Internal(errors.ErrorDetails(code=grpc.StatusCode.INTERNAL, message=message))


def metadata_number(error: errors.HeadstartError, name: str) -> int | None:
    """Return a number of 0 or more in the metadata of an error; None if it is missing or another text."""
    text = error.metadata.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) else None


def too_large(name: str, size: int, limit: int) -> str:
    """Return the message of an input or example that does not fit into a message to the server, in bytes."""
    return (
        f"{name} is too large: {size / 2**20:,.1f} MiB, and the server accepts at most "
        f"{limit / 2**20:,.1f} MiB. Scale it down, or leave it out."
    )


def _too_large(size: int, limit: int) -> errors.ErrorDetails:
    return errors.ErrorDetails(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        message=f"The request has {size / 2**20:,.1f} MiB, and the server accepts at most "
        f"{limit / 2**20:,.1f} MiB. Send smaller inputs.",
        reason=MESSAGE_TOO_LARGE,
        metadata={"size": str(size), "limit": str(limit)},
    )


def _hint(message: str) -> str:
    for part, hint in _HINTS.items():
        if part in message:
            return hint
    return ""


def has_remedy(message: str) -> bool:
    """Return whether an error's message has a remedy for a failed connection."""
    return any(hint in message for hint in _HINTS.values())


def deadline_passed() -> errors.DeadlineExceeded:
    """Return the error of a call that is not sent because its deadline has passed."""
    details = errors.ErrorDetails(
        code=grpc.StatusCode.DEADLINE_EXCEEDED, message="The deadline passed before the call was sent."
    )
    return errors.DeadlineExceeded(details)


def error_from_status(status: status_pb2.Status) -> errors.HeadstartError:
    """Return the error of a `google.rpc.Status`."""
    return _error(details_from_status(status))


def _error(details: errors.ErrorDetails) -> errors.HeadstartError:
    return _KINDS.get(details.code, errors.HeadstartError)(details)


def _status(failure: RpcFailure) -> status_pb2.Status | None:
    for key, value in failure.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            # A proxy may forward details with another status; then the call's code decides.
            return status if _CODES.get(status.code) is failure.code() else None
    return None


def details_from_status(status: status_pb2.Status) -> errors.ErrorDetails:
    """Return the error details of a `google.rpc.Status`; unknown details are ignored."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = _unpacked(status, error_details_pb2.ErrorInfo())
    ours = info is not None and info.domain == _DOMAIN
    request = _unpacked(status, error_details_pb2.BadRequest())
    quota = _unpacked(status, error_details_pb2.QuotaFailure())
    retry = _unpacked(status, error_details_pb2.RetryInfo())
    return errors.ErrorDetails(
        code=code,
        message=without_controls(status.message) or code.name,
        reason=info.reason if info and ours else "",
        metadata=dict(info.metadata) if info else {},
        field_violations=tuple(
            errors.FieldViolation(field=violation.field, description=without_controls(violation.description))
            for violation in (request.field_violations if request else ())
        ),
        quota_violations=tuple(
            errors.QuotaViolation(subject=violation.subject, description=violation.description)
            for violation in (quota.violations if quota else ())
        ),
        retry_after=_delay(retry.retry_delay) if retry else None,
    )


def _delay(duration: Duration) -> timedelta | None:
    """Return a delay; None if it is negative or out of range."""
    try:
        delay = duration.ToTimedelta()
    except (ArithmeticError, ValueError):
        return None
    return delay if delay >= timedelta() else None


def _unpacked(status: status_pb2.Status, detail: Detail) -> Detail | None:
    for packed in status.details:
        if packed.Is(detail.DESCRIPTOR):
            try:
                packed.Unpack(detail)
            except DecodeError:
                return None
            return detail
    return None
