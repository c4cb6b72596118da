"""The messages of jobs, their events and findings."""

from dataclasses import replace

from google.rpc import status_pb2

from headstart.protojson import to_json
from headstart.v1 import fine_tuning_service_pb2, job_pb2, webhook_pb2
from headstart_server.api.grpc.caller import acting_as, caller, is_operator
from headstart_server.api.grpc.messages.common import spec_message
from headstart_server.api.grpc.messages.comparisons import promotion_message
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.api.grpc.messages.evaluations import evaluation_message
from headstart_server.api.grpc.messages.findings import findings_message
from headstart_server.api.grpc.messages.models import energy_message
from headstart_server.api.grpc.messages.times import timestamp
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.api.grpc.requests.model_names import rename_models
from headstart_server.api.grpc.status import reason_status
from headstart_server.auth.permissions import UNRESTRICTED, Principal, Right
from headstart_server.auth.tenants import own_name, tenant_of, without_tenant
from headstart_server.errors import redacted_message
from headstart_server.jobs.forecast import Times
from headstart_server.jobs.job import Job, JobError, JobEvent, JobState, JobTrigger, Webhook
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.training.preview_service import Validation

STATES = numbers_of(JobState, job_pb2.JobState)


def job_message(job: Job, likely: Times | None = None) -> job_pb2.Job:
    """Return the message of a job, with forecasts of its start and end."""
    likely = likely or Times()
    return message_of(
        job,
        job_pb2.Job,
        spec=spec_message(job.spec if _may_see_webhook(job) else replace(job.spec, webhook=None)),
        version=job.version or None,
        error=_error_message(job.error, tenant_of(job.spec.model)),
        excluded_examples=map(fault_message, job.findings.excluded),
        excluded_count=job.findings.excluded_count,
        step_durations=job.findings.step_seconds,
        promotion=promotion_message(job.promotion),
        estimated_start_time=likely.start,
        estimated_end_time=likely.finish,
        energy=energy_message(job.findings.energy),
        webhook=_webhook_message(job.webhook),
    )


def event_message(event: JobEvent) -> job_pb2.JobEvent:
    """Return the message of an event."""
    return message_of(event, job_pb2.JobEvent)


def validation_message(validation: Validation) -> fine_tuning_service_pb2.Validation:
    """Return the message of the result of `validate_only`."""
    previewed = validation.previewed
    return message_of(
        validation,
        fine_tuning_service_pb2.Validation,
        faults=map(fault_message, validation.faults),
        findings=None if previewed is None else findings_message(previewed.findings),
        evaluation=None if previewed is None else evaluation_message(previewed.evaluation),
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
    return message_of(
        webhook,
        job_pb2.WebhookDelivery,
        uri=webhook.origin,
        attempt_count=webhook.attempts,
        error=LOCATIONS.redact(webhook.error),
        next_attempt_time=webhook.due,
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
    return message_of(fault, job_pb2.ExampleFault, reason=f"ERROR_REASON_{fault.reason}")


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
