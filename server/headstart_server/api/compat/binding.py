"""From a service's descriptor and an object with its methods to what a gRPC server takes."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoundService:
    """A service of another protocol.

    Attributes:
        name: its full name.
        handler: answers its methods.
    """

    name: str
    handler: grpc.GenericRpcHandler


def bind(service: ServiceDescriptor, servicer: object) -> BoundService:
    """A service whose methods are those of an object, by name; what it does not have is not implemented.

    Only calls of one request and one response, and those that stream both, are bound.
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
