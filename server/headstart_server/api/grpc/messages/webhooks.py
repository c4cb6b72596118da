"""The body of a webhook's POST."""

from headstart.protojson import to_json
from headstart.v1 import webhook_pb2
from headstart_server.api.grpc.caller import calling
from headstart_server.api.grpc.messages.common import timestamp
from headstart_server.api.grpc.messages.jobs import job_message
from headstart_server.api.grpc.requests.model_names import rename_models
from headstart_server.auth.permissions import Principal
from headstart_server.auth.tenants import own_name, tenant_of
from headstart_server.jobs.job import Job


def webhook_body(job: Job) -> bytes:
    """Return an ended job as JSON, as a caller without rights would see it."""
    tenant = tenant_of(job.spec.model)
    with calling(Principal(name="", tenant=tenant)):
        data = job_message(job)
    rename_models(data, own_name)
    event = webhook_pb2.WebhookEvent(
        type=f"job.{job.state.value}", timestamp=timestamp(job.finished), tenant=tenant, data=data
    )
    return to_json(event).encode()
