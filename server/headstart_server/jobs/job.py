"""The job: one accepted fine-tune on its way, and the states it may pass through."""

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


class WebhookState(Enum):
    """Whether a POST arrived."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


def origin_of(uri: str) -> str:
    """Return scheme, host and port of a URL: the rest may be a secret."""
    url = urlsplit(uri)
    return f"{url.scheme}://{url.netloc}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """What became of a POST."""

    uri: str = field(repr=False)
    state: WebhookState
    attempts: int  # how often it was tried
    error: str  # why the last try failed; empty if it did not
    # when it is tried next, in seconds since 1970; None once it is not, and before its job has ended
    due: float | None
    finished: float | None  # when it arrived or was given up; None before

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL: the rest may be a secret."""
        return origin_of(self.uri)


class JobState(Enum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state has ended."""
        return not TRANSITIONS[self]


#: The states that may follow each state. RUNNING to QUEUED is a job given back by a server that stops, or
#: taken from one that died.
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
    SUSPECTED: its process died while it ran, perhaps because of it; it must run alone next.
    ALONE: it was last claimed to run alone.
    """

    SHARED = 0
    SUSPECTED = 1
    ALONE = 2


class JobTrigger(StrEnum):
    """Why a job was accepted: a caller requested it, or the model's policy retrains from feedback."""

    REQUEST = "request"
    RETRAIN = "retrain"


class JobStep(Enum):
    """The steps of a job, in order; `SELECT_BACKBONE` only where the backbone is left open."""

    SELECT_BACKBONE = "select_backbone"
    FEATURES = "features"
    FIT = "fit"
    EVALUATE = "evaluate"
    PUBLISH = "publish"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job is."""

    step: JobStep
    fraction: float  # part of the whole job that is done, 0 to 1
    done: int = 0  # items of this step that are done
    total: int = 0  # items of this step in all; 0 where they cannot be counted
    loss: float | None = None  # log loss in nats, once known
    accuracy: float | None = None  # accuracy, once known
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job failed."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)  # facts for programs


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a run found, whether or not it succeeded."""

    excluded: tuple[ExampleFault, ...] = ()  # examples left out, at most 100
    excluded_count: int = 0  # number of examples left out
    # seconds of each finished step, and of `decode` and `backbone` summed over threads
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    energy: Energy | None = None  # what the run cost until then; None if it is unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted fine-tune."""

    job_id: str
    state: JobState
    spec: FineTuneSpec
    attempt: int  # how often it was claimed; each write of a run names its attempt
    cancel: bool
    example_count: int  # number of examples, the parent's among them
    class_count: int  # number of their classes
    dataset_digest: str  # SHA-256 over examples and labels
    created: float  # when it was accepted, in seconds since 1970
    started: float | None  # when it was first claimed; None before
    finished: float | None  # when it ended; None before
    progress: Progress | None  # the last reported; None before it runs
    findings: Findings
    error: JobError | None  # why it failed; None otherwise
    version: int  # number of the version it published; 0 otherwise
    last_event: int  # number of its newest event
    queue_position: int = 0  # number of jobs before it; 0 unless queued
    # what became of the alias that was to be moved under a condition; None without one or an end
    promotion: Promotion | None = None
    task: Task = Task.SINGLE_LABEL
    added_count: int | None = None  # number of examples that came with it; None without a parent: all
    removed_count: int = 0  # number of the parent's examples that were left out or replaced
    edited_count: int = 0  # number of the parent's examples that were changed
    crashes: int = 0  # how often a process died while it ran this job and no other
    staged: str | None = None  # where an earlier attempt has put its fit aside; None for nowhere
    # what earlier attempts have found of backbones, as they wrote it down; None for nothing
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
    number: int  # 1 for its first event, then one more for each
    time: float  # when, in seconds since 1970
    state: JobState
    progress: Progress | None  # how far it was; None while queued
    model: str
