"""Jobs: status, progress and events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from headstart.errors import ErrorDetails
from headstart.inputs.task import Task
from headstart.results.comparisons import Promotion
from headstart.results.energy import Energy
from headstart.results.evaluations import Evaluation
from headstart.results.findings import DatasetFindings, ExampleFault
from headstart.spec import FineTuneSpec


class JobTrigger(StrEnum):
    """The origin of a job: a caller's request, or the automatic retraining from feedback."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    REQUEST = "REQUEST"
    RETRAIN = "RETRAIN"


class JobState(StrEnum):
    """The state of a job. UNSPECIFIED: a state that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobStep(StrEnum):
    """The step of a running job."""

    UNSPECIFIED = "UNSPECIFIED"
    SELECT_BACKBONE = "SELECT_BACKBONE"
    FEATURES = "FEATURES"
    FIT = "FIT"
    EVALUATE = "EVALUATE"
    PUBLISH = "PUBLISH"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a job.

    Attributes:
        step: the current step.
        fraction: completed fraction of the whole job, 0 to 1.
        done: number of completed items of the step; examples for FEATURES, backbones for SELECT_BACKBONE.
        total: number of items of the step; 0 if unknown.
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
    """The delivery state of a job's webhook.

    Attributes:
        UNSPECIFIED: a state that this client does not know.
        PENDING: the job has not ended, or the delivery will be retried.
        DELIVERED: the POST was accepted.
        GIVEN_UP: the delivery failed and will not be retried.
    """

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookDelivery:
    """The delivery of a job's webhook.

    Attributes:
        uri: scheme and host of the destination.
        state: delivery state.
        attempt_count: number of attempts.
        error: error of the last attempt; empty if it succeeded.
        next_attempt_time: time of the next attempt; None if no attempt is planned, or before the job has
            ended.
        end_time: time of the delivery or of giving up; None before.
    """

    uri: str
    state: WebhookState
    attempt_count: int
    error: str
    next_attempt_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """The status of a job at the time of the response.

    Attributes:
        job_id: ID of the job, assigned by the server.
        state: state of the job.
        spec: the request.
        progress: the last reported progress; None before the job runs.
        version: number of the published version; None unless SUCCEEDED.
        error: the error; None unless FAILED.
        example_count: number of received examples.
        class_count: number of received classes.
        dataset_digest: SHA-256 of examples and labels, hexadecimal.
        excluded_examples: excluded examples, at most 100.
        excluded_count: number of excluded examples.
        create_time: time when the job was accepted.
        start_time: time when a worker first started it; None while QUEUED.
        end_time: time when it ended; None before.
        step_durations: wall time of each finished step, by name.
        last_event: number of its newest event.
        queue_position: number of jobs queued before it; 0 unless QUEUED.
        task: kind of label that the version predicts.
        promotion: result of the conditional promotion; None without ``promote_if``, or before the job has
            succeeded.
        estimated_start_time: estimated start; None unless QUEUED, or if unknown.
        estimated_end_time: estimated end; None if the job has ended, or if unknown.
        energy: energy of the run that ended the job; None before, or if it cannot be measured.
        webhook: delivery of the webhook; None if the job has none.
        trigger: origin of the job.
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
    trigger: JobTrigger = JobTrigger.UNSPECIFIED

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
    """An event of a job.

    Attributes:
        job_id: the job.
        number: number of the event within the job, from 1.
        event_time: time of the event.
        state: state of the job from this event on.
        progress: progress of the job; None while it is queued.
        model: model that the job trains a version of.
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
        event: the event; None for a keepalive.
        resume_token: position of the stream after this response; empty if more events follow immediately.
    """

    event: JobEvent | None
    resume_token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """The result of a validation.

    Attributes:
        valid: whether a fine-tune of the examples would be accepted and would not fail because of its data.
        example_count: number of examples.
        class_counts: number of examples of each class, by name; empty for a regression.
        faults: unusable examples, at most 100.
        fault_count: number of unusable examples.
        warnings: conditions that do not stop a fine-tune.
        message: reason why the examples are invalid, in one sentence; empty if they are valid.
        findings: findings in the usable examples; None if invalid.
        evaluation: cross-validated quality of a version trained on them; None if invalid.
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
