"""Domain errors: each class is one reason of the contract's ``ErrorReason``.

`api/grpc/status` maps each reason to its gRPC code. A failed job stores reason and message, so an error
reads the same from a call and from a job.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

#: Seconds after which a call may find the database or the bucket available again.
UNAVAILABLE_RETRY_SECONDS = 2.0
#: Error metadata of a call that changed nothing, so that any such call may be repeated.
NOT_STARTED = ("begun", "false")


class HeadstartError(Exception):
    """Base of every error that is reported to the caller.

    Args:
        message: the problem and its remedy.
        field: path of the request field at fault, such as ``inputs[3].image``.
        metadata: facts for programs, such as the exceeded limit.
        retry_after: seconds after which another try may succeed; None if waiting does not help.
        further: errors of other fields of the same request.
    """

    reason: str = "INTERNAL"

    def __init_subclass__(cls, *, reason: str | None = None) -> None:
        cls.reason = reason or cls.reason

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

    def __reduce__(self) -> tuple[Any, ...]:
        # `Exception` would call the class with the message, but subclasses have other parameters.
        return type(self).__new__, (type(self), *self.args), self.__dict__


def redacted_message(reason: str, message: str, metadata: Mapping[str, str]) -> str:
    """Return the message of an error without paths and URLs of the server."""
    if reason != BackboneUnavailable.reason:
        return message
    return f"Backbone '{metadata.get('backbone', '')}' is unavailable. The log of the server has the reason."


class InvalidField(HeadstartError, reason="INVALID_FIELD"):
    """A field of a request is missing, malformed or out of range."""


class InvalidStream(HeadstartError, reason="INVALID_STREAM"):
    """A FineTune stream has no spec, a second one, or examples before it."""


class RequestIdReused(HeadstartError, reason="REQUEST_ID_REUSED"):
    """A request ID was sent again with other content."""


class EmptyDataset(HeadstartError, reason="EMPTY_DATASET"):
    """The dataset has no example to train on."""


class TooFewClasses(HeadstartError, reason="TOO_FEW_CLASSES"):
    """All training examples are of one class."""


class TooManyClasses(HeadstartError, reason="TOO_MANY_CLASSES"):
    """A dataset has more classes than the server accepts."""


class DatasetTooLarge(HeadstartError, reason="DATASET_TOO_LARGE"):
    """A dataset has more examples, bytes or classes in its labels than the server accepts."""


class InvalidLabel(HeadstartError, reason="INVALID_LABEL"):
    """A label is empty, too long or contains control characters."""


class UndecodableInput(HeadstartError, reason="UNDECODABLE_INPUT"):
    """The bytes are not an image in a known format, the image is damaged, or it cannot be predicted."""


class InputTooLarge(HeadstartError, reason="INPUT_TOO_LARGE"):
    """An input has more bytes or pixels than the server accepts."""


class WrongModality(HeadstartError, reason="WRONG_MODALITY"):
    """The backbone does not accept inputs of this modality."""


class ContradictingLabels(HeadstartError, reason="CONTRADICTING_LABELS"):
    """The same content has different labels."""


class UnusableExamplesError(HeadstartError):
    """More examples are invalid than may be dropped; the reason is taken from the first one."""

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.reason = reason


class ModelNotFound(HeadstartError, reason="MODEL_NOT_FOUND"):
    """The model does not exist."""


class VersionNotFound(HeadstartError, reason="VERSION_NOT_FOUND"):
    """The model has no such version."""


class AliasNotFound(HeadstartError, reason="ALIAS_NOT_FOUND"):
    """The model has no such alias."""


class JobNotFound(HeadstartError, reason="JOB_NOT_FOUND"):
    """The job does not exist."""


class BackboneNotFound(HeadstartError, reason="BACKBONE_NOT_FOUND"):
    """This server has no backbone of this name."""


class BackboneUnavailable(HeadstartError, reason="BACKBONE_UNAVAILABLE"):
    """A declared backbone cannot be obtained from its source, or differs from its declaration."""


class ModelNotReady(HeadstartError, reason="MODEL_NOT_READY"):
    """The model has no version yet, but a job that creates one is running or queued."""


class JobNotFinished(HeadstartError, reason="JOB_NOT_FINISHED"):
    """The job is queued or running, or its webhook is not yet delivered."""


class VersionInUse(HeadstartError, reason="VERSION_IN_USE"):
    """Aliases point to the version."""


class ModelNotEmpty(HeadstartError, reason="MODEL_NOT_EMPTY"):
    """The model has versions, and its deletion is not forced."""


class DatasetNotFound(HeadstartError, reason="DATASET_NOT_FOUND"):
    """The dataset does not exist."""


class DatasetExists(HeadstartError, reason="DATASET_EXISTS"):
    """A dataset of this name exists."""


class DatasetNotReady(HeadstartError, reason="DATASET_NOT_READY"):
    """The dataset is still being uploaded, or has another number of examples than expected."""


class DatasetFinished(HeadstartError, reason="DATASET_FINISHED"):
    """The upload of the dataset has ended."""


class BatchMissing(HeadstartError, reason="BATCH_MISSING"):
    """A batch before this one has not been written."""


class BatchConflict(HeadstartError, reason="BATCH_CONFLICT"):
    """The batch was written before with other content."""


class ChecksumMismatch(HeadstartError, reason="CHECKSUM_MISMATCH"):
    """The checksum of examples differs from the one in the request."""


class BackboneMismatch(HeadstartError, reason="BACKBONE_MISMATCH"):
    """The version was fitted on a backbone with a digest other than the loaded one."""


class EtagMismatch(HeadstartError, reason="ETAG_MISMATCH"):
    """The alias has changed since its etag was read."""


class JobQueueFull(HeadstartError, reason="JOB_QUEUE_FULL"):
    """The job queue is full."""


class BackboneQueueFull(HeadstartError, reason="BACKBONE_QUEUE_FULL"):
    """The queue of the backbone is full."""


class RateExceeded(HeadstartError, reason="RATE_EXCEEDED"):
    """The caller exceeded its rate limit."""


class QuotaExceeded(HeadstartError, reason="QUOTA_EXCEEDED"):
    """A model reached its quota."""


class TenantQuotaExceeded(HeadstartError, reason="TENANT_QUOTA_EXCEEDED"):
    """A tenant reached its storage quota."""


class Loading(HeadstartError, reason="LOADING"):
    """The backbone is still loading. The call has changed nothing, so it may be repeated."""

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.metadata.setdefault(*NOT_STARTED)


class Draining(HeadstartError, reason="DRAINING"):
    """The server is stopping."""


class DeadlineExceeded(HeadstartError, reason="DEADLINE_EXCEEDED"):
    """The deadline passed before the work was done."""


class ArtifactDamaged(HeadstartError, reason="ARTIFACT_DAMAGED"):
    """A stored version or dataset is damaged or missing."""


class CrashedRepeatedly(HeadstartError, reason="CRASHED_REPEATEDLY"):
    """The job ended its worker's process on each attempt."""


class Cancelled(HeadstartError, reason="CANCELLED"):
    """The job or the call was cancelled."""


class StorageFull(HeadstartError, reason="STORAGE_FULL"):
    """The disk is full."""

    def __init__(self) -> None:
        super().__init__("The server's disk is full. Delete versions, or free disk space.", retry_after=60.0)


class MessageTooLarge(HeadstartError, reason="MESSAGE_TOO_LARGE"):
    """A request is larger than the server accepts, or a response than it returns."""


class WrongTask(HeadstartError, reason="WRONG_TASK"):
    """The label of an example is of another task than the other examples, or than the version."""


class ExamplesNotKept(HeadstartError, reason="EXAMPLES_NOT_KEPT"):
    """The examples of the version were not retained."""


class CapturedInputNotFound(HeadstartError, reason="CAPTURED_INPUT_NOT_FOUND"):
    """The model has no captured input of this prediction."""


class ExampleNotFound(HeadstartError, reason="EXAMPLE_NOT_FOUND"):
    """The version was not trained on such an example."""


class NoCommonExamples(HeadstartError, reason="NO_COMMON_EXAMPLES"):
    """Two versions have no examples in common to be compared on."""


class JobTimeLimit(HeadstartError, reason="JOB_TIME_LIMIT"):
    """A job ran longer than the server allows."""


class JobMemoryLimit(HeadstartError, reason="JOB_MEMORY_LIMIT"):
    """A job needs more memory than the server allows."""


class TrainerDied(HeadstartError, reason="TRAINER_DIED"):
    """The process that trained a head ended unexpectedly."""


class Unauthenticated(HeadstartError, reason="UNAUTHENTICATED"):
    """The caller presented no valid credentials."""


class PermissionDenied(HeadstartError, reason="PERMISSION_DENIED"):
    """The caller may not do this."""


class IssuerKeysUnavailable(HeadstartError, reason="ISSUER_KEYS_UNAVAILABLE"):
    """The keys of a token's issuer are unavailable."""


class ExportUnavailable(HeadstartError, reason="EXPORT_UNAVAILABLE"):
    """A package that the export format needs is not installed."""


class ExportFailed(HeadstartError, reason="EXPORT_FAILED"):
    """The process that exported a version ended unexpectedly, or took too long."""


class ExportQueueFull(HeadstartError, reason="EXPORT_QUEUE_FULL"):
    """The export queue is full."""


class WrittenByNewerRelease(HeadstartError, reason="WRITTEN_BY_NEWER_RELEASE"):
    """A row of the database has a format that this release does not know."""

    def __init__(self, what: str, metadata: Mapping[str, str]) -> None:
        super().__init__(
            f"{what} cannot be read by this release of the server: a newer one wrote it, or it is damaged. "
            "Upgrade the server, or call a replica of the newer release.",
            metadata=metadata,
        )


@contextmanager
def decoding(what: str, **metadata: str) -> Iterator[None]:
    """Raise WrittenByNewerRelease if the block cannot decode a stored value.

    Args:
        what: the item that has the value, as the subject of a sentence.
        metadata: names of the item.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise WrittenByNewerRelease(what, metadata) from error


class DataUnreadable(HeadstartError, reason="DATA_UNREADABLE"):
    """The data at a dataset URI is missing, or the server may not read it."""


class PredictionNotCaptured(HeadstartError, reason="PREDICTION_NOT_CAPTURED"):
    """The input of the prediction was not captured, or is not stored any longer."""


class UnknownClass(HeadstartError, reason="UNKNOWN_CLASS"):
    """Feedback names a class that the model does not know, and its policy rejects such feedback."""


class ServiceUnavailable(HeadstartError):
    """A service that the server depends on does not answer; a job is not at fault.

    The message is the same for every cause: hosts, buckets, paths and driver messages belong in the log.

    Args:
        detail: the cause, for logs and operators.
        is_busy: whether the service answers, but could not do this now.
        is_refused: whether it rejected names, credentials, permissions or TLS, so that waiting does not help.
        metadata: facts for programs.
    """

    unavailable = "A service that the server depends on does not answer."
    busy = "A service that the server depends on is busy."

    def __init__(
        self,
        detail: str = "",
        *,
        is_busy: bool = False,
        is_refused: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        summary = self.busy if is_busy else self.unavailable
        self.is_busy = is_busy
        self.is_refused = is_refused
        self.detail = detail or summary
        super().__init__(
            f"{summary} Try again in {UNAVAILABLE_RETRY_SECONDS:.0f} seconds.",
            metadata=metadata,
            retry_after=UNAVAILABLE_RETRY_SECONDS,
        )


class DatabaseUnavailable(ServiceUnavailable, reason="DATABASE_UNAVAILABLE"):
    """The database does not answer; a write that was sent to it may still have happened."""

    unavailable = "The database does not answer."
    busy = "The database is busy."


class StorageUnavailable(ServiceUnavailable, reason="STORAGE_UNAVAILABLE"):
    """The bucket of artifacts does not answer; a write that was sent to it may still have happened."""

    unavailable = "The artifact storage does not answer."
    busy = "The artifact storage is busy."


class LocalStorageUnavailable(ServiceUnavailable, reason="STORAGE_UNAVAILABLE"):
    """This server lacks disk, memory or file permissions; stored files may be intact.

    Args:
        summary: the fault and its remedy, without paths.
        metadata: facts for programs.
    """

    def __init__(self, summary: str, *, metadata: Mapping[str, str] | None = None) -> None:
        self.unavailable = summary
        super().__init__(metadata=metadata)


class DataUnavailable(ServiceUnavailable, reason="DATA_UNAVAILABLE"):
    """The service behind a dataset URI does not answer."""

    def __init__(self, origin: str) -> None:
        self.unavailable = f"{origin} does not answer."
        super().__init__()
