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
    """What became of a POST.

    Attributes:
        attempts: how often it was tried.
        error: why the last try failed; empty if it did not.
        due: when it is tried next, in seconds since 1970; None once it is not, and before its job has ended.
        finished: when it arrived or was given up; None before.
    """

    uri: str = field(repr=False)
    state: WebhookState
    attempts: int
    error: str
    due: float | None
    finished: float | None

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
    """How far a job is.

    Attributes:
        fraction: part of the whole job that is done, 0 to 1.
        done: items of this step that are done.
        total: items of this step in all; 0 where they cannot be counted.
        loss: log loss in nats, once known.
        accuracy: accuracy, once known.
    """

    step: JobStep
    fraction: float
    done: int = 0
    total: int = 0
    loss: float | None = None
    accuracy: float | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job failed.

    Attributes:
        metadata: facts for programs.
    """

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a run found, whether or not it succeeded.

    Attributes:
        excluded: examples left out, at most 100.
        excluded_count: number of examples left out.
        step_seconds: seconds of each finished step, and of `decode` and `backbone` summed over threads.
        energy: what the run cost until then; None if it is unknown.
    """

    excluded: tuple[ExampleFault, ...] = ()
    excluded_count: int = 0
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    energy: Energy | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted fine-tune.

    Attributes:
        attempt: how often it was claimed; each write of a run names its attempt.
        example_count: number of examples, the parent's among them.
        class_count: number of their classes.
        dataset_digest: SHA-256 over examples and labels.
        created: when it was accepted, in seconds since 1970.
        started: when it was first claimed; None before.
        finished: when it ended; None before.
        progress: the last reported; None before it runs.
        error: why it failed; None otherwise.
        version: number of the version it published; 0 otherwise.
        promotion: what became of the alias that was to be moved under a condition; None without one or an
            end.
        last_event: number of its newest event.
        queue_position: number of jobs before it; 0 unless queued.
        added_count: number of examples that came with it; None without a parent: all.
        removed_count: number of the parent's examples that were left out or replaced.
        edited_count: number of the parent's examples that were changed.
        crashes: how often a process died while it ran this job and no other.
        staged: where an earlier attempt has put its fit aside; None for nowhere.
        choosing: what earlier attempts have found of backbones, as they wrote it down; None for nothing.
        trace_context: the span of the submitting call, as W3C's `traceparent`; None if it was not traced.
        webhook: delivery of the webhook of its end; None without a webhook.
        runs_alone: whether its process may run no other job meanwhile.
        memory_bytes: estimated bytes of memory while it runs; 0 if unknown.
        storage_retries: runs that storage errors ended.
        principal: the name of the principal who sent it; empty without an access file.
        replica: the replica that runs it: host name and a uuid; empty unless it runs.
    """

    job_id: str
    state: JobState
    spec: FineTuneSpec
    attempt: int
    cancel: bool
    example_count: int
    class_count: int
    dataset_digest: str
    created: float
    started: float | None
    finished: float | None
    progress: Progress | None
    findings: Findings
    error: JobError | None
    version: int
    last_event: int
    queue_position: int = 0
    promotion: Promotion | None = None
    task: Task = Task.SINGLE_LABEL
    added_count: int | None = None
    removed_count: int = 0
    edited_count: int = 0
    crashes: int = 0
    staged: str | None = None
    choosing: Mapping[str, Any] | None = None
    trace_context: str | None = None
    webhook: Webhook | None = None
    runs_alone: bool = False
    memory_bytes: int = 0
    storage_retries: int = 0
    principal: str = ""
    replica: str = ""
    trigger: JobTrigger = JobTrigger.REQUEST


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """One thing that happened to a job.

    Attributes:
        number: 1 for its first event, then one more for each.
        time: when, in seconds since 1970.
        progress: how far it was; None while queued.
    """

    job_id: str
    number: int
    time: float
    state: JobState
    progress: Progress | None
    model: str
