"""Exceptions by kind of error, with the server's error details."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """An invalid field of the request.

    Attributes:
        field: path of the field, such as ``inputs[3].image``.
        description: the expected and the received value.
    """

    field: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaViolation:
    """A limit of the server that the request exceeded.

    Attributes:
        subject: the limited resource.
        description: the limit and the received value.
    """

    subject: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDetails:
    """The details of an error.

    Attributes:
        code: canonical gRPC code.
        message: the problem and its remedy, for people.
        reason: a value of the contract's ``ErrorReason`` without its prefix, such as ``MODEL_NOT_FOUND``;
            empty for a network error.
        metadata: details for programs, such as the exceeded limit.
        field_violations: invalid fields of the request.
        quota_violations: exceeded limits.
        retry_after: delay before a retry; None if retrying does not help or the server sent no delay.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    quota_violations: tuple[QuotaViolation, ...] = ()
    retry_after: timedelta | None = None


class HeadstartError(Exception):
    """Base class of all errors of calls and jobs; raised directly for codes without a subclass.

    Args:
        details: details of the error.
    """

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details)  # the argument makes it picklable, for process pools
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.reason or self.code.name})"

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical gRPC code."""
        return self.details.code

    @property
    def message(self) -> str:
        """The problem and its remedy, for people."""
        return self.details.message

    @property
    def reason(self) -> str:
        """The contract's reason, such as ``MODEL_NOT_FOUND``; empty for a network error."""
        return self.details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Details for programs, such as the exceeded limit."""
        return self.details.metadata

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The invalid fields of the request."""
        return self.details.field_violations

    @property
    def quota_violations(self) -> tuple[QuotaViolation, ...]:
        """The exceeded limits."""
        return self.details.quota_violations

    @property
    def retry_after(self) -> timedelta | None:
        """The delay before a retry; None if retrying does not help or the server sent no delay."""
        return self.details.retry_after


class InvalidArgument(HeadstartError):
    """The request is invalid; ``field_violations`` names the fields. Retrying does not help."""


class NotFound(HeadstartError, LookupError):
    """A model, version, alias, job or backbone does not exist."""


class FailedPrecondition(HeadstartError):
    """The current state does not allow the call, such as deleting a version that aliases name."""


class ResourceExhausted(HeadstartError):
    """A limit of the server is exceeded; ``retry_after`` is set if retrying helps."""


class Unavailable(HeadstartError, ConnectionError):
    """No server answered, or the server is loading or stopping."""


class DeadlineExceeded(HeadstartError, TimeoutError):
    """The deadline passed before the response."""


class AlreadyExists(HeadstartError):
    """A resource of this name exists."""


class Aborted(HeadstartError):
    """Another caller changed the resource concurrently: read it again, then retry."""


class DataLoss(HeadstartError):
    """A stored version or dataset is damaged or missing."""


class Unauthenticated(HeadstartError):
    """The credentials are missing or invalid."""


class PermissionDenied(HeadstartError):
    """The credentials do not allow this."""


class Internal(HeadstartError):
    """An error of the server, whose message has an ID of its log; or a response that cannot be read."""


class Cancelled(HeadstartError):
    """The call was cancelled, for example because its client was closed."""


class JobFailed(HeadstartError):
    """The job ended as FAILED; the details are those of the job's error."""


class JobCancelled(HeadstartError):
    """The job ended as CANCELLED."""


class PredictionError(Exception):
    """The error of one unusable input; with ``errors="return"`` it replaces the prediction.

    Attributes:
        message: the problem of the input.
        index: index of the input among all inputs, from 0.
        name: path of the input, or its row; empty if it has no name.
        reason: the contract's reason, such as ``UNDECODABLE_INPUT``; ``INVALID_INPUT`` if it was not sent.
    """

    def __init__(self, message: str, *, index: int, name: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (_prediction_error, (self.message, self.index, self.name, self.reason))

    def __repr__(self) -> str:
        return f"PredictionError({self.message!r})"


def _prediction_error(message: str, index: int, name: str, reason: str) -> PredictionError:
    return PredictionError(message, index=index, name=name, reason=reason)
