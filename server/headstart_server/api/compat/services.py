"""The services of each protocol, by the protocol's name."""

# Annotations are not evaluated: grpc's handler class accepts type arguments in its stubs only.
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from headstart_server.api.compat import open_inference_pb2, tensorflow_serving_pb2
from headstart_server.api.compat.compat_predictor import CompatPredictor
from headstart_server.api.compat.open_inference_service import OpenInferenceService
from headstart_server.api.compat.tensorflow_model_service import TensorFlowModelService
from headstart_server.api.compat.tensorflow_prediction_service import TensorFlowPredictionService
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.models.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoundService:
    """A service of another protocol."""

    name: str
    handler: grpc.GenericRpcHandler  # answers its methods


def bind(service: ServiceDescriptor, servicer: object) -> BoundService:
    """Return a service with an object's methods, by name; methods that it lacks are unimplemented.

    Only unary and bidirectional streaming methods are bound.
    """
    methods: Sequence[MethodDescriptor] = service.methods
    handlers = {
        method.name: _handler(method, getattr(servicer, method.name))
        for method in methods
        if hasattr(servicer, method.name)
    }
    return BoundService(
        name=service.full_name,
        handler=grpc.method_handlers_generic_handler(service.full_name, handlers),
    )


def _handler(method: MethodDescriptor, answer: Any) -> grpc.RpcMethodHandler[Any, Any]:
    make: Any = grpc.unary_unary_rpc_method_handler
    if method.client_streaming and method.server_streaming:
        make = grpc.stream_stream_rpc_method_handler
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        answer,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )
    return handler


#: The Open Inference Protocol, version 2, and the API of TensorFlow Serving.
OIP, TFSERVING = "oip", "tfserving"


def services_of(
    protocols: Collection[str],
    predictor: CompatPredictor,
    registry: Registry,
    pool: BackbonePool,
    executor: BoundedExecutor,
) -> Sequence[BoundService]:
    """Return the services of some protocols."""
    services = []
    if OIP in protocols:
        known = open_inference_pb2.DESCRIPTOR.services_by_name
        servicer = OpenInferenceService(predictor, registry, pool, executor)
        services.append(bind(known["GRPCInferenceService"], servicer))
    if TFSERVING in protocols:
        known = tensorflow_serving_pb2.DESCRIPTOR.services_by_name
        services.append(bind(known["PredictionService"], TensorFlowPredictionService(predictor)))
        models = TensorFlowModelService(registry, pool, executor)
        services.append(bind(known["ModelService"], models))
    return services
