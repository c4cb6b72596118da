"""What can go wrong, as exceptions that can be caught by kind. Each carries what the server said about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc

__all__ = [
    "Aborted",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "ErrorDetails",
    "FailedPrecondition",
    "FieldViolation",
    "HeadstartError",
    "Internal",
    "InvalidArgument",
    "JobCancelled",
    "JobFailed",
    "NotFound",
    "PermissionDenied",
    "PredictionError",
    "QuotaViolation",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """A field of the request that is at fault.

    Attributes:
        field: its path, such as ``inputs[3].image``.
        description: what was expected and what came.
    """

    field: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaViolation:
    """A limit of the server that the request passed.

    Attributes:
        subject: what is limited.
        description: the limit and what came.
    """

    subject: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDetails:
    """What the server said about an error.

    Attributes:
        code: the canonical gRPC code.
        message: what was expected, what came and what to do; for people.
        reason: a value of the contract's ``ErrorReason`` without its prefix, such as ``MODEL_NOT_FOUND``;
            empty if the error comes from the network and not from Headstart.
        metadata: facts for programs, such as the limit that was passed.
        field_violations: the request's fields at fault.
        quota_violations: the limits that were passed.
        retry_after: how long to wait before another try; None where waiting does not help or nothing was
            said.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    quota_violations: tuple[QuotaViolation, ...] = ()
    retry_after: timedelta | None = None


class HeadstartError(Exception):
    """Base of every error of a call or a job; a call with an unusual code raises it itself.

    Args:
        details: what the server said.
    """

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details)  # the argument makes it picklable: pools hand errors between processes
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.reason or self.code.name})"

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical gRPC code."""
        return self.details.code

    @property
    def message(self) -> str:
        """What was expected, what came and what to do; for people."""
        return self.details.message

    @property
    def reason(self) -> str:
        """The contract's reason, such as ``MODEL_NOT_FOUND``; empty if the error is the network's."""
        return self.details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts for programs, such as the limit that was passed."""
        return self.details.metadata

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The request's fields at fault."""
        return self.details.field_violations

    @property
    def quota_violations(self) -> tuple[QuotaViolation, ...]:
        """The limits that were passed."""
        return self.details.quota_violations

    @property
    def retry_after(self) -> timedelta | None:
        """How long to wait before another try; None where waiting does not help or nothing was said."""
        return self.details.retry_after


class InvalidArgument(HeadstartError):
    """The request is wrong and will be wrong again; ``field_violations`` says where."""


class NotFound(HeadstartError, LookupError):
    """No such model, version, alias, job or backbone."""


class FailedPrecondition(HeadstartError):
    """Not possible as things stand: a model without a version yet, or a version that aliases name."""


class ResourceExhausted(HeadstartError):
    """A limit of the server; ``retry_after`` is set where waiting helps."""


class Unavailable(HeadstartError, ConnectionError):
    """No server answered, or it is loading or stopping."""


class DeadlineExceeded(HeadstartError, TimeoutError):
    """The call's deadline passed before its answer came."""


class Aborted(HeadstartError):
    """Someone else changed it in between: read again, then try again."""


class DataLoss(HeadstartError):
    """A stored version or dataset is damaged or missing."""


class Unauthenticated(HeadstartError):
    """The server wants credentials, or others."""


class PermissionDenied(HeadstartError):
    """The credentials do not allow this."""


class Internal(HeadstartError):
    """A fault of the server; the message holds an id that its log has too."""


class Cancelled(HeadstartError):
    """The call was cancelled, for instance because its client was closed."""


class JobFailed(HeadstartError):
    """The job ended as FAILED; the details are the job's own error."""


class JobCancelled(HeadstartError):
    """The job ended as CANCELLED."""


class PredictionError(Exception):
    """One input that could not be predicted; with ``errors="return"`` it takes the prediction's place.

    Attributes:
        message: what is wrong with the input.
        index: its place among all inputs, from 0.
        name: its path, or its row; empty if it has no name.
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
