"""The gRPC server: its port, its limits, its services, and its health."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from headstart.v1 import (
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    fine_tuning_service_pb2,
    fine_tuning_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
)
from headstart_server.api.compat.reflection import DescribedPools
from headstart_server.api.compat.services import BoundService
from headstart_server.api.grpc.call_slots import CHECKS_PER_ADDRESS, STREAMS, CallSlots
from headstart_server.api.grpc.connections import usable_connections
from headstart_server.api.grpc.requests.request_parsing import LimitInterceptor
from headstart_server.api.grpc.telemetry_interceptor import CallInterceptor
from headstart_server.api.grpc.tls import TlsFiles, server_credentials
from headstart_server.api.http.in_process_server import Door, Methods

#: Seconds in which a stopping server takes calls in before it closes their connections: until
#: none has come for a moment, at least as long as callers pause before they try again, and at most so long.
QUIET_SECONDS = 0.15
MIN_HOLD_SECONDS = 0.5
MAX_HOLD_SECONDS = 2.0
#: Seconds before the end of the grace in which the calls that still run are ended.
END_SECONDS = 1.0
#: Seconds after which the server probes a connection without traffic.
KEEPALIVE_SECONDS = 60
#: Seconds in which a new connection must be ready for calls, and without a call after which it is closed.
HANDSHAKE_SECONDS, IDLE_SECONDS = 10, 300

SERVICE_NAMES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (fine_tuning_service_pb2, "FineTuningService"),
        (prediction_service_pb2, "PredictionService"),
        (model_service_pb2, "ModelService"),
        (evaluation_service_pb2, "EvaluationService"),
        (server_service_pb2, "ServerService"),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """How the port behaves.

    Attributes:
        address: host and port; port 0 takes a free one.
        tls: None for a plain port.
        max_message_bytes: most bytes of one message, in either direction.
        max_concurrent_calls: most concurrent calls; further ones are rejected with RESOURCE_EXHAUSTED. Health
            checks have their own limits.
        max_connections: most connections; further ones are closed.
        max_connection_age_seconds: a connection is closed, gracefully, at this age; 0 for never.
        reflection: whether the contract can be read from the server.
    """

    address: str
    tls: TlsFiles | None
    max_message_bytes: int
    max_concurrent_calls: int
    max_connections: int
    max_connection_age_seconds: float
    reflection: bool


class Server:
    """Serves the services of the contract, those of other protocols, and their health.

    Args:
        settings: how the port behaves.
        interceptor: what happens around every call.
        access: lets calls in; None takes all.
        fine_tuning: the FineTuningService.
        prediction: the PredictionService.
        models: the ModelService.
        evaluation: the EvaluationService.
        about: the ServerService.
        rates: refuses calls of those who call too often; None takes all.
        further: services of other protocols.

    Raises:
        OSError: the port cannot be had, or a TLS file cannot be read.
    """

    def __init__(
        self,
        settings: ServerSettings,
        interceptor: CallInterceptor,
        access: grpc.aio.ServerInterceptor | None = None,
        *,
        fine_tuning: fine_tuning_service_pb2_grpc.FineTuningServiceServicer,
        prediction: prediction_service_pb2_grpc.PredictionServiceServicer,
        models: model_service_pb2_grpc.ModelServiceServicer,
        evaluation: evaluation_service_pb2_grpc.EvaluationServiceServicer,
        about: server_service_pb2_grpc.ServerServiceServicer,
        rates: grpc.aio.ServerInterceptor | None = None,
        further: Sequence[BoundService] = (),
    ) -> None:
        self._names = (*SERVICE_NAMES, *(service.name for service in further))
        self._health = health_aio.HealthServicer()
        self._interceptor = interceptor
        interceptors = [each for each in (interceptor, access, rates, LimitInterceptor()) if each is not None]
        # gRPC's own limit of concurrent calls would count health checks with all others.
        slots = CallSlots(settings.max_concurrent_calls, access.knows if isinstance(access, Door) else None)
        self._server = grpc.aio.server(interceptors=[slots, *interceptors], options=_options(settings))
        #: The same handlers, behind the same interceptors, for the port of HTTP.
        self.methods = Methods(interceptors)
        for server in (self._server, self.methods.server):
            fine_tuning_service_pb2_grpc.add_FineTuningServiceServicer_to_server(fine_tuning, server)
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
            model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
            evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server(evaluation, server)
            server_service_pb2_grpc.add_ServerServiceServicer_to_server(about, server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._server.add_generic_rpc_handlers([service.handler for service in further])
        if settings.reflection:
            names = (*self._names, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            pools: Any = DescribedPools()
            reflection.enable_server_reflection(names, self._server, pool=pools)
        self.port = self._bind(settings)
        self._is_started = False

    async def start(self) -> None:
        """Open the port; every service is NOT_SERVING until `set_serving`."""
        await self.set_serving(False)
        await self._server.start()
        self._is_started = True

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks whether this server answers."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def stop(self, grace: float, beside: Callable[[float], Awaitable[None]] | None = None) -> None:
        """Turn new calls away, give running ones some seconds to end, then end them.

        gRPC ends calls that it has received and not handed on when it stops as CANCELLED, without a reason,
        which no caller may take for a sign to try again. So it is let to hand on all there are: they are held
        here, and answered only when their connection has been told to go, so that their callers try again on
        another one (docs/lab/serving.md).

        What comes between the beginning of gRPC's stop and its connection hearing of it, a way through the
        network and a few milliseconds, is seen by nobody here and still ends as CANCELLED. gRPC has no way to
        tell connections to go before it stops, so this is for clients to know; Headstart's tries such a call
        again.

        Args:
            grace: the seconds.
            beside: stops another port whose calls are the same handlers', within the seconds it is given.
        """
        await self._health.enter_graceful_shutdown()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        self._interceptor.hold_new_calls()
        await self._until_quiet(loop.time() + min(MAX_HOLD_SECONDS, grace / 3))
        left = max(0.0, end - loop.time())
        stopping = {asyncio.create_task(self._server.stop(left))}
        if beside is not None:
            stopping.add(asyncio.ensure_future(beside(left)))
        await asyncio.sleep(min(QUIET_SECONDS, grace / 6))
        self._interceptor.turn_away()
        await asyncio.wait(stopping, timeout=max(0.0, end - loop.time() - min(END_SECONDS, grace / 3)))
        self._interceptor.end_calls()
        await asyncio.gather(*stopping)

    async def close(self) -> None:
        """Release the port immediately; does nothing after `stop`."""
        if not self._is_started:
            # gRPC keeps the port of a server that never started until the process ends.
            await self._server.start()
        await self._server.stop(None)

    async def _until_quiet(self, latest: float) -> None:
        """Wait until all callers that go on without a pause, or after a short one, are held."""
        loop = asyncio.get_running_loop()
        earliest, seen, since = min(loop.time() + MIN_HOLD_SECONDS, latest), -1, loop.time()
        while loop.time() < latest:
            if self._interceptor.held != seen:
                seen, since = self._interceptor.held, loop.time()
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
                f"Cannot listen on {settings.address}: the address is in use or not of this machine. Choose "
                "another --port or --host."
            ) from error


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", usable_connections(settings.max_connections)),
        ("grpc.max_concurrent_streams", settings.max_concurrent_calls + STREAMS + CHECKS_PER_ADDRESS),
        # A connection takes part in the limit above from its first byte on: one that says nothing must go.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Clients may ask as often as the server does, with no call open, too.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Two servers on one port would share its calls without a word.
        ("grpc.so_reuseport", 0),
    ]
    if settings.max_connection_age_seconds:
        options.append(("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", 60_000))
    return options
