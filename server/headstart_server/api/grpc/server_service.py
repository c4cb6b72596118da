"""ServerService: the server, its caller, and what the caller's tenant stores."""

import asyncio
from collections.abc import Callable

from headstart.v1 import server_service_pb2 as pb
from headstart.v1 import server_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import caller, is_operator, tenant
from headstart_server.api.grpc.messages.models import MODALITIES
from headstart_server.auth.permissions import Grant, Right
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.jobs.quotas import Usage

RIGHTS = {
    Right.PREDICT: pb.RIGHT_PREDICT,
    Right.TRAIN: pb.RIGHT_TRAIN,
    Right.ADMIN: pb.RIGHT_ADMIN,
    Right.FEEDBACK: pb.RIGHT_FEEDBACK,
    Right.REVIEW: pb.RIGHT_REVIEW,
}


class ServerService(stubs.ServerServiceServicer):
    """Answers questions about the server and its caller.

    Args:
        info: what does not change while the server runs; see `server_info`.
        usage: returns what a tenant stores and how much it may store.
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
