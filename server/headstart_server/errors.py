"""What can go wrong, in the words of the domain.

Each class is one reason of the contract's ``ErrorReason``; the gRPC code of each reason stands in one table
in ``rpc``. A job that fails stores reason and message, so an error reads the same from a call and from a job.
"""

from collections.abc import Mapping, Sequence
from typing import Any

#: Seconds after which a call may find the database, or the bucket, back.
AWAY_RETRY_SECONDS = 2.0
#: Metadata of an error of a call that has changed nothing, so that it may be repeated whatever it is.
NOT_BEGUN = ("begun", "false")


class HeadstartError(Exception):
    """Base of every error that is the caller's to know.

    Args:
        message: what was expected, what came, and what to do.
        field: the path of the request field at fault, such as ``inputs[3].image``; None where there is none.
        metadata: facts for programs, such as the limit that was passed.
        retry_after: seconds after which another try may succeed; None where waiting does not help.
        further: errors of other fields of the same request.
    """

    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        further: Sequence["HeadstartError"] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.further = tuple(further)


def without_details(reason: str, message: str, metadata: Mapping[str, str]) -> str:
    """Return the message of an error for callers who must not see paths and URLs of the server."""
    if reason != BackboneUnavailable.reason:
        return message
    return f"Backbone '{metadata.get('backbone', '')}' is unavailable. The log of the server has the reason."


class InvalidField(HeadstartError):
    """A field of a request is missing, malformed or out of range."""

    reason = "INVALID_FIELD"


class InvalidStream(HeadstartError):
    """A FineTune stream has no spec, a second one, or examples before it."""

    reason = "INVALID_STREAM"


class RequestIdReused(HeadstartError):
    """A request id came again with other content."""

    reason = "REQUEST_ID_REUSED"


class EmptyDataset(HeadstartError):
    """There is no example to train on."""

    reason = "EMPTY_DATASET"


class TooFewClasses(HeadstartError):
    """All training examples are of one class."""

    reason = "TOO_FEW_CLASSES"


class TooManyClasses(HeadstartError):
    """A dataset has more classes than the server takes."""

    reason = "TOO_MANY_CLASSES"


class DatasetTooLarge(HeadstartError):
    """A dataset has more examples or bytes than the server takes."""

    reason = "DATASET_TOO_LARGE"


class InvalidLabel(HeadstartError):
    """A label is empty, too long or has control characters."""

    reason = "INVALID_LABEL"


class UndecodableInput(HeadstartError):
    """The bytes are no picture in a known format, or a damaged one."""

    reason = "UNDECODABLE_INPUT"


class InputTooLarge(HeadstartError):
    """An input has more bytes or pixels than the server takes."""

    reason = "INPUT_TOO_LARGE"


class WrongModality(HeadstartError):
    """The backbone does not take inputs of this kind."""

    reason = "WRONG_MODALITY"


class ContradictingLabels(HeadstartError):
    """The same content came with different labels."""

    reason = "CONTRADICTING_LABELS"


class UnusableExamples(HeadstartError):
    """More examples of a dataset are at fault than may be dropped; the reason is that of the first."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelNotFound(HeadstartError):
    """No model of this name."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFound(HeadstartError):
    """The model has no such version."""

    reason = "VERSION_NOT_FOUND"


class AliasNotFound(HeadstartError):
    """The model has no such alias."""

    reason = "ALIAS_NOT_FOUND"


class JobNotFound(HeadstartError):
    """No job of this id."""

    reason = "JOB_NOT_FOUND"


class BackboneNotFound(HeadstartError):
    """No backbone of this name on this server."""

    reason = "BACKBONE_NOT_FOUND"


class BackboneUnavailable(HeadstartError):
    """A declared backbone is not to be had from its source, or is not what was declared."""

    reason = "BACKBONE_UNAVAILABLE"


class ModelNotReady(HeadstartError):
    """The model has no version yet, but a job for it is on its way."""

    reason = "MODEL_NOT_READY"


class JobNotFinished(HeadstartError):
    """The job is queued or running, or its webhook is not delivered yet."""

    reason = "JOB_NOT_FINISHED"


class VersionInUse(HeadstartError):
    """Aliases name the version."""

    reason = "VERSION_IN_USE"


class ModelNotEmpty(HeadstartError):
    """The model has versions, and its deletion is not forced."""

    reason = "MODEL_NOT_EMPTY"


class BackboneMismatch(HeadstartError):
    """The version was fitted on another digest of the backbone than the one loaded."""

    reason = "BACKBONE_MISMATCH"


class EtagMismatch(HeadstartError):
    """The alias was changed since its etag was read."""

    reason = "ETAG_MISMATCH"


class JobQueueFull(HeadstartError):
    """As many jobs are queued as the server takes."""

    reason = "JOB_QUEUE_FULL"


class BackboneQueueFull(HeadstartError):
    """As many rows wait for the backbone as the server takes."""

    reason = "BACKBONE_QUEUE_FULL"


class RateExceeded(HeadstartError):
    """The caller calls more often than it may."""

    reason = "RATE_EXCEEDED"


class QuotaExceeded(HeadstartError):
    """A model holds as much as it may."""

    reason = "QUOTA_EXCEEDED"


class TenantQuotaExceeded(HeadstartError):
    """A tenant stores as much as it may."""

    reason = "TENANT_QUOTA_EXCEEDED"


class Loading(HeadstartError):
    """The backbone is still being loaded, and the call has changed nothing: any call may be repeated."""

    reason = "LOADING"

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.metadata.setdefault(*NOT_BEGUN)


class Draining(HeadstartError):
    """The server is stopping."""

    reason = "DRAINING"


class DeadlineExceeded(HeadstartError):
    """The deadline passed before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class ArtifactDamaged(HeadstartError):
    """A stored version or dataset is damaged or missing."""

    reason = "ARTIFACT_DAMAGED"


class CrashedRepeatedly(HeadstartError):
    """The job ended its worker's process each time it was tried."""

    reason = "CRASHED_REPEATEDLY"


class Cancelled(HeadstartError):
    """The job or the call was cancelled."""

    reason = "CANCELLED"


class StorageFull(HeadstartError):
    """The disk is full."""

    reason = "STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__(
            "The server's disk is full. Delete versions, or give it more room.", retry_after=60.0
        )


class MessageTooLarge(HeadstartError):
    """A message is larger than the server takes."""

    reason = "MESSAGE_TOO_LARGE"


class WrongTask(HeadstartError):
    """An example shows another kind of thing than the others, or than the version tells."""

    reason = "WRONG_TASK"


class ExamplesNotKept(HeadstartError):
    """The examples of the version were not kept."""

    reason = "EXAMPLES_NOT_KEPT"


class ExampleNotFound(HeadstartError):
    """The version was not trained on such an example."""

    reason = "EXAMPLE_NOT_FOUND"


class NoCommonExamples(HeadstartError):
    """There is nothing that two versions can be compared on."""

    reason = "NO_COMMON_EXAMPLES"


class JobTimeLimit(HeadstartError):
    """A job ran longer than the server allows."""

    reason = "JOB_TIME_LIMIT"


class JobMemoryLimit(HeadstartError):
    """A job needs more memory than the server gives to jobs."""

    reason = "JOB_MEMORY_LIMIT"


class TrainerDied(HeadstartError):
    """The process that trained a head ended by itself."""

    reason = "TRAINER_DIED"


class Unauthenticated(HeadstartError):
    """The caller showed nothing that is known here."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(HeadstartError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class KeysUnavailable(HeadstartError):
    """The keys of a token's issuer cannot be had."""

    reason = "ISSUER_KEYS_UNAVAILABLE"


class ExportUnavailable(HeadstartError):
    """A package that the form of an export needs is not installed."""

    reason = "EXPORT_UNAVAILABLE"


class ExportFailed(HeadstartError):
    """The process that exported a version ended by itself, or took too long."""

    reason = "EXPORT_FAILED"


class ExportQueueFull(HeadstartError):
    """As many exports wait as the server takes."""

    reason = "EXPORT_QUEUE_FULL"


class WrittenByNewerRelease(HeadstartError):
    """A row has a form that this release does not know.

    Args:
        what: the job or version.
        metadata: its name.
    """

    reason = "WRITTEN_BY_NEWER_RELEASE"

    def __init__(self, what: str, metadata: Mapping[str, str]) -> None:
        super().__init__(
            f"{what} cannot be read by this release of the server: a newer one wrote it, or it is damaged. "
            "Upgrade the server, or call a replica of the newer release.",
            metadata=metadata,
        )


class DataUnreadable(HeadstartError):
    """What a dataset's URI, or a line of it, names is not there, or the server may not read it."""

    reason = "DATA_UNREADABLE"


class Away(HeadstartError):
    """Something that the server depends on does not answer; that is no fault of a job.

    Its message is the same for every cause: hosts, buckets, paths and the words of a driver are for the log.

    Args:
        detail: the cause, for logs and operators.
        is_busy: whether it does answer, but could not do this now.
        metadata: facts for programs.
    """

    unavailable = "A service that the server depends on does not answer."
    busy = "A service that the server depends on is busy."

    def __init__(
        self, detail: str = "", *, is_busy: bool = False, metadata: Mapping[str, str] | None = None
    ) -> None:
        summary = self.busy if is_busy else self.unavailable
        self.is_busy = is_busy
        self.detail = detail or summary
        super().__init__(
            f"{summary} Try again in {AWAY_RETRY_SECONDS:.0f} seconds.",
            metadata=metadata,
            retry_after=AWAY_RETRY_SECONDS,
        )


class DatabaseAway(Away):
    """The database does not answer; a write that was sent to it may still have happened.

    Args:
        detail: the cause, for logs and operators.
        is_busy: whether it does answer, but could not do this now.
        is_refused: whether it, or the driver, refuses the address: user, password, name, rights or TLS.
    """

    reason = "DATABASE_UNAVAILABLE"
    unavailable = "The database does not answer."
    busy = "The database is busy."

    def __init__(self, detail: str = "", *, is_busy: bool = False, is_refused: bool = False) -> None:
        super().__init__(detail, is_busy=is_busy)
        self.is_refused = is_refused


class StorageAway(Away):
    """The bucket of artifacts does not answer; a write that was sent to it may still have happened."""

    reason = "STORAGE_UNAVAILABLE"
    unavailable = "The artifact storage does not answer."
    busy = "The artifact storage is busy."


class StorageFailed(Away):
    """The disk, the memory or the rights of this server fail; that says nothing about stored files.

    Args:
        summary: the fault and its remedy, without paths.
        metadata: facts for programs.
    """

    reason = "STORAGE_UNAVAILABLE"

    def __init__(self, summary: str, *, metadata: Mapping[str, str] | None = None) -> None:
        self.unavailable = summary
        super().__init__(metadata=metadata)


class DataAway(Away):
    """The service behind a dataset's URI does not answer.

    Args:
        place: the URI's host or bucket, which the caller named.
    """

    reason = "DATA_UNAVAILABLE"

    def __init__(self, place: str) -> None:
        self.unavailable = f"{place} does not answer."
        super().__init__()
