"""The handlers of the gRPC services, behind the interceptor of every call, for another protocol."""

# Annotations are not evaluated: grpc's handler class accepts type arguments in its stubs only.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import grpc

from headstart_server.api.grpc.interceptor import CallInterceptor


class Metadatum(NamedTuple):
    """One entry of a call's metadata, as in grpc.aio."""

    key: str
    value: str


class CallDetails(grpc.HandlerCallDetails):
    """The details of a call that the interceptor receives before the call begins."""

    def __init__(self, method: str, metadata: Sequence[Metadatum]) -> None:
        self.method = method
        self.invocation_metadata = tuple(metadata)


class InProcessServer:
    """Collect services as a gRPC server does, and find their handlers for one call."""

    def __init__(self, interceptor: CallInterceptor) -> None:
        self._interceptor = interceptor
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code also adds the same handlers as registered methods."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Add the methods of a service."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler

    @property
    def server(self) -> grpc.aio.Server:
        """This object, for the generated functions that add a servicer to a server."""
        return cast("grpc.aio.Server", self)

    async def knows(self, details: CallDetails, context: Any) -> bool:
        """Return whether every check knows the caller, so that its request must be received."""
        return await self._interceptor.knows(details.method, context)

    async def find(self, details: CallDetails) -> Any:
        """Return the wrapped handler of a call. Raise KeyError if the method does not exist."""
        return await self._interceptor.intercept_service(self._find, details)

    async def _find(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handlers[details.method]
