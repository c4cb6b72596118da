"""Concurrent calls on a gRPC server with nothing behind it: who can hold them, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.call_slots import CHECKS_PER_ADDRESS, STREAMS_PER_ADDRESS, CallSlots
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.observability.telemetry import Telemetry

PREDICT = "/headstart.v1.PredictionService/Predict"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SLOTS = 4
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass
class Site:
    """A server whose calls end when the test says so."""

    slots: CallSlots
    target: str = ""
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def unary(self, request: bytes, context: Any) -> bytes:
        if request == b"wait":
            await self.end.wait()
        return request

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        await self.end.wait()

    async def until_held(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.slots.held != count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[tuple[Site, grpc.aio.Channel]]:
    site = Site(CallSlots(SLOTS, **settings))
    server = grpc.aio.server(interceptors=[site.slots, CallInterceptor(CallObserver(Telemetry("test")))])
    for path in (PREDICT, CHECK, WATCH):
        _, service, method = path.split("/")
        handler: Any = (
            grpc.unary_stream_rpc_method_handler(site.stream)
            if path == WATCH
            else grpc.unary_unary_rpc_method_handler(site.unary)
        )
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield site, channel
    finally:
        site.end.set()
        await server.stop(0)


def without_message(channel: grpc.aio.Channel, path: str) -> Any:
    """Begin a call that sends its headers only."""
    return channel.stream_unary(path)()


async def code_of(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(60):
        return await call.code()


async def test_calls_above_the_slots_are_refused_with_the_reason_and_slots_come_free() -> None:
    async with site() as (server, channel):
        running = [channel.unary_unary(PREDICT)(b"wait") for _ in range(SLOTS)]
        await server.until_held(SLOTS)
        further = channel.unary_unary(PREDICT)(b"")
        assert await code_of(further) is FULL
        assert "raise --max-concurrent-requests" in await further.details()
        server.end.set()
        assert [await call for call in running] == [b"wait"] * SLOTS
        await server.until_held(0)
        assert await channel.unary_unary(PREDICT)(b"a") == b"a"


async def test_health_checks_are_answered_while_all_slots_are_held() -> None:
    async with site() as (server, channel):
        _running = [channel.unary_unary(PREDICT)(b"wait") for _ in range(SLOTS)]
        await server.until_held(SLOTS)
        assert await channel.unary_unary(CHECK)(b"a") == b"a"
        assert await channel.unary_stream(WATCH)(b"a").read() == b"a"


async def test_watch_streams_of_an_address_are_limited_and_take_no_slots() -> None:
    async with site() as (_, channel):
        watches = [channel.unary_stream(WATCH)(b"a") for _ in range(STREAMS_PER_ADDRESS)]
        assert [await watch.read() for watch in watches] == [b"a"] * STREAMS_PER_ADDRESS
        assert await code_of(channel.unary_stream(WATCH)(b"a")) is FULL
        assert await channel.unary_unary(PREDICT)(b"a") == b"a"
        assert await channel.unary_unary(CHECK)(b"a") == b"a"
        watches.pop().cancel()
        async with asyncio.timeout(60):
            while await (again := channel.unary_stream(WATCH)(b"a")).read() != b"a":
                assert await again.code() is FULL


async def test_checks_without_a_message_end_and_are_limited() -> None:
    async with site(check_seconds=5.0) as (_, channel):
        empty = [without_message(channel, CHECK) for _ in range(2 * CHECKS_PER_ADDRESS)]
        codes = await asyncio.gather(*map(code_of, empty))
        assert set(codes) == {FULL, grpc.StatusCode.DEADLINE_EXCEEDED}
        assert codes.count(FULL) >= CHECKS_PER_ADDRESS // 2
        assert await channel.unary_unary(CHECK)(b"a") == b"a"


async def test_a_call_whose_message_does_not_come_gives_its_slot_back() -> None:
    async with site(message_seconds=3.0) as (server, channel):
        empty = [without_message(channel, PREDICT) for _ in range(SLOTS)]
        await server.until_held(SLOTS)
        assert await code_of(channel.unary_unary(PREDICT)(b"a")) is FULL
        assert grpc.StatusCode.OK not in await asyncio.gather(*map(code_of, empty))
        await server.until_held(0)


async def test_a_call_that_works_for_longer_than_its_message_may_take_goes_on() -> None:
    async with site(message_seconds=2.0) as (server, channel):
        call = channel.unary_unary(PREDICT)(b"wait")
        await server.until_held(1)
        await asyncio.sleep(2.5)
        server.end.set()
        assert await call == b"wait"


async def test_calls_whose_token_is_being_checked_hold_no_slot() -> None:
    checked, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def knows(method: str, context: Any) -> bool:
        if ("who", "waits") in [tuple(each) for each in context.invocation_metadata()]:
            waiting.release()
            await checked.wait()
        return True

    async with site(knows=knows) as (server, channel):
        metadata = [("who", "waits")]
        calls = [channel.unary_unary(PREDICT)(b"a", metadata=metadata) for _ in range(SLOTS)]
        async with asyncio.timeout(60):
            for _ in calls:
                await waiting.acquire()
        assert server.slots.held == 0
        assert await channel.unary_unary(PREDICT)(b"b") == b"b"
        checked.set()
        assert [await call for call in calls] == [b"a"] * SLOTS


@pytest.mark.parametrize("known", [True, False])
async def test_a_caller_that_is_not_known_is_answered_before_its_message_is_read(known: bool) -> None:
    async def knows(method: str, context: Any) -> bool:
        assert method == PREDICT
        return ("who", "friend") in [tuple(each) for each in context.invocation_metadata()]

    async with site(knows=knows) as (server, channel):
        metadata = [("who", "friend" if known else "stranger")]
        if known:
            assert await channel.unary_unary(PREDICT)(b"a", metadata=metadata) == b"a"
        else:
            # The handlers, which reject such a caller, see no message.
            strangers = [channel.stream_unary(PREDICT)(metadata=metadata) for _ in range(3 * SLOTS)]
            async with asyncio.timeout(60):
                assert [await call for call in strangers] == [b""] * (3 * SLOTS)
            assert server.slots.held == 0
