"""A job as it stands, how far it is and what happened to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from headstart.errors import ErrorDetails
from headstart.inputs.task import Task
from headstart.results.comparisons import Promotion
from headstart.results.energy import Energy
from headstart.results.evaluations import Evaluation
from headstart.results.faults import ExampleFault
from headstart.results.findings import DatasetFindings
from headstart.spec import FineTuneSpec

__all__ = [
    "JobEvent",
    "JobState",
    "JobStatus",
    "JobStep",
    "Progress",
    "Validation",
    "WatchedJobs",
    "WebhookDelivery",
    "WebhookState",
]


class JobState(StrEnum):
    """Where a job stands on its way. UNSPECIFIED is a state that this client does not know yet."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """True if the job will not change any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobStep(StrEnum):
    """The step a running job is on."""

    UNSPECIFIED = "UNSPECIFIED"
    SELECT_BACKBONE = "SELECT_BACKBONE"
    FEATURES = "FEATURES"
    FIT = "FIT"
    EVALUATE = "EVALUATE"
    PUBLISH = "PUBLISH"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        step: the step it is on.
        fraction: the part of the whole job that is done, 0 to 1.
        done: items of this step that are done; examples for FEATURES, backbones for SELECT_BACKBONE.
        total: items of this step in all; 0 where it cannot be counted.
        loss: out-of-fold or held-out log loss in nats; None until known.
        accuracy: out-of-fold or held-out accuracy, 0 to 1; None until known.
        message: a message for people; may be empty.
    """

    step: JobStep
    fraction: float
    done: int
    total: int
    loss: float | None
    accuracy: float | None
    message: str


class WebhookState(StrEnum):
    """Whether a POST about a job's end arrived.

    Attributes:
        UNSPECIFIED: one that this client does not know.
        PENDING: not yet: the job has not ended, or it will be tried again.
        DELIVERED: it did.
        GIVEN_UP: it did not, and is not tried any more.
    """

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookDelivery:
    """The POST about a job's end.

    Attributes:
        uri: scheme and host of where it goes.
        state: whether it arrived.
        attempt_count: how often it was tried.
        error: why the last try failed; empty if it did not.
        next_attempt_time: when it is tried next; None once it is not, and before the job has ended.
        end_time: when it arrived or was given up; None before.
    """

    uri: str
    state: WebhookState
    attempt_count: int
    error: str
    next_attempt_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """A job as it stood when the server answered.

    Attributes:
        job_id: its name, given by the server.
        state: where it stands.
        spec: the request.
        progress: the last progress reported; None before it runs.
        version: the number of the version it published; None unless SUCCEEDED.
        error: why it failed; None unless FAILED.
        example_count: the examples received.
        class_count: the classes received.
        dataset_digest: SHA-256 of examples and labels, hexadecimal.
        excluded_examples: examples that were left out, at most 100 of them.
        excluded_count: how many were left out.
        create_time: when it was accepted.
        start_time: when a worker first took it; None while QUEUED.
        end_time: when it ended; None before.
        step_durations: wall time of each finished step, by name.
        last_event: the number of its newest event.
        queue_position: the jobs queued before it; 0 unless QUEUED.
        task: the kind of thing that is learned.
        promotion: what became of the alias; None without ``promote_if`` and before the job has succeeded.
        estimated_start_time: when it is likely to start; None unless QUEUED, or where that is not known.
        estimated_end_time: when it is likely to end; None once it has, or where that is not known.
        energy: what the run that ended it cost; None before, and where it cannot be measured.
        webhook: what became of the POST about its end; None if no POST is sent.
    """

    job_id: str
    state: JobState
    spec: FineTuneSpec
    progress: Progress | None
    version: int | None
    error: ErrorDetails | None
    example_count: int
    class_count: int
    dataset_digest: str
    excluded_examples: tuple[ExampleFault, ...]
    excluded_count: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    step_durations: Mapping[str, timedelta]
    last_event: int
    queue_position: int
    task: Task = Task.UNSPECIFIED
    promotion: Promotion | None = None
    estimated_start_time: datetime | None = None
    estimated_end_time: datetime | None = None
    energy: Energy | None = None
    webhook: WebhookDelivery | None = None

    def __repr__(self) -> str:
        version = "" if self.version is None else f"@{self.version}"
        parts = [repr(self.job_id), f"{self.spec.model}{version}", str(self.state)]
        if self.progress is not None and not self.state.ended:
            parts.append(f"{self.progress.step.lower()} {self.progress.fraction:.0%}")
        if self.error is not None:
            parts.append(self.error.reason or self.error.code.name)
        return f"JobStatus({', '.join(parts)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """One thing that happened to a job.

    Attributes:
        job_id: the job.
        number: 1 for a job's first event, then one more for each.
        event_time: when it happened.
        state: the job's state from this event on.
        progress: how far the job was; None for events of a queued job.
        model: the model that the job makes a version of.
    """

    job_id: str
    number: int
    event_time: datetime
    state: JobState
    progress: Progress | None
    model: str = ""

    def __repr__(self) -> str:
        progress = self.progress
        done = "" if progress is None else f", {progress.step.lower()} {progress.fraction:.0%}"
        return f"JobEvent({self.job_id!r}, {self.number}, {self.state}{done})"


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedJobs:
    """One response of a stream of all jobs.

    Attributes:
        event: the event; None for a sign of life.
        resume_token: continues the stream after this response; empty if more events follow at once.
    """

    event: JobEvent | None
    resume_token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """What was found in examples that were only to be checked.

    Attributes:
        valid: True if a fine-tune of them would be accepted and would not fail for its data.
        example_count: the examples.
        class_counts: the examples of each class, by name; empty for numbers.
        faults: examples that cannot be used, at most 100 of them.
        fault_count: how many cannot be used.
        warnings: conditions that do not stop a fine-tune.
        message: why it is not valid, in a sentence; empty if it is.
        findings: what was found in the examples that can be used; None if it is not valid.
        evaluation: how good a version trained on them would be, by cross-validation; None if it is not valid.
    """

    valid: bool
    example_count: int
    class_counts: Mapping[str, int]
    faults: tuple[ExampleFault, ...]
    fault_count: int
    warnings: tuple[str, ...]
    message: str
    findings: DatasetFindings | None = None
    evaluation: Evaluation | None = None
