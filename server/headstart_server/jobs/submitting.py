"""Accepts jobs, and each request ID only once."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, insert, select, update

from headstart_server.database.tables import JOBS, counters, jobs
from headstart_server.errors import RequestIdReused
from headstart_server.jobs import archive_retention, rows, stored, webhook_rows
from headstart_server.jobs.job import Job, JobState, JobTrigger
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import DatasetSummary
from headstart_server.learning.heads.recipe import Partial
from headstart_server.models import feedback_rows
from headstart_server.models.feedback_rows import ChosenFeedback

#: The kinds of jobs. Servers claim only kinds that they know.
FINE_TUNE, FINE_TUNE_WITH_SELECTION = "fine_tune", "choosing_fine_tune"
#: Maximum IDs of excluded examples reported with a job, because there may be megabytes of them.
MAX_REPORTED_EDITS = 100
# Built once: building a statement takes longer than executing it.
_EARLIER = select(jobs.c.job_id, jobs.c.request_hash).where(
    jobs.c.tenant == bindparam("tenant"), jobs.c.request_id == bindparam("request_id")
)
_ADD = insert(jobs)
# The counter's lock makes numbers follow the order of commits.
_NEXT_NUMBER = (
    update(counters)
    .where(counters.c.name == JOBS)
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A fine-tune to accept."""

    job_id: str  # its ID; the dataset is already stored under it
    spec: FineTuneSpec
    summary: DatasetSummary
    request_id: str | None  # the caller's ID of the request; None if it sent none
    request_hash: str  # digest of everything that the caller sent
    archives: Collection[str] = ()  # the jobs whose archives hold its examples, in addition to its own
    nbytes: int = 0  # bytes of its archive
    tenant: str = ""  # the caller's tenant; limits and request IDs are separate for each tenant
    principal: str = ""  # the name of the principal who sent it; empty without an access file
    # the span of the submitting call, as W3C's `traceparent`; None if it is not traced
    trace_context: str | None = None
    memory_bytes: int | None = None  # estimated bytes of memory while it runs; None if unknown
    # the feedback that an automatic retrain trains on; None for a job that a caller requested
    feedback: ChosenFeedback | None = None


def replayed(
    connection: Connection, tenant: str, request_id: str | None, request_hash: str | None
) -> Job | None:
    """Return the job of an accepted request ID, if the hash of the request is the same or unknown."""
    if request_id is None:
        return None
    row = connection.execute(_EARLIER, {"tenant": tenant, "request_id": request_id}).one_or_none()
    if row is None:
        return None
    if request_hash is not None and row.request_hash != request_hash:
        raise RequestIdReused(
            f"Request ID {request_id!r} was used before for job {row.job_id} with another spec or other "
            "examples. Use a new request ID for a new fine-tune.",
            field="spec.request_id",
            metadata={"job_id": row.job_id},
        )
    return rows.get(connection, row.job_id)


def add(connection: Connection, submission: Submission, now: float, webhook: str | None = None) -> Job:
    """Insert the job, the archives that it needs, its first event and its webhook.

    Args:
        webhook: URL to notify if the spec has none; None for no notification.

    Raises:
        FeedbackChangedError: the feedback that it trains on has changed.
    """
    if submission.feedback is not None:
        feedback_rows.take(connection, submission.spec.model, submission.job_id, submission.feedback, now=now)
    summary = submission.summary
    webhook = submission.spec.webhook or webhook
    values = {
        "job_id": submission.job_id,
        "kind": FINE_TUNE_WITH_SELECTION if submission.spec.selects_backbone else FINE_TUNE,
        "tenant": submission.tenant,
        "priority": submission.spec.priority,
        "state": JobState.QUEUED.value,
        "model": submission.spec.model,
        "backbone": submission.spec.backbone,
        "alias": submission.spec.alias,
        "trains_network": int(isinstance(submission.spec.recipe, Partial)),
        "memory_bytes": submission.memory_bytes,
        "payload": {
            "spec": _shortened(submission.spec).to_json(),
            "example_count": summary.example_count,
            "class_count": len(summary.class_counts),
            "dataset_digest": summary.digest,
            "task": summary.task,
            "added_count": summary.added_count,
            "removed_count": summary.removed_count,
            **({"edited_count": summary.edited_count} if summary.edited_count else {}),
            # The jobs of a server without tracing have no trace context.
            **({} if submission.trace_context is None else {"trace_context": submission.trace_context}),
            **({"webhook": webhook} if webhook else {}),
            **({"principal": submission.principal} if submission.principal else {}),
            **({} if submission.feedback is None else {"trigger": JobTrigger.RETRAIN.value}),
        },
        "request_id": submission.request_id,
        "request_hash": submission.request_hash,
        "seq": 1,
        "created": now,
        "number": int(connection.execute(_NEXT_NUMBER).scalar_one()),
    }
    connection.execute(_ADD, values)
    archive_retention.hold(connection, submission.job_id, submission.archives)
    stored.note_archive(connection, submission.job_id, submission.tenant, submission.nbytes)
    if webhook:
        webhook_rows.add(connection, submission.job_id, webhook, submission.tenant)
    rows.add_event(connection, submission.job_id, 1, now=now, attempt=0, state=JobState.QUEUED, progress=None)
    return rows.get(connection, submission.job_id)


def _shortened(spec: FineTuneSpec) -> FineTuneSpec:
    """Return the spec with fewer edits; the list of the dataset contains the result of all edits."""
    return replace(spec, edits=spec.edits[:MAX_REPORTED_EDITS])
