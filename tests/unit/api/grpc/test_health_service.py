"""The health of services for callers that read, leave or do not read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from headstart_server.api.grpc.health_service import HealthService

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NAME = "headstart.v1.PredictionService"


class Context:
    """Ends calls as gRPC does."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        raise grpc.aio.AbortError(details)


@pytest.fixture
def health() -> HealthService:
    return HealthService([NAME])


def watching(health: HealthService, service: str = "") -> Any:
    context: Any = Context()
    return health.Watch(HealthCheckRequest(service=service), context)


async def following(watch: AsyncIterator[HealthCheckResponse]) -> int:
    async with asyncio.timeout(60):
        return (await anext(watch)).status


async def checked(health: HealthService, service: str = "") -> int:
    context: Any = Context()
    return (await health.Check(HealthCheckRequest(service=service), context)).status


@pytest.mark.parametrize("service", ["", NAME])
async def test_checks_and_watches_report_each_change(health: HealthService, service: str) -> None:
    watch = watching(health, service)
    for serving, status in ((False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
        health.set_serving(serving)
        assert await checked(health, service) == await following(watch) == status


async def test_a_watcher_that_does_not_read_gets_the_last_status_and_others_get_each(
    health: HealthService,
) -> None:
    slow, other = watching(health), watching(health)
    assert await following(slow) == await following(other) == NOT_SERVING
    seen = []
    for serving in (True, False, True):
        health.set_serving(serving)
        seen.append(await following(other))
    assert seen == [SERVING, NOT_SERVING, SERVING]
    assert await following(slow) == SERVING


async def test_a_watcher_that_leaves_takes_no_change_from_others(health: HealthService) -> None:
    leaving, staying = watching(health), watching(health)
    assert await following(leaving) == await following(staying) == NOT_SERVING
    waiting = asyncio.ensure_future(anext(staying))
    await asyncio.sleep(0)
    await leaving.aclose()
    assert await following(watching(health)) == NOT_SERVING
    health.set_serving(True)
    async with asyncio.timeout(60):
        assert (await waiting).status == SERVING


async def test_a_watch_reports_a_status_once(health: HealthService) -> None:
    watch = watching(health)
    assert await following(watch) == NOT_SERVING
    waiting = asyncio.ensure_future(anext(watch))
    for serving in (False, True, False):
        health.set_serving(serving)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    health.set_serving(True)
    async with asyncio.timeout(60):
        assert (await waiting).status == SERVING


async def test_an_unknown_service_is_not_found_by_checks_and_unknown_to_watches(
    health: HealthService,
) -> None:
    context: Any = Context()
    with pytest.raises(grpc.aio.AbortError, match="full name of a service"):
        await health.Check(HealthCheckRequest(service="other"), context)
    assert context.code is grpc.StatusCode.NOT_FOUND
    watch = watching(health, "other")
    assert await following(watch) == HealthCheckResponse.SERVICE_UNKNOWN
    waiting = asyncio.ensure_future(anext(watch))
    health.set_serving(True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_server_that_stops_does_not_serve_again(health: HealthService) -> None:
    health.set_serving(True)
    watch = watching(health)
    assert await following(watch) == SERVING
    health.stop()
    health.set_serving(True)
    assert await checked(health) == await following(watch) == NOT_SERVING


@pytest.mark.parametrize("service", ["", NAME, "other"])
async def test_watches_end_with_the_last_status_of_a_server_that_stops(
    health: HealthService, service: str
) -> None:
    watch, idle = watching(health, service), watching(health, service)
    await following(idle)
    waiting = asyncio.ensure_future(anext(idle, None))
    await asyncio.sleep(0)
    health.stop()
    async with asyncio.timeout(60):
        assert await waiting is None
        last = HealthCheckResponse.SERVICE_UNKNOWN if service == "other" else NOT_SERVING
        assert [response.status async for response in watch] == [last]
