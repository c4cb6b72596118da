"""The health of the services, on a separate port and with nothing behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headstart.v1 import (
    dataset_service_pb2_grpc,
    evaluation_service_pb2_grpc,
    example_service_pb2_grpc,
    fine_tuning_service_pb2_grpc,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    review_service_pb2_grpc,
    server_service_pb2_grpc,
)
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.server import Server, ServerSettings
from headstart_server.observability.telemetry import Telemetry
from http2_frames import HEADERS, INITIAL_WINDOW_SIZE, call_with_empty_message
from integration.server.calls import SERVICES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SETTINGS = ServerSettings(
    address="127.0.0.1:0",
    tls=None,
    max_message_bytes=1 << 20,
    max_concurrent_calls=100,
    max_connections=100,
    max_connection_age_seconds=0.0,
    reflection=False,
)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(
        SETTINGS,
        CallInterceptor(CallObserver(Telemetry("0"))),
        [
            fine_tuning_service_pb2_grpc.FineTuningServiceServicer(),
            prediction_service_pb2_grpc.PredictionServiceServicer(),
            model_service_pb2_grpc.ModelServiceServicer(),
            evaluation_service_pb2_grpc.EvaluationServiceServicer(),
            server_service_pb2_grpc.ServerServiceServicer(),
            dataset_service_pb2_grpc.DatasetServiceServicer(),
            example_service_pb2_grpc.ExampleServiceServicer(),
            review_service_pb2_grpc.ReviewServiceServicer(),
        ],
    )
    await server.start()
    yield server
    await server.stop(0)


@pytest.fixture
async def health(server: Server) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_serving_only_once_the_server_is_warm(
    server: Server, health: health_pb2_grpc.HealthStub, service: str
):
    request = health_pb2.HealthCheckRequest(service=service)
    before = await health.Check(request)
    server.set_serving(True)
    after = await health.Check(request)

    assert (before.status, after.status) == (NOT_SERVING, SERVING)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_watch_reports_when_a_service_begins_and_ceases_to_serve(
    server: Server, health: health_pb2_grpc.HealthStub, service: str
):
    watch = health.Watch(health_pb2.HealthCheckRequest(service=service))
    seen = [(await watch.read()).status]
    for serving in (True, False):
        server.set_serving(serving)
        seen.append((await watch.read()).status)
    watch.cancel()

    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]


async def test_a_watcher_that_reads_nothing_keeps_a_server_neither_from_serving_nor_from_stopping(
    server: Server, health: health_pb2_grpc.HealthStub
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with closing(writer):
        async with asyncio.timeout(60):
            writer.write(call_with_empty_message("/grpc.health.v1.Health/Watch", {INITIAL_WINDOW_SIZE: 0}))
            kind = None
            # The server sends the headers of the response together with the status, which has to wait.
            while kind != HEADERS:
                head = await reader.readexactly(9)
                size, kind = int.from_bytes(head[:3], "big"), head[3]
                await reader.readexactly(size)

            watch = health.Watch(health_pb2.HealthCheckRequest())
            seen = [(await watch.read()).status]
            server.set_serving(True)
            seen.append((await watch.read()).status)
            await server.stop(1)

    assert seen == [NOT_SERVING, SERVING]


async def test_a_server_that_stops_does_not_wait_for_watchers(
    server: Server, health: health_pb2_grpc.HealthStub
) -> None:
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == NOT_SERVING
    async with asyncio.timeout(60):
        await server.stop(600)
        assert await watch.code() is grpc.StatusCode.OK


async def test_a_server_waits_for_the_next_call_once_and_not_for_each_method(server: Server) -> None:
    # This test and the fixture, gRPC's loop, and its request for the next call.
    assert len(asyncio.all_tasks()) <= 5
