"""The handlers of the gRPC services, behind the interceptor of every call, for another protocol."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
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
    """What the interceptor sees of a call before it begins."""

    def __init__(self, method: str, metadata: Sequence[Metadatum]) -> None:
        self.method = method
        self.invocation_metadata = tuple(metadata)


class InProcessServer:
    """Collect services as a gRPC server does, and find their handlers for one call."""

    def __init__(self, interceptor: CallInterceptor) -> None:
        self._interceptor = interceptor
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code adds the same handlers by their names, too."""

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
        """Return whether a call will not be rejected whatever its request is, so that it must be read."""
        return await self._interceptor.knows(details.method, context)

    async def find(self, details: CallDetails) -> Any:
        """Return the wrapped handler of a call. Raise KeyError if the method does not exist."""
        return await self._interceptor.intercept_service(self._find, details)

    async def _find(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handlers[details.method]
