"""The health of the services, which callers without a token may check and watch."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as stubs

from headstart_server.api.grpc.call import Context


class HealthService(stubs.HealthServicer):
    """Reports one status for all services. Used by one event loop.

    A change waits for no watcher: a caller that does not read delays only its own stream. Watches end with
    the last status of a server that stops, which would otherwise wait for them.

    Args:
        services: full names of the services. The empty name stands for the whole server.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._status: int = pb.HealthCheckResponse.NOT_SERVING
        self._is_stopping = False
        # Each change sets the event and replaces it.
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Change the status; do nothing after `stop`."""
        if not self._is_stopping:
            self._status = pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING
            self._changed.set()
            self._changed = asyncio.Event()

    def stop(self) -> None:
        """Report NOT_SERVING from now on, and end all watches."""
        self.set_serving(False)
        self._is_stopping = True

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                "The service does not exist. Send the full name of a service, or none for the whole server.",
            )
        return pb.HealthCheckResponse(status=self._status)

    async def Watch(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        is_known, sent = request.service in self._services, None
        while True:
            # Before the status is read, because it may change while the response is sent.
            changed, is_last = self._changed, self._is_stopping
            status = self._status if is_known else pb.HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                sent = status
                yield pb.HealthCheckResponse(status=status)
            if is_last:
                return
            await changed.wait()
