"""GRPCInferenceService: the Open Inference Protocol, version 2."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version as package_version
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from headstart_server.api.compat import open_inference_pb2 as pb
from headstart_server.api.compat.compat_predictor import (
    CompatPredictor,
    check_version_count,
    selector_of,
    unready_reason,
)
from headstart_server.api.compat.open_inference_messages import (
    SHARED_MEMORY,
    datatype_of,
    inputs_of,
    output_message,
    shared_memory_refused,
    statistics_message,
)
from headstart_server.api.compat.outputs import (
    PROBABILITIES,
    Kind,
    Output,
    chosen,
    outputs_of,
    values_of,
)
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import scope
from headstart_server.api.grpc.error_messages import visible_message
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.messages.predictions import encoded
from headstart_server.api.grpc.requests.request_parsing import request_bytes
from headstart_server.api.grpc.status import CODES
from headstart_server.auth.permissions import Right, Scope
from headstart_server.auth.tenants import own_name
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import DeadlineExceeded, HeadstartError, InvalidField, ModelNotFound
from headstart_server.models.registry import Registry
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.prediction.predict_options import check_listed
from headstart_server.prediction.statistics import VersionCounts
from headstart_server.prediction.version_prediction import VersionPrediction

EXTENSIONS = ("classification", "model_repository", "model_configuration", "statistics")
INPUT = "input"
_CLASSIFICATION = "classification"
#: The parameter with the time limit of a request in microseconds.
_TIMEOUT = "timeout"
#: The parameter with the routing key, as in `PredictRequest.routing_key`.
_ROUTING_KEY = "routing_key"
#: Maximum concurrent requests of one stream: enough to fill batches, and a bound on memory.
STREAMED_AT_ONCE = 16
_UNREADY = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
)
_CONFIG_TYPES = {
    Kind.FLOAT: pb.TYPE_FP32,
    Kind.BOOL: pb.TYPE_BOOL,
    Kind.STRING: pb.TYPE_STRING,
}


def routing_key_of(request: pb.ModelInferRequest) -> str:
    """Return the routing key of a request, for aliases that split traffic; empty without one."""
    if _ROUTING_KEY not in request.parameters:
        return ""
    parameter = request.parameters[_ROUTING_KEY]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("string_param", "int64_param", "uint64_param"):
        raise InvalidField(
            f"The parameter {_ROUTING_KEY} must be a string or an integer. "
            f"Received: {kind or 'an empty parameter'}.",
            field=f"parameters[{_ROUTING_KEY}]",
        )
    return str(getattr(parameter, kind))


class OpenInferenceService:
    """Serve models of the registry as models of the protocol, with versions by number."""

    def __init__(
        self, predictor: CompatPredictor, registry: Registry, pool: BackbonePool, executor: BoundedExecutor
    ) -> None:
        self._predictor = predictor
        self._registry = registry
        self._pool = pool
        self._executor = executor

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._pool.loaded("") is not None)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        try:
            await self._predictor.find(selector_of(request.name, request.version, "name"))
        except HeadstartError as error:
            if CODES[error.reason] not in _UNREADY:
                raise
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="headstart", version=package_version("headstart"), extensions=EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        found = await self._predictor.find(
            selector_of(request.name, request.version, "name"), None, request_bytes
        )
        datatype, shape = _input_of(found.backbone)
        metadata = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=found.version.model,
            versions=map(str, self._registry.index.numbers(found.version.model)),
            platform="headstart",
            inputs=[metadata(name=INPUT, datatype=datatype, shape=[-1, *shape])],
            outputs=[
                metadata(name=output.name, datatype=datatype_of(output.kind), shape=[-1, *_shape_of(output)])
                for output in outputs_of(found.version.head)
            ],
        )

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        found = await self._predictor.find(
            selector_of(request.name, request.version, "name"), None, request_bytes
        )
        datatype, shape = _input_of(found.backbone)
        kind = pb.TYPE_FP32 if datatype == "FP32" else pb.TYPE_STRING
        return pb.ModelConfigResponse(
            config=pb.ModelConfig(
                name=found.version.model,
                platform="headstart",
                backend="headstart",
                max_batch_size=self._predictor.max_inputs,
                input=[pb.ModelInput(name=INPUT, data_type=kind, dims=shape)],
                output=[
                    pb.ModelOutput(
                        name=output.name,
                        data_type=_CONFIG_TYPES[output.kind],
                        dims=_shape_of(output) or [1],
                    )
                    for output in outputs_of(found.version.head)
                ],
            )
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        # A stream has one metadata for all its requests, so each may have a separate key.
        with self._predictor.call(context, routing_key_of(request)) as router:
            return await self._inferred(request, context, router)

    async def _inferred(
        self, request: pb.ModelInferRequest, context: Context, router: TrafficRouter
    ) -> pb.ModelInferResponse:
        selector = selector_of(request.model_name, request.model_version, "model_name")
        microseconds = request.parameters[_TIMEOUT].int64_param if _TIMEOUT in request.parameters else 0
        timeout = microseconds / 1e6 if microseconds > 0 else None
        try:
            async with asyncio.timeout(timeout):
                found = await self._predictor.find(selector, router, request_bytes)
        except TimeoutError:
            raise DeadlineExceeded("The timeout passed before the backbone was loaded.") from None
        wanted = _wanted(
            request, chosen(found.version.head, [each.name for each in request.outputs], "outputs")
        )
        contents = await inputs_of(request, found.backbone, self._predictor.max_inputs)
        answer = await self._predictor.answer(found, contents, context, timeout)
        return await encoded(partial(_response, request, answer, wanted), [answer])

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Run several requests concurrently; yield their responses in the order of the requests."""
        ordered: asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(STREAMED_AT_ONCE)
        begun: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            try:
                async for request in requests:
                    await slots.acquire()
                    task = asyncio.create_task(self._streamed(request, context))
                    begun.add(task)
                    task.add_done_callback(begun.discard)
                    ordered.put_nowait(task)
            finally:
                ordered.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (next_task := await ordered.get()) is not None:
                yield await next_task
                slots.release()
            await reader
        finally:
            for task in (reader, *begun):
                task.cancel()

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        return await self._executor.run(self._index, request.ready, scope())

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        # Versions load at their first call; this loads one in advance.
        name = request.model_name
        await self._predictor.find(selector_of(name, "", "model_name"))
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"'{own_name(request.model_name)}' cannot be unloaded: unused versions leave the memory "
            "automatically, and load again when they are used. To delete a version or a model, call "
            "DeleteVersion or DeleteModel of headstart.v1.ModelService.",
        )
        raise AssertionError("abort raises")

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        versions = await self._counted(request)
        check_version_count(len(versions))
        # The counts belong to the event loop, and the messages of thousands take some 100 ms.
        counts = [(*version, self._predictor.statistics.counts(*version)) for version in versions]
        return await asyncio.to_thread(_statistics_response, counts)

    async def SystemSharedMemoryStatus(
        self, request: pb.SharedMemoryRequest, context: Context
    ) -> pb.SharedMemoryResponse:
        return pb.SharedMemoryResponse()

    async def SystemSharedMemoryRegister(
        self, request: pb.SharedMemoryRequest, context: Context
    ) -> pb.SharedMemoryResponse:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"The region '{request.name[:80]}' of shared memory cannot be registered: this server does not "
            "support shared memory. Send tensors in messages.",
        )
        raise AssertionError("abort raises")

    # No shared memory is ever registered, so the list is always empty.
    SystemSharedMemoryUnregister = CudaSharedMemoryUnregister = SystemSharedMemoryStatus
    CudaSharedMemoryStatus, CudaSharedMemoryRegister = SystemSharedMemoryStatus, SystemSharedMemoryRegister

    async def _counted(self, request: pb.ModelStatisticsRequest) -> list[tuple[str, int]]:
        """Return the versions to report; without a name, all that were called and still exist."""
        if not request.name and not request.version:
            counted = self._predictor.statistics.counted()
            return await asyncio.to_thread(self._existing, counted, scope(Right.PREDICT))
        selector = selector_of(request.name, request.version, "name")
        number = await self._predictor.number(selector)
        is_whole = selector.number is None and selector.alias is None
        numbers = self._registry.index.numbers(selector.model) if is_whole else [number]
        return [(selector.model, each) for each in numbers]

    def _existing(
        self, versions: Sequence[tuple[str, int]], permitted: Scope | None
    ) -> list[tuple[str, int]]:
        """Return the versions that still exist, of the permitted models."""
        live = {
            model: self._live(model)
            for model in {model for model, _ in versions}
            if permitted is None or permitted.covers(model)
        }
        return [(model, number) for model, number in versions if number in live.get(model, ())]

    def _live(self, model: str) -> set[int]:
        try:
            return set(self._registry.index.numbers(model))
        except ModelNotFound:
            return set()

    async def _streamed(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelStreamInferResponse:
        try:
            return pb.ModelStreamInferResponse(infer_response=await self.ModelInfer(request, context))
        except Exception as error:  # noqa: BLE001 - reported to the caller, and logged by `visible_message`
            return pb.ModelStreamInferResponse(
                error_message=visible_message(error),
                infer_response=pb.ModelInferResponse(id=request.id),
            )

    def _index(self, only_ready: bool, permitted: Scope | None) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for version in self._registry.reader.all_versions(scope=permitted):
            error = unready_reason(self._pool, version)
            if only_ready and error:
                continue
            response.models.add(
                name=version.model,
                version=str(version.number),
                state="UNAVAILABLE" if error else "READY",
                reason=visible_message(error) if error else "",
            )
            check_version_count(len(response.models))
        return response


def _statistics_response(counts: Sequence[tuple[str, int, VersionCounts]]) -> pb.ModelStatisticsResponse:
    return pb.ModelStatisticsResponse(model_stats=[statistics_message(*each) for each in counts])


def _input_of(backbone: BackboneInfo) -> tuple[str, list[int]]:
    """Return the datatype and shape of one input of a backbone, for the model's metadata."""
    if backbone.modality is Modality.TENSOR:
        return "FP32", list(backbone.input_size)
    return "BYTES", [1]


def _shape_of(output: Output) -> list[int]:
    return [] if output.classes is None else [output.classes]


def _response(
    request: pb.ModelInferRequest, answer: VersionPrediction, wanted: Sequence[tuple[Output, int]]
) -> pb.ModelInferResponse:
    # The outputs have the form of the inputs, raw or typed.
    raw: list[bytes] | None = [] if request.raw_input_contents else None
    outputs = [_output_message(answer, output, top, raw) for output, top in wanted]
    return pb.ModelInferResponse(
        model_name=answer.version.model,
        model_version=str(answer.version.number),
        id=request.id,
        outputs=outputs,
        raw_output_contents=raw or (),
    )


def _wanted(request: pb.ModelInferRequest, outputs: Sequence[Output]) -> list[tuple[Output, int]]:
    """Return the requested outputs, each with the number of top classes to return; 0 returns values."""
    tops = [_classes_of(each.parameters, each.name) for each in request.outputs] or [0] * len(outputs)
    return list(zip(outputs, tops, strict=True))


def _classes_of(parameters: Mapping[str, pb.InferParameter], name: str) -> int:
    if SHARED_MEMORY in parameters:
        raise shared_memory_refused(f"output '{name}'", parameters)
    if _CLASSIFICATION not in parameters:
        return 0
    count = parameters[_CLASSIFICATION].int64_param
    if count < 0 or (count and name != PROBABILITIES):
        raise InvalidField(
            f"Expected a classification of 0 or more classes for the output '{PROBABILITIES}' only. "
            f"Received: {count} for '{name}'.",
            field="outputs",
        )
    return count


def _output_message(
    answer: VersionPrediction, output: Output, top: int, raw: list[bytes] | None
) -> pb.ModelInferResponse.InferOutputTensor:
    if top:
        return output_message(output.name, Kind.STRING, _classified(answer, top), raw)
    return output_message(output.name, output.kind, values_of(answer, output), raw)


def _classified(answer: VersionPrediction, top: int) -> NDArray[Any]:
    """Return the most probable classes of each input as `score:index:label`, [n, top]."""
    names = answer.version.head.class_names
    indexes, probabilities = answer.indexes[:, :top], answer.probabilities[:, :top]
    check_listed(indexes.size, len(indexes))
    texts = np.empty(indexes.size, object)
    texts[:] = [
        f"{probability:f}:{index}:{names[index]}".encode()
        for index, probability in zip(indexes.ravel().tolist(), probabilities.ravel().tolist(), strict=True)
    ]
    return texts.reshape(indexes.shape)
