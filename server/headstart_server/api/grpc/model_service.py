"""ModelService: models, versions, aliases and backbones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from headstart.v1 import model_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart.v1 import model_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import caller, scope, tenant
from headstart_server.api.grpc.executors import CallThreads, Work
from headstart_server.api.grpc.messages.common import page_key, page_token, selector_of
from headstart_server.api.grpc.messages.examples import erasure_message
from headstart_server.api.grpc.messages.exports import (
    evaluation_response,
    export_format_of,
    export_messages,
    report_format_of,
    report_message,
)
from headstart_server.api.grpc.messages.models import (
    alias_event_message,
    alias_message,
    backbone_message,
    backbone_status_message,
    model_message,
    traffic_message,
    traffic_of,
    version_message,
    window_seconds_of,
)
from headstart_server.api.grpc.messages.pages import page_of, page_size_of
from headstart_server.api.grpc.messages.versions import (
    details_of,
    expiration_of,
    filter_of,
    is_full,
    viewed_message,
)
from headstart_server.api.grpc.permissions import ALL_MODELS
from headstart_server.auth.permissions import Right
from headstart_server.auth.tenants import full_name, own_name
from headstart_server.backbones.contract.backbone import BackboneInfo
from headstart_server.datasets.erasure_log import ErasureRecord, ErasureRequest
from headstart_server.datasets.example_eraser import Erasure
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import InvalidField
from headstart_server.export.exporter import Exporter
from headstart_server.models.alias_history import AliasEvent
from headstart_server.models.names import check_alias_name
from headstart_server.models.registry import Registry
from headstart_server.models.retrain_policy import RetrainPolicy
from headstart_server.models.version import Model, Selector, Version
from headstart_server.models.version_list import VersionOrder
from headstart_server.report.reporter import Reporter


class ModelService(stubs.ModelServiceServicer):
    """Decodes, calls and encodes; all work is the `models` room's.

    Args:
        erase: erases an example, and with `rebuild` replaces the versions that were trained on it.
        check_webhook: checks that a tenant may use a URL, which a field of a request names.
    """

    def __init__(
        self,
        registry: Registry,
        pool: BackbonePool,
        reporter: Reporter,
        erase: Callable[..., tuple[Erasure, ErasureRecord | None]],
        *,
        exporter: Exporter,
        threads: CallThreads,
        check_webhook: Callable[[str, str, str], object],
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._reporter = reporter
        self._erase = erase
        self._check_webhook = check_webhook
        self._exporter = exporter
        self._threads = threads

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        key = page_key(request.page_token, str)
        owner, permitted = tenant(), scope()

        def fetch(after: list[Any] | None, limit: int) -> Sequence[Model]:
            # Callers can read page tokens, so these have names without the tenant.
            name = full_name(owner, after[0]) if after else ""
            return self._registry.reader.models(after=name, limit=limit, scope=permitted)

        models, last = await asyncio.to_thread(
            page_of,
            fetch,
            model_message,
            lambda model: [own_name(model.name)],
            after=key,
            size=page_size_of(request.page_size),
        )
        return pb.ListModelsResponse(models=models, next_page_token=page_token(last))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        model = await asyncio.to_thread(self._registry.reader.model, request.model)
        return pb.GetModelResponse(model=model_message(model))

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        selector, full = selector_of(request.target, "target"), is_full(request, default=True)

        def get() -> pb.GetVersionResponse:
            version = self._registry.selected(selector)
            return pb.GetVersionResponse(version=viewed_message(version, full=full))

        return await self._threads.run(Work.LONG, get)

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Context
    ) -> pb.ListVersionsResponse:
        order, condition = VersionOrder.of(request.order_by), filter_of(request.filter)
        full = is_full(request, default=False)
        key = page_key(request.page_token, *order.key_types)
        await asyncio.to_thread(self._registry.reader.model, request.model)

        def fetch(after: list[Any] | None, limit: int) -> Sequence[Version]:
            return self._registry.reader.versions(
                request.model, limit=limit, condition=condition, order=order, after=after
            )

        versions, last = await asyncio.to_thread(
            page_of,
            fetch,
            partial(viewed_message, full=full),
            order.key,
            after=key,
            size=page_size_of(request.page_size),
        )
        return pb.ListVersionsResponse(versions=versions, next_page_token=page_token(last))

    async def UpdateVersion(
        self, request: pb.UpdateVersionRequest, context: Context
    ) -> pb.UpdateVersionResponse:
        details, expiration = details_of(request), expiration_of(request)
        version = await asyncio.to_thread(
            self._registry.update_version, request.model, request.version, details, expiration
        )
        return pb.UpdateVersionResponse(version=version_message(version))

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:
        details = details_of(request)
        retrain: RetrainPolicy | None = details.get("retrain")
        if retrain is not None and retrain.webhook is not None:
            self._check_webhook(retrain.webhook, tenant(), "retrain.webhook")
        model = await asyncio.to_thread(self._registry.update_model, request.model, details)
        return pb.UpdateModelResponse(model=model_message(model))

    async def GetTraffic(self, request: pb.GetTrafficRequest, context: Context) -> pb.GetTrafficResponse:
        number = request.version if request.HasField("version") else None
        window = await self._threads.run(
            Work.LONG, self._registry.reader.traffic_window, request.model, window_seconds_of(request), number
        )
        return traffic_message(window)

    async def ListAliasEvents(
        self, request: pb.ListAliasEventsRequest, context: Context
    ) -> pb.ListAliasEventsResponse:
        def fetch(before: list[Any] | None, limit: int) -> Sequence[AliasEvent]:
            return self._registry.reader.alias_events(
                request.model, request.alias, before=before[0] if before else None, limit=limit
            )

        events, last = await asyncio.to_thread(
            page_of,
            fetch,
            alias_event_message,
            lambda event: [event.id],
            after=page_key(request.page_token, int),
            size=page_size_of(request.page_size),
        )
        return pb.ListAliasEventsResponse(events=events, next_page_token=page_token(last))

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.SetAliasResponse:
        alias = await asyncio.to_thread(
            self._registry.set_alias,
            request.model,
            check_alias_name(request.alias),
            request.version,
            etag=request.etag,
            shares=traffic_of(request.traffic),
            principal=caller().principal.name,
        )
        return pb.SetAliasResponse(alias=alias_message(alias))

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Context) -> pb.DeleteAliasResponse:
        await asyncio.to_thread(
            self._registry.delete_alias,
            request.model,
            check_alias_name(request.alias),
            etag=request.etag,
            principal=caller().principal.name,
        )
        return pb.DeleteAliasResponse()

    async def DeleteVersion(
        self, request: pb.DeleteVersionRequest, context: Context
    ) -> pb.DeleteVersionResponse:
        await self._threads.run(
            Work.REMOVAL,
            partial(
                self._registry.delete_version,
                request.model,
                request.version,
                force=request.force,
                principal=caller().principal.name,
            ),
        )
        return pb.DeleteVersionResponse()

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        deleted = await self._threads.run(
            Work.REMOVAL, partial(self._registry.delete_model, request.model, force=request.force)
        )
        return pb.DeleteModelResponse(deleted_versions=deleted)

    async def EraseExample(
        self, request: pb.EraseExampleRequest, context: Context
    ) -> pb.EraseExampleResponse:
        if not request.model:
            raise InvalidField(
                f"The request has no model. Send the name of a model, or {ALL_MODELS!r} for all models.",
                field="model",
            )
        model = "" if request.model == ALL_MODELS else request.model
        if request.request_id and not request.rebuild:
            raise InvalidField(
                "request_id requires rebuild. Set rebuild, or omit request_id.", field="request_id"
            )
        erased = ErasureRequest(
            example_id=request.example_id,
            model=model,
            scope=scope(Right.ADMIN),
            request_id=request.request_id,
        )
        work = partial(self._erase, erased, rebuild=request.rebuild)
        return erasure_message(*await self._threads.run(Work.LONG, work))

    async def GetEvaluation(
        self, request: pb.GetEvaluationRequest, context: Context
    ) -> pb.GetEvaluationResponse:
        selector = selector_of(request.target, "target")
        # The thread also builds the message: with many classes it takes long enough to block the event loop.
        return await self._threads.run(Work.LONG, self._evaluation, selector)

    def _evaluation(self, selector: Selector) -> pb.GetEvaluationResponse:
        version = self._registry.selected(selector)
        return evaluation_response(version, *self._registry.files.evaluation(version))

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.GetReportResponse:
        selector, form = selector_of(request.target, "target"), report_format_of(request)
        return report_message(await self._threads.run(Work.LONG, self._reporter.report, selector, form))

    async def ExportVersion(
        self, request: pb.ExportVersionRequest, context: Context
    ) -> AsyncIterator[pb.ExportVersionResponse]:
        selector, form = selector_of(request.target, "target"), export_format_of(request.format)
        async with aclosing(export_messages(self._exporter, selector, form)) as messages:
            async for message in messages:
                yield message

    async def ListBackbones(
        self, request: pb.ListBackbonesRequest, context: Context
    ) -> pb.ListBackbonesResponse:
        infos = self._pool.all_metadata()

        def fetch(after: list[Any] | None, limit: int) -> Sequence[BackboneInfo]:
            return [info for info in infos if after is None or info.name > after[0]][:limit]

        backbones, last = page_of(
            fetch,
            self._backbone_message,
            lambda info: [info.name],
            after=page_key(request.page_token, str),
            size=page_size_of(request.page_size),
        )
        statuses = (
            backbone_status_message(name, self._pool.loaded(name), self._pool.problem(name))
            for name in (each.backbone for each in backbones)
        )
        return pb.ListBackbonesResponse(
            backbones=backbones, next_page_token=page_token(last), statuses=statuses
        )

    def _backbone_message(self, info: BackboneInfo) -> model_pb2.Backbone:
        return backbone_message(info, is_default=info.name == self._pool.default)
