"""The gRPC server: its port, its limits, its services, and its health."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from headstart.v1 import (
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    example_service_pb2,
    example_service_pb2_grpc,
    fine_tuning_service_pb2,
    fine_tuning_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    review_service_pb2,
    review_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
)
from headstart_server.api.compat.descriptor_pool import DescribedPools
from headstart_server.api.compat.services import BoundService
from headstart_server.api.grpc.call_slots import CHECKS_PER_ADDRESS, STREAMS, CallSlots
from headstart_server.api.grpc.health_service import HealthService
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.grpc.tls import TlsFiles, server_credentials
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.inbound.connections import usable_connections

#: Seconds in which a stopping server accepts calls before it closes their connections: it waits for a quiet
#: period without new calls, at least as long as callers pause between retries, and at most the maximum.
QUIET_SECONDS = 0.15
MIN_HOLD_SECONDS = 0.5
MAX_HOLD_SECONDS = 2.0
#: Seconds before the end of the grace period at which running calls are ended.
END_SECONDS = 1.0
#: Seconds after which the server probes a connection without traffic.
KEEPALIVE_SECONDS = 60
#: Seconds in which a new connection must complete its handshake, and after which an idle one is closed.
HANDSHAKE_SECONDS, IDLE_SECONDS = 10, 300

#: The services of the contract: the descriptor, the base class and the generated function that adds one.
_SERVICES: tuple[tuple[Any, str, type, Callable[[Any, grpc.aio.Server], None]], ...] = (
    (
        fine_tuning_service_pb2,
        "FineTuningService",
        fine_tuning_service_pb2_grpc.FineTuningServiceServicer,
        fine_tuning_service_pb2_grpc.add_FineTuningServiceServicer_to_server,
    ),
    (
        prediction_service_pb2,
        "PredictionService",
        prediction_service_pb2_grpc.PredictionServiceServicer,
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server,
    ),
    (
        model_service_pb2,
        "ModelService",
        model_service_pb2_grpc.ModelServiceServicer,
        model_service_pb2_grpc.add_ModelServiceServicer_to_server,
    ),
    (
        evaluation_service_pb2,
        "EvaluationService",
        evaluation_service_pb2_grpc.EvaluationServiceServicer,
        evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server,
    ),
    (
        review_service_pb2,
        "ReviewService",
        review_service_pb2_grpc.ReviewServiceServicer,
        review_service_pb2_grpc.add_ReviewServiceServicer_to_server,
    ),
    (
        example_service_pb2,
        "ExampleService",
        example_service_pb2_grpc.ExampleServiceServicer,
        example_service_pb2_grpc.add_ExampleServiceServicer_to_server,
    ),
    (
        dataset_service_pb2,
        "DatasetService",
        dataset_service_pb2_grpc.DatasetServiceServicer,
        dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server,
    ),
    (
        server_service_pb2,
        "ServerService",
        server_service_pb2_grpc.ServerServiceServicer,
        server_service_pb2_grpc.add_ServerServiceServicer_to_server,
    ),
)
SERVICE_NAMES = tuple(module.DESCRIPTOR.services_by_name[name].full_name for module, name, _, _ in _SERVICES)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """The settings of the gRPC port."""

    address: str  # host and port; port 0 chooses a free one
    tls: TlsFiles | None  # None for a plain port
    max_message_bytes: int  # maximum bytes of one message, in either direction
    # maximum concurrent calls; further ones are rejected with RESOURCE_EXHAUSTED. Health checks have
    # separate limits.
    max_concurrent_calls: int
    max_connections: int  # maximum connections; further ones are closed
    max_connection_age_seconds: float  # a connection is closed, gracefully, at this age; 0 for never
    reflection: bool  # whether the contract can be read from the server
    shares_port: bool = False  # whether other processes of this server listen on the same port


class Server:
    """Serve the services of the contract, the services of other protocols, and their health.

    Args:
        settings: the settings of the port.
        interceptor: handles every call.
        services: one servicer of each service of the contract.
        compat: services of other protocols.

    Raises:
        OSError: the address is in use, or a TLS file cannot be read.
        TypeError: a service of the contract is missing.
    """

    def __init__(
        self,
        settings: ServerSettings,
        interceptor: CallInterceptor,
        services: Sequence[Any],
        compat: Sequence[BoundService] = (),
    ) -> None:
        self._names = (*SERVICE_NAMES, *(service.name for service in compat))
        self._health = HealthService(self._names)
        self._drain = interceptor.drain
        # gRPC's own limit of concurrent calls would also count health checks.
        slots = CallSlots(settings.max_concurrent_calls, interceptor.knows)
        self._server = grpc.aio.server(interceptors=[slots, interceptor], options=_options(settings))
        #: The same handlers, behind the same interceptor, for the HTTP port.
        self.in_process = InProcessServer(interceptor)
        unregistered = _UnregisteredMethods(self._server).server
        for server in (unregistered, self.in_process.server):
            _add_services(services, server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._server.add_generic_rpc_handlers([service.handler for service in compat])
        if settings.reflection:
            names = (*self._names, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            pools: Any = DescribedPools()
            # Called with the gRPC server, because the function checks the server's type.
            reflection.enable_server_reflection(names, self._server, pool=pools)
        self.port = self._bind(settings)
        self._is_started = False

    async def start(self) -> None:
        """Open the port; every service is NOT_SERVING until `set_serving`."""
        await self._server.start()
        self._is_started = True

    def set_serving(self, serving: bool) -> None:
        """Set the status that health checks report."""
        self._health.set_serving(serving)

    async def stop(self, grace: float, other_port: Callable[[float], Awaitable[None]] | None = None) -> None:
        """Reject new calls, give running ones some seconds to end, then end them.

        When gRPC stops, it ends calls that it has received but not yet passed to handlers as CANCELLED. They
        have no reason, so callers must not retry them. So gRPC first passes on all received calls, which are
        held here. They are rejected only once their connection is closing, so that their callers retry on
        another connection (docs/lab/serving.md).

        A connection is notified a few milliseconds after gRPC begins to stop. A call that arrives between
        still ends as CANCELLED. gRPC cannot notify connections earlier, so clients must handle this case;
        Headstart's client retries such a call.

        Args:
            grace: seconds that running calls have.
            other_port: stops another port with the same handlers, within the given seconds.
        """
        self._health.stop()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        self._drain.hold_new_calls()
        await self._until_quiet(loop.time() + min(MAX_HOLD_SECONDS, grace / 3))
        left = max(0.0, end - loop.time())
        stopping = {asyncio.create_task(self._server.stop(left))}
        if other_port is not None:
            stopping.add(asyncio.ensure_future(other_port(left)))
        await asyncio.sleep(min(QUIET_SECONDS, grace / 6))
        self._drain.reject_new_calls()
        await asyncio.wait(stopping, timeout=max(0.0, end - loop.time() - min(END_SECONDS, grace / 3)))
        self._drain.end_calls()
        await asyncio.gather(*stopping)

    async def close(self) -> None:
        """Release the port immediately; do nothing after `stop`."""
        if not self._is_started:
            # Without a start, gRPC would keep the port until the process ends.
            await self._server.start()
        await self._server.stop(None)

    async def _until_quiet(self, latest: float) -> None:
        """Wait until the next calls of all callers that call without long pauses are held."""
        loop = asyncio.get_running_loop()
        earliest, seen, since = min(loop.time() + MIN_HOLD_SECONDS, latest), -1, loop.time()
        while loop.time() < latest:
            if self._drain.held != seen:
                seen, since = self._drain.held, loop.time()
            elif loop.time() >= earliest and loop.time() - since >= QUIET_SECONDS:
                return
            await asyncio.sleep(QUIET_SECONDS / 5)

    def _bind(self, settings: ServerSettings) -> int:
        try:
            if settings.tls is None:
                return self._server.add_insecure_port(settings.address)
            return self._server.add_secure_port(settings.address, server_credentials(settings.tls))
        except RuntimeError as error:
            raise OSError(
                f"Cannot listen on {settings.address}: it is in use, or not an address of this machine. "
                "Choose another --port or --host."
            ) from error


class _UnregisteredMethods:
    """Add services to a gRPC server without registering their methods.

    For each registered method, grpc.aio waits for a call with a future, and adds and removes its callback at
    every call. Handlers of other methods are found by name, and the interceptors cache them.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Do nothing: generated code adds the same handlers as generic ones, too."""

    @property
    def server(self) -> grpc.aio.Server:
        """This object, for the generated functions that add a servicer to a server."""
        return cast("grpc.aio.Server", self)


def _add_services(services: Sequence[Any], server: grpc.aio.Server) -> None:
    for _, name, kind, add in _SERVICES:
        servicer = next((each for each in services if isinstance(each, kind)), None)
        if servicer is None:
            raise TypeError(f"The server needs a {name}. Add one to its services.")
        add(servicer, server)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", usable_connections(settings.max_connections)),
        ("grpc.max_concurrent_streams", settings.max_concurrent_calls + STREAMS + CHECKS_PER_ADDRESS),
        # The limit of connections counts a connection from its first byte on, so silent ones are closed.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Only `identity`, as over HTTP. 64 KiB of compressed bytes could expand to 64 MiB, in pieces of 1 KiB
        # that the event loop joins one by one.
        ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression),
        # Clients may send keepalive pings as often as the server does, even without an open call.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Two servers on one port would share its calls without an error. For several processes, the
        # supervisor holds the port.
        ("grpc.so_reuseport", int(settings.shares_port)),
    ]
    if settings.max_connection_age_seconds:
        options.append(("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", 60_000))
    return options
