"""ServerService: describe the server, its caller, and the storage of the caller's tenant."""

import asyncio
from collections.abc import Callable

from headstart.v1 import server_service_pb2 as pb
from headstart.v1 import server_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import caller, is_operator, tenant
from headstart_server.api.grpc.messages.exports import EXPORT_FORMS
from headstart_server.api.grpc.messages.models import MODALITIES
from headstart_server.api.grpc.messages.pages import MAX_PAGE
from headstart_server.api.grpc.messages.times import duration
from headstart_server.api.grpc.requests.limits import (
    MAX_BATCH_EXAMPLES,
    MAX_INPUT_BYTES,
    MAX_INPUTS,
    MAX_TEXT,
)
from headstart_server.auth.permissions import Grant, Right
from headstart_server.backbones.worker.optional_packages import export_formats, trains_networks
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.jobs.quotas import Usage
from headstart_server.models.alias_rows import MAX_ALIASES
from headstart_server.prediction.predict_options import MAX_NEIGHBORS
from headstart_server.prediction.predictor import MAX_TARGETS
from headstart_server.settings.settings import Settings


def server_info(config: Settings, release: str) -> pb.ServerInfo:
    """Return the part of GetServerInfo that does not change while a server runs."""
    available = export_formats()
    return pb.ServerInfo(
        release=release,
        limits=_limits(config),
        features=sorted(number for number, is_on in _features(config).items() if is_on),
        export_formats=sorted(number for number, form in EXPORT_FORMS.items() if form in available),
    )


def _limits(config: Settings) -> pb.ServerLimits:
    return pb.ServerLimits(
        message_bytes=config.limits.max_message_size,
        inputs=min(config.limits.max_inputs, config.limits.max_pending_inputs, MAX_INPUTS),
        input_bytes=min(config.limits.max_input_size, MAX_INPUT_BYTES),
        image_pixels=config.limits.max_pixels,
        text_characters=MAX_TEXT,
        targets=MAX_TARGETS,
        neighbors=MAX_NEIGHBORS,
        page_size=MAX_PAGE,
        batch_examples=MAX_BATCH_EXAMPLES,
        examples=config.limits.max_examples,
        dataset_bytes=config.limits.max_dataset_size,
        classes=config.limits.max_classes,
        queued_jobs=config.limits.max_queued_jobs,
        run_duration=None if config.jobs.job_time_limit is None else duration(config.jobs.job_time_limit),
        versions_per_model=config.limits.max_versions_per_model or None,
        aliases_per_model=MAX_ALIASES,
        concurrent_requests_per_caller=config.limits.max_concurrent_requests_per_caller or None,
        requests_per_second_per_caller=config.limits.rate_limit or None,
    )


def _features(config: Settings) -> dict[pb.Feature, bool]:
    return {
        pb.FEATURE_HTTP: config.server.http_port is not None,
        pb.FEATURE_AUTHENTICATION: config.auth.access_file is not None,
        pb.FEATURE_WEBHOOKS: bool(config.jobs.allow_webhook),
        pb.FEATURE_DATASET_URIS: bool(config.jobs.allow_dataset_uri),
        pb.FEATURE_PARTIAL_RECIPE: trains_networks(),
        pb.FEATURE_KEPT_EXAMPLES: config.storage.example_storage is not None,
        pb.FEATURE_MONITORING: config.observability.monitor_sample_rate is not None,
        pb.FEATURE_OPEN_INFERENCE_PROTOCOL: "oip" in config.server.compat_protocols,
        pb.FEATURE_TENSORFLOW_SERVING: "tfserving" in config.server.compat_protocols,
        pb.FEATURE_REFLECTION: config.server.reflection,
    }


RIGHTS = {
    Right.PREDICT: pb.RIGHT_PREDICT,
    Right.TRAIN: pb.RIGHT_TRAIN,
    Right.ADMIN: pb.RIGHT_ADMIN,
    Right.FEEDBACK: pb.RIGHT_FEEDBACK,
    Right.REVIEW: pb.RIGHT_REVIEW,
}


class ServerService(stubs.ServerServiceServicer):
    """Describe the server and its caller.

    Args:
        info: the part that does not change while the server runs; see `server_info`.
        usage: returns a tenant's stored amounts and its limits.
    """

    def __init__(
        self,
        info: pb.ServerInfo,
        pool: BackbonePool,
        usage: Callable[[str], Usage],
        *,
        authenticates: bool,
    ) -> None:
        self._info = info
        self._pool = pool
        self._usage = usage
        self._authenticates = authenticates

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        response = pb.GetServerInfoResponse(info=self._info)
        for modality, backbone in self._pool.defaults().items():
            response.info.default_backbones.add(
                modality=MODALITIES[modality],
                backbone=backbone,
                precision_reason=self._pool.metadata(backbone).precision_reason,
            )
        return response

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        who = caller()
        message = pb.Caller(
            authenticated=self._authenticates,
            principal=who.principal.name,
            subject=who.subject,
            tenant=who.principal.tenant,
            permissions=map(_permission_message, who.principal.grants),
            operator_access=is_operator(),
        )
        return pb.WhoAmIResponse(caller=message)

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        owner = tenant()
        return pb.GetUsageResponse(usage=_usage_message(owner, await asyncio.to_thread(self._usage, owner)))


def _permission_message(grant: Grant) -> pb.Permission:
    return pb.Permission(rights=sorted(RIGHTS[right] for right in grant.rights), models=grant.models)


def _usage_message(owner: str, usage: Usage) -> pb.Usage:
    return pb.Usage(
        tenant=owner,
        version_count=usage.stored.version_count,
        version_limit=usage.limits.versions or None,
        version_bytes=usage.stored.version_bytes,
        example_bytes=usage.stored.example_bytes,
        capture_bytes=usage.stored.capture_bytes,
        stored_bytes_limit=usage.limits.stored_bytes or None,
        queued_job_count=usage.queued,
        queued_job_limit=usage.queued_limit or None,
        running_job_count=usage.running,
        running_job_limit=usage.running_limit or None,
        dataset_count=usage.dataset_count,
        dataset_bytes=usage.dataset_bytes,
    )
