"""ModelService of TensorFlow Serving's API."""

from collections.abc import Collection

import grpc

from headstart_server.api.compat import tensorflow_serving_pb2 as pb
from headstart_server.api.compat.compat_predictor import (
    ResolvedVersion,
    check_version_count,
    unavailable_reason,
)
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.error_messages import visible_message
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.status import CODES
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import InvalidField
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version

#: The default signature.
DEFAULT_SIGNATURE = "serving_default"


def selector_of(spec: pb.ModelSpec) -> Selector:
    """Return the selector of a spec: a version by number, an alias by its label, or the newest version."""
    if not spec.name:
        raise InvalidField("model_spec.name is missing. Set it in the request.", field="model_spec.name")
    kind = spec.WhichOneof("version_choice")
    return Selector(
        model=spec.name,
        number=spec.version.value if kind == "version" else None,
        alias=spec.version_label if kind == "version_label" else None,
    )


def check_signature(spec: pb.ModelSpec, known: Collection[str]) -> None:
    """Check that a spec names a known signature, or none."""
    if spec.signature_name not in ("", *known):
        raise InvalidField(
            f"Expected a signature_name of {' or '.join(known)}. Received: {spec.signature_name[:80]!r}.",
            field="model_spec.signature_name",
        )


def spec_message(found: ResolvedVersion, signature: str) -> pb.ModelSpec:
    """Return the spec of the version that predicted."""
    message = pb.ModelSpec(name=found.version.model, signature_name=signature)
    message.version.value = found.version.number
    return message


class TensorFlowModelService:
    """Report the available versions."""

    def __init__(self, registry: Registry, pool: BackbonePool, executor: BoundedExecutor) -> None:
        self._registry = registry
        self._pool = pool
        self._executor = executor

    async def GetModelStatus(
        self, request: pb.GetModelStatusRequest, context: Context
    ) -> pb.GetModelStatusResponse:
        return await self._executor.run(self._status, selector_of(request.model_spec))

    async def HandleReloadConfigRequest(
        self, request: pb.ReloadConfigRequest, context: Context
    ) -> pb.ReloadConfigResponse:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "This server does not accept configurations of models. To create versions, call FineTune of "
            "headstart.v1.FineTuningService. To move labels, call SetAlias of headstart.v1.ModelService.",
        )
        raise AssertionError("abort raises")

    def _status(self, selector: Selector) -> pb.GetModelStatusResponse:
        if selector.number is None and selector.alias is None:
            live = set(self._registry.index.numbers(selector.model))
            check_version_count(len(live))
            versions = [
                each for each in self._registry.reader.all_versions(selector.model) if each.number in live
            ]
        else:
            versions = [self._registry.selected(selector)]
        # The newest first, as in TensorFlow Serving.
        ordered = sorted(versions, key=lambda version: -version.number)
        return pb.GetModelStatusResponse(model_version_status=map(self._version_status, ordered))

    def _version_status(self, version: Version) -> pb.ModelVersionStatus:
        error = unavailable_reason(self._pool, version)
        if error is None:
            return pb.ModelVersionStatus(
                version=version.number, state=pb.ModelVersionStatus.AVAILABLE, status=pb.StatusProto()
            )
        code = CODES[error.reason]
        is_loading = code is grpc.StatusCode.UNAVAILABLE
        number: int = code.value[0]
        return pb.ModelVersionStatus(
            version=version.number,
            state=pb.ModelVersionStatus.LOADING if is_loading else pb.ModelVersionStatus.END,
            status=pb.StatusProto(
                error_code=0 if is_loading else number,
                error_message="" if is_loading else visible_message(error),
            ),
        )
