"""The messages of jobs, their events and findings."""

from dataclasses import replace

from google.rpc import status_pb2

from headstart.protojson import to_json
from headstart.v1 import fine_tuning_service_pb2, job_pb2, webhook_pb2
from headstart_server.api.grpc.caller import acting_as, caller, is_operator
from headstart_server.api.grpc.messages.common import TASKS, span, spec_message, timestamp
from headstart_server.api.grpc.messages.comparisons import promotion_message
from headstart_server.api.grpc.messages.evaluations import evaluation_message
from headstart_server.api.grpc.messages.findings import findings_message
from headstart_server.api.grpc.messages.models import energy_message
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.api.grpc.requests.model_names import rename_models
from headstart_server.api.grpc.status import reason_status
from headstart_server.auth.permissions import UNRESTRICTED, Principal, Right
from headstart_server.auth.tenants import own_name, tenant_of, without_tenant
from headstart_server.errors import redacted_message
from headstart_server.jobs.forecast import Times
from headstart_server.jobs.job import (
    Job,
    JobError,
    JobEvent,
    JobState,
    JobStep,
    JobTrigger,
    Progress,
    Webhook,
    WebhookState,
)
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.training.preview_service import Validation

STATES = {
    JobState.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
}
STEPS = {
    JobStep.SELECT_BACKBONE: job_pb2.JOB_STEP_SELECT_BACKBONE,
    JobStep.FEATURES: job_pb2.JOB_STEP_FEATURES,
    JobStep.FIT: job_pb2.JOB_STEP_FIT,
    JobStep.EVALUATE: job_pb2.JOB_STEP_EVALUATE,
    JobStep.PUBLISH: job_pb2.JOB_STEP_PUBLISH,
}

_WEBHOOK_STATES = {
    WebhookState.PENDING: job_pb2.WEBHOOK_STATE_PENDING,
    WebhookState.DELIVERED: job_pb2.WEBHOOK_STATE_DELIVERED,
    WebhookState.GIVEN_UP: job_pb2.WEBHOOK_STATE_GIVEN_UP,
}

_TRIGGERS = {
    JobTrigger.REQUEST: job_pb2.JOB_TRIGGER_REQUEST,
    JobTrigger.RETRAIN: job_pb2.JOB_TRIGGER_RETRAIN,
}


def job_message(job: Job, likely: Times | None = None) -> job_pb2.Job:
    """Return the message of a job, with forecasts of its start and end."""
    likely = likely or Times()
    return job_pb2.Job(
        job_id=job.job_id,
        state=STATES[job.state],
        spec=spec_message(job.spec if _may_see_webhook(job) else replace(job.spec, webhook=None)),
        progress=_progress_message(job.progress),
        version=job.version or None,
        error=_error_message(job.error, tenant_of(job.spec.model)),
        example_count=job.example_count,
        class_count=job.class_count,
        dataset_digest=job.dataset_digest,
        excluded_examples=[fault_message(fault) for fault in job.findings.excluded],
        excluded_count=job.findings.excluded_count,
        create_time=timestamp(job.created),
        start_time=timestamp(job.started),
        end_time=timestamp(job.finished),
        step_durations={step: span(seconds) for step, seconds in job.findings.step_seconds.items()},
        last_event=job.last_event,
        queue_position=job.queue_position,
        task=TASKS[job.task],
        trigger=_TRIGGERS[job.trigger],
        promotion=promotion_message(job.promotion),
        estimated_start_time=timestamp(likely.start),
        estimated_end_time=timestamp(likely.finish),
        energy=energy_message(job.findings.energy),
        webhook=_webhook_message(job.webhook),
    )


def event_message(event: JobEvent) -> job_pb2.JobEvent:
    """Return the message of an event."""
    return job_pb2.JobEvent(
        job_id=event.job_id,
        number=event.number,
        event_time=timestamp(event.time),
        state=STATES[event.state],
        progress=_progress_message(event.progress),
        model=event.model,
    )


def validation_message(validation: Validation) -> fine_tuning_service_pb2.Validation:
    """Return the message of the result of `validate_only`."""
    previewed = validation.previewed
    return fine_tuning_service_pb2.Validation(
        valid=validation.valid,
        example_count=validation.example_count,
        class_counts=validation.class_counts,
        faults=[fault_message(fault) for fault in validation.faults],
        fault_count=validation.fault_count,
        warnings=validation.warnings,
        message=validation.message,
        findings=None if previewed is None else findings_message(previewed.findings),
        evaluation=None if previewed is None else evaluation_message(previewed.evaluation),
    )


def _progress_message(progress: Progress | None) -> job_pb2.Progress | None:
    if progress is None:
        return None
    return job_pb2.Progress(
        step=STEPS[progress.step],
        fraction=progress.fraction,
        done=progress.done,
        total=progress.total,
        loss=progress.loss,
        accuracy=progress.accuracy,
        message=progress.message,
    )


def _may_see_webhook(job: Job) -> bool:
    """Return whether the caller sent the job or administers its model: a webhook's URL may be a secret."""
    principal = caller().principal
    return bool(principal.name and principal.name == job.principal) or _administers(job)


def _administers(job: Job) -> bool:
    principal = caller().principal
    return principal is UNRESTRICTED or principal.may(Right.ADMIN, own_name(job.spec.model))


def _webhook_message(webhook: Webhook | None) -> job_pb2.WebhookDelivery | None:
    if webhook is None:
        return None
    return job_pb2.WebhookDelivery(
        uri=webhook.origin,
        state=_WEBHOOK_STATES[webhook.state],
        attempt_count=webhook.attempts,
        error=LOCATIONS.redact(webhook.error),
        next_attempt_time=timestamp(webhook.due),
        end_time=timestamp(webhook.finished),
    )


def _error_message(error: JobError | None, tenant: str) -> status_pb2.Status | None:
    if error is None:
        return None
    metadata = {name: without_tenant(tenant, value) for name, value in error.metadata.items()}
    message = error.message
    if not is_operator():
        message = redacted_message(error.reason, message, error.metadata)
    return reason_status(error.reason, without_tenant(tenant, message), metadata)


def fault_message(fault: ExampleFault) -> job_pb2.ExampleFault:
    """Return the message of an invalid example."""
    return job_pb2.ExampleFault(
        index=fault.index, example_id=fault.id, reason=f"ERROR_REASON_{fault.reason}", message=fault.message
    )


def webhook_body(job: Job) -> bytes:
    """Return an ended job as JSON, in the form for a caller without rights."""
    tenant = tenant_of(job.spec.model)
    with acting_as(Principal(name="", tenant=tenant)):
        data = job_message(job)
    rename_models(data, own_name)
    event = webhook_pb2.WebhookEvent(
        type=_event_type(job), timestamp=timestamp(job.finished), tenant=tenant, data=data
    )
    return to_json(event).encode()


def _event_type(job: Job) -> str:
    if job.trigger is not JobTrigger.RETRAIN:
        return f"job.{job.state.value}"
    if job.state is not JobState.SUCCEEDED:
        return f"retrain.{job.state.value}"
    is_kept = job.promotion is not None and not job.promotion.is_promoted
    return "retrain.kept" if is_kept else "retrain.promoted"
