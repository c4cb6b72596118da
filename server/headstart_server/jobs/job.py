"""The job, which is one accepted fine-tune, and its states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any
from urllib.parse import urlsplit

from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.observability.energy import Energy
from headstart_server.storage.json_values import JsonValue


class WebhookState(Enum):
    """Delivery state of a webhook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


def origin_of(uri: str) -> str:
    """Return scheme, host and port of a URL, because the rest may be a secret."""
    url = urlsplit(uri)
    return f"{url.scheme}://{url.netloc}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """The delivery of a webhook."""

    uri: str = field(repr=False)
    state: WebhookState
    attempts: int  # number of attempts
    error: str  # error of the last attempt; empty if it succeeded
    # time of the next attempt, in seconds since 1970; None without one, and before the job has ended
    due: float | None
    finished: float | None  # when it was delivered or given up; None before

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL, because the rest may be a secret."""
        return origin_of(self.uri)


class JobState(Enum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state has ended."""
        return not TRANSITIONS[self]


#: The states that may follow each state. A job goes from RUNNING to QUEUED if its server stops or dies.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(set(JobState)),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class Isolation(IntEnum):
    """Whether a job shares its process with other jobs.

    SHARED: it may run next to others.
    SUSPECTED: its process died while it ran, perhaps because of it, so it must run alone next.
    ALONE: it was last claimed to run alone.
    """

    SHARED = 0
    SUSPECTED = 1
    ALONE = 2


class JobTrigger(StrEnum):
    """The origin of a job: a request of a caller, or the model's retrain policy."""

    REQUEST = "request"
    RETRAIN = "retrain"


class JobStep(Enum):
    """The steps of a job, in order; `SELECT_BACKBONE` only if the backbone is selected."""

    SELECT_BACKBONE = "select_backbone"
    FEATURES = "features"
    FIT = "fit"
    EVALUATE = "evaluate"
    PUBLISH = "publish"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(JsonValue):
    """The progress of a job."""

    step: JobStep
    fraction: float  # completed fraction of the whole job, 0 to 1
    done: int = 0  # completed items of this step
    total: int = 0  # all items of this step; 0 if they cannot be counted
    loss: float | None = None  # log loss in nats, once known
    accuracy: float | None = None  # accuracy, once known
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """The reason of a job's failure."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)  # facts for programs


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings(JsonValue):
    """Results that a run reports even if it fails."""

    excluded: tuple[ExampleFault, ...] = ()  # examples left out, at most 100
    excluded_count: int = 0  # number of examples left out
    # seconds of each finished step, and of `decode` and `backbone` summed over threads
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    energy: Energy | None = None  # energy used so far; None if it is unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted fine-tune."""

    job_id: str
    state: JobState
    spec: FineTuneSpec
    attempt: int  # number of claims; each write of a run names its attempt
    cancel: bool
    example_count: int  # number of examples, including the parent's
    class_count: int  # number of their classes
    dataset_digest: str  # SHA-256 over examples and labels
    created: float  # when it was accepted, in seconds since 1970
    started: float | None  # when it was first claimed; None before
    finished: float | None  # when it ended; None before
    progress: Progress | None  # the last reported progress; None before it runs
    findings: Findings
    error: JobError | None  # the error if it failed; otherwise None
    version: int  # number of the version it published; 0 otherwise
    last_event: int  # number of its newest event
    queue_position: int = 0  # number of jobs before it; 0 unless queued
    # result of the conditional alias move; None without one, and before the job has ended
    promotion: Promotion | None = None
    task: Task = Task.SINGLE_LABEL
    added_count: int | None = None  # number of examples sent with it; None without a parent, which means all
    removed_count: int = 0  # number of the parent's examples that were left out or replaced
    edited_count: int = 0  # number of the parent's examples that were changed
    crashes: int = 0  # number of times that a process died while it ran only this job
    staged: str | None = None  # name of the version files of an earlier attempt; None without any
    # stored state of the backbone selection of earlier attempts; None without one
    choosing: Mapping[str, Any] | None = None
    # the span of the submitting call, as W3C's `traceparent`; None if it was not traced
    trace_context: str | None = None
    webhook: Webhook | None = None  # delivery of the webhook of its end; None without a webhook
    runs_alone: bool = False  # whether its process may run no other job meanwhile
    memory_bytes: int = 0  # estimated bytes of memory while it runs; 0 if unknown
    storage_retries: int = 0  # runs that storage errors ended
    principal: str = ""  # the name of the principal who sent it; empty without an access file
    replica: str = ""  # the replica that runs it: host name and a uuid; empty unless it runs
    trigger: JobTrigger = JobTrigger.REQUEST


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """One thing that happened to a job."""

    job_id: str
    number: int  # number of the event, counted from 1
    time: float  # time of the event, in seconds since 1970
    state: JobState
    progress: Progress | None  # its progress; None while queued
    model: str
