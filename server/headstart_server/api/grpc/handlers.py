"""Handlers of gRPC methods, changed in part."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

from typing import Any

import grpc

_MAKE: Any = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}


def behaviour_of(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    """What a handler does, whatever the form of its messages."""
    _, name = _MAKE[bool(handler.request_streaming), bool(handler.response_streaming)]
    return getattr(handler, name)


def changed(
    handler: grpc.RpcMethodHandler[Any, Any], *, behaviour: Any = None, parse: Any = None
) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of the same form that does, or reads its requests by, something else; None keeps that."""
    make, _ = _MAKE[bool(handler.request_streaming), bool(handler.response_streaming)]
    made: grpc.RpcMethodHandler[Any, Any] = make(
        behaviour_of(handler) if behaviour is None else behaviour,
        request_deserializer=handler.request_deserializer if parse is None else parse,
        response_serializer=handler.response_serializer,
    )
    return made


def replaced(
    handler: grpc.RpcMethodHandler[Any, Any], behaviour: Any, *, serializer: Any
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler of the same form whose behaviour takes the bytes of requests."""
    make, _ = _MAKE[bool(handler.request_streaming), bool(handler.response_streaming)]
    made: grpc.RpcMethodHandler[Any, Any] = make(behaviour, response_serializer=serializer)
    return made
