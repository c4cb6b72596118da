"""The handlers of the gRPC services, with what happens around every call, for callers of another protocol."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import grpc


@runtime_checkable
class Door(Protocol):
    """An interceptor that knows callers before their requests have come."""

    async def knows(self, method: str, context: Any) -> bool:
        """Whether a caller of a method will not be turned away, whatever the request."""


class Metadatum(NamedTuple):
    """One entry of a call's metadata, as grpc.aio gives them."""

    key: str
    value: str


class CallDetails(grpc.HandlerCallDetails):
    """What interceptors see of a call before it begins.

    Args:
        method: its full name.
        metadata: what came with it.
    """

    def __init__(self, method: str, metadata: Sequence[Metadatum]) -> None:
        self.method = method
        self.invocation_metadata = tuple(metadata)


class Methods:
    """Takes services as a gRPC server does, and finds their handlers for one call.

    Args:
        interceptors: the gRPC server's own, in its order: what they refuse or count is refused or counted
            here, too.
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._doors = [each for each in interceptors if isinstance(each, Door)]
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code gives the same handlers by their names, too."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Take the methods of a service."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler

    @property
    def server(self) -> grpc.aio.Server:
        """Itself, for the generated functions that add a servicer to a server."""
        return cast("grpc.aio.Server", self)

    async def knows(self, details: CallDetails, context: Any) -> bool:
        """Whether a caller will not be turned away, whatever the request: else nothing of it need be read."""
        return all([await door.knows(details.method, context) for door in self._doors])

    async def find(self, details: CallDetails) -> Any:
        """The handler of a call, wrapped by each interceptor, the first outermost.

        Raises:
            KeyError: there is no such method.
        """
        return await self._wrapped(0, details)

    async def _wrapped(self, place: int, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        if place == len(self._interceptors):
            return self._handlers[details.method]

        async def continuation(inner: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
            return await self._wrapped(place + 1, inner)

        handler: Any = await self._interceptors[place].intercept_service(continuation, details)
        return handler  # type: ignore[no-any-return]
