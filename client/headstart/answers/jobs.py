"""Jobs, their events and findings, from messages."""

from datetime import datetime

from headstart.answers.comparisons import read_promotion
from headstart.answers.energy import read_energy
from headstart.answers.enums import read_enum
from headstart.answers.evaluations import read_evaluation
from headstart.answers.faults import read_fault
from headstart.answers.findings import read_findings
from headstart.answers.times import milliseconds, moment
from headstart.results import (
    JobEvent,
    JobState,
    JobStatus,
    JobStep,
    Progress,
    Promotion,
    Validation,
    WebhookDelivery,
    WebhookState,
)
from headstart.spec_message import read_spec
from headstart.status import details_from_status
from headstart.task import Task
from headstart.v1 import fine_tuning_service_pb2, input_pb2, job_pb2

__all__ = ["read_event", "read_job", "read_validation"]

_STEPS = ("decode", "backbone", "features", "fit", "evaluate", "publish")


def read_job(job: job_pb2.Job) -> JobStatus:
    """Reads a job."""
    return JobStatus(
        id=job.job_id,
        state=_state(job.state),
        spec=read_spec(job.spec),
        progress=_progress(job.progress) if job.HasField("progress") else None,
        version=job.version or None,
        error=details_from_status(job.error) if job.HasField("error") else None,
        example_count=job.example_count,
        class_count=job.class_count,
        dataset_digest=job.dataset_digest,
        dropped=tuple(read_fault(fault) for fault in job.dropped),
        dropped_count=job.dropped_count,
        create_time=moment(job.create_time),
        start_time=_moment_of(job, "start_time"),
        finish_time=_moment_of(job, "finish_time"),
        step_times={
            step: milliseconds(job.step_milliseconds[step])
            for step in sorted(job.step_milliseconds, key=_order)
        },
        last_event=job.last_event,
        queue_position=job.queue_position,
        task=read_enum(job.task, input_pb2.Task.DESCRIPTOR, Task),
        promotion=_promotion(job) if job.HasField("promotion") else None,
        estimated_start_time=_moment_of(job, "estimated_start_time"),
        estimated_finish_time=_moment_of(job, "estimated_finish_time"),
        energy=read_energy(job),
        webhook=_webhook(job.webhook) if job.HasField("webhook") else None,
        replica=job.replica,
    )


def read_event(event: job_pb2.JobEvent) -> JobEvent:
    """Reads an event."""
    return JobEvent(
        job_id=event.job_id,
        number=event.number,
        time=moment(event.event_time),
        state=_state(event.state),
        progress=_progress(event.progress) if event.HasField("progress") else None,
    )


def read_validation(validation: fine_tuning_service_pb2.Validation) -> Validation:
    """Reads findings."""
    return Validation(
        valid=validation.valid,
        example_count=validation.example_count,
        class_counts=dict(sorted(validation.class_counts.items())),
        faults=tuple(read_fault(fault) for fault in validation.faults),
        fault_count=validation.fault_count,
        warnings=tuple(validation.warnings),
        message=validation.message,
        findings=read_findings(validation.findings) if validation.HasField("findings") else None,
        evaluation=read_evaluation(validation.evaluation) if validation.HasField("evaluation") else None,
    )


def _promotion(job: job_pb2.Job) -> Promotion:
    return read_promotion(job.promotion, job.spec.model, job.version)


def _webhook(webhook: job_pb2.WebhookDelivery) -> WebhookDelivery:
    return WebhookDelivery(
        uri=webhook.uri,
        state=read_enum(webhook.state, job_pb2.WebhookState.DESCRIPTOR, WebhookState),
        attempt_count=webhook.attempt_count,
        error=webhook.error,
        next_attempt_time=_moment_of(webhook, "next_attempt_time"),
        finish_time=_moment_of(webhook, "finish_time"),
    )


def _moment_of(message: job_pb2.Job | job_pb2.WebhookDelivery, field: str) -> datetime | None:
    return moment(getattr(message, field)) if message.HasField(field) else None


def _state(state: int) -> JobState:
    return read_enum(state, job_pb2.JobState.DESCRIPTOR, JobState)


def _progress(progress: job_pb2.Progress) -> Progress:
    return Progress(
        step=read_enum(progress.step, job_pb2.JobStep.DESCRIPTOR, JobStep),
        fraction=progress.fraction,
        done=progress.done,
        total=progress.total,
        loss=progress.loss if progress.HasField("loss") else None,
        accuracy=progress.accuracy if progress.HasField("accuracy") else None,
        message=progress.message,
    )


def _order(step: str) -> tuple[int, str]:
    """Steps as they follow each other; those that are newer than this client come last."""
    return (_STEPS.index(step) if step in _STEPS else len(_STEPS), step)
