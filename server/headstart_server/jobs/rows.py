"""Conversion between rows and values of jobs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from headstart_server.database.tables import job_events, jobs
from headstart_server.errors import JobNotFound, decoding
from headstart_server.jobs import webhook_rows
from headstart_server.jobs.job import (
    Findings,
    Isolation,
    Job,
    JobError,
    JobState,
    JobTrigger,
    Progress,
)
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import feedback_rows, usage


def under_way() -> ColumnElement[bool]:
    """Return the condition that a job has not ended."""
    return jobs.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value))


# Built once: building a statement takes longer than executing it.
_UNFINISHED = select(jobs.c.job_id).where(under_way())
_JOB = select(jobs).where(jobs.c.job_id == bindparam("job_id"))
_LOCKED_JOB = _JOB.with_for_update()
_CHANGE = update(jobs).where(jobs.c.job_id == bindparam("which"))
_ADD_EVENT = insert(job_events)
_COUNT = select(func.count()).select_from(jobs).where(jobs.c.state == bindparam("state"))
_COUNT_EARLIER = _COUNT.where(
    or_(
        jobs.c.priority > bindparam("priority"),
        and_(
            jobs.c.priority == bindparam("priority"),
            tuple_(jobs.c.created, jobs.c.job_id) < tuple_(bindparam("created"), bindparam("job_id")),
        ),
    )
)


def count(connection: Connection, state: JobState) -> int:
    """Return the number of jobs in a state."""
    return int(connection.execute(_COUNT, {"state": state.value}).scalar_one())


def unfinished(connection: Connection) -> set[str]:
    """Return the IDs of all jobs that are queued or running."""
    return set(connection.execute(_UNFINISHED).scalars())


def set_result(connection: Connection, job_id: str, result: Mapping[str, Any]) -> None:
    """Record the result of a job."""
    connection.execute(_CHANGE, {"which": job_id, "result": result})


def add_event(
    connection: Connection,
    job_id: str,
    number: int,
    *,
    now: float,
    attempt: int,
    state: JobState,
    progress: Progress | None,
) -> None:
    """Write one event; a job that ends without a version releases its archives and feedback."""
    data = {"state": state.value, "progress": None if progress is None else progress.to_json()}
    event = {"job_id": job_id, "seq": number, "time": now, "attempt": attempt, "data": data}
    connection.execute(_ADD_EVENT, event)
    if state in (JobState.FAILED, JobState.CANCELLED):
        feedback_rows.give_back(connection, job_id, now)
        usage.release(connection, [job_id])


def checkpoint(progress: Progress | None, findings: Findings, staged: str | None = None) -> dict[str, Any]:
    """Return the progress and findings of a run as JSON values."""
    written = None if progress is None else progress.to_json()
    return {"progress": written, "findings": findings.to_json(), "staged": staged}


def progress_of(fields: Mapping[str, Any] | None) -> Progress | None:
    """Return the progress that `add_event` or `checkpoint` wrote."""
    return None if fields is None else Progress.from_json(fields)


def _promotion(result: Mapping[str, Any] | None) -> Promotion | None:
    fields = None if result is None else result.get("promotion")
    return None if fields is None else Promotion.from_json(fields)


def get(connection: Connection, job_id: str, *, lock: bool = False) -> Job:
    """Return a job; `lock` locks its row until the end of the transaction."""
    return job(connection, row_of(connection, job_id, lock=lock))


def row_of(connection: Connection, job_id: str, *, lock: bool) -> Row[Any]:
    """Return the row of a job; see `get`."""
    row = connection.execute(_LOCKED_JOB if lock else _JOB, {"job_id": job_id}).one_or_none()
    if row is None:
        raise no_job(job_id)
    return row


def no_job(job_id: str) -> JobNotFound:
    """Return the error of a missing job."""
    return JobNotFound(
        f"There is no job '{job_id[:80]}'. List the jobs to find its ID.", metadata={"job_id": job_id[:80]}
    )


def job(connection: Connection, row: Row[Any]) -> Job:
    """Return the job of a row."""
    with decoding(f"Job '{row.job_id}'", job_id=row.job_id):
        return _job(connection, row)


def _job(connection: Connection, row: Row[Any]) -> Job:
    state = JobState(row.state)
    return Job(
        job_id=row.job_id,
        state=state,
        spec=FineTuneSpec.from_json(_sanitized_values(row.payload["spec"])),
        attempt=row.attempt,
        cancel=bool(row.cancel),
        example_count=row.payload["example_count"],
        class_count=row.payload["class_count"],
        dataset_digest=row.payload["dataset_digest"],
        task=Task(row.payload.get("task", Task.SINGLE_LABEL)),
        added_count=row.payload.get("added_count"),
        removed_count=row.payload.get("removed_count", 0),
        edited_count=row.payload.get("edited_count", 0),
        created=row.created,
        started=row.started,
        finished=row.finished,
        progress=progress_of(row.checkpoint.get("progress")),
        findings=Findings.from_json(row.checkpoint.get("findings") or {}),
        error=None if row.error is None else JobError(**row.error),
        version=0 if row.result is None else int(row.result["version"]),
        promotion=_promotion(row.result),
        last_event=row.seq,
        queue_position=_position(connection, row) if state is JobState.QUEUED else 0,
        crashes=row.crashes,
        runs_alone=state is JobState.RUNNING and row.isolation == Isolation.ALONE,
        memory_bytes=row.memory_bytes or 0,
        storage_retries=row.storage_retries,
        staged=row.checkpoint.get("staged"),
        choosing=row.choosing,
        trace_context=row.payload.get("trace_context"),
        webhook=webhook_rows.of_job(connection, row.job_id, has_ended=state.is_terminal)
        if row.payload.get("webhook")
        else None,
        principal=row.payload.get("principal", ""),
        trigger=JobTrigger(row.payload.get("trigger", JobTrigger.REQUEST)),
        replica=(row.owner or "") if state is JobState.RUNNING else "",
    )


def sanitized(text: str) -> str:
    """Return a text without NUL and lone surrogates, which databases and messages cannot store."""
    # True for nearly all texts.
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="replace").decode().replace("\0", "?")


def _sanitized_values(value: Any) -> Any:
    """Return JSON values with sanitized texts, because old rows may contain unchecked texts."""
    if isinstance(value, str):
        return sanitized(value)
    if isinstance(value, list):
        return [_sanitized_values(each) for each in value]
    if isinstance(value, dict):
        return {sanitized(name): _sanitized_values(each) for name, each in value.items()}
    return value


def _position(connection: Connection, row: Row[Any]) -> int:
    place = {"priority": row.priority, "created": row.created, "job_id": row.job_id}
    return int(connection.execute(_COUNT_EARLIER, {"state": JobState.QUEUED.value, **place}).scalar_one())
