"""Each caller has a separate bucket of tokens, and health checks have no limit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fakes import ManualClock
from headstart_server.api.grpc import rate_limits as rates
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.grpc.rate_limits import RateCheck, RateLimiter
from headstart_server.observability.telemetry import Telemetry


@dataclass
class Details:
    """What is known of a call before it is handled."""

    method: str


@dataclass
class Context:
    """Where a call comes from."""

    address: str

    def peer(self) -> str:
        return self.address

    async def abort_with_status(self, status: Any) -> None:
        raise Rejected(status)


class Rejected(grpc.aio.AbortError):
    """The status that a call ended with."""

    def __init__(self, status: Any) -> None:
        super().__init__(status.details)
        assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        ((_, packed),) = status.trailing_metadata
        info = error_details_pb2.RetryInfo()
        for detail in rpc_status.status_pb2.Status.FromString(packed).details:
            detail.Unpack(info)
        self.retry_after = info.retry_delay.ToMilliseconds() / 1000


def interceptor_with(*settings: Any, **further: Any) -> CallInterceptor:
    """Return the interceptor with only the check of the rate limits."""
    return CallInterceptor(CallObserver(Telemetry("test")), [RateCheck(*settings, **further)])


async def answer(request: Any, context: Any) -> Any:
    return request


async def answers(request: Any, context: Any) -> Any:
    yield request
    yield request


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_after_a_burst_calls_go_at_the_rate(clock: ManualClock) -> None:
    buckets = RateLimiter(10.0, burst=3, clock=clock)
    assert [buckets.acquire("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.acquire("a") == pytest.approx(0.1, abs=1e-6)
    clock.advance(0.1)
    assert buckets.acquire("a") == 0.0
    assert buckets.acquire("a") > 0
    # A refused call costs nothing, and a pause gives no more than a burst.
    clock.advance(60.0)
    assert [buckets.acquire("a") == 0.0 for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("rate", "at_once"), [(0.5, 1), (1.0, 1), (2.5, 3), (100.0, 100)])
def test_a_second_s_worth_may_come_at_once(clock: ManualClock, rate: float, at_once: int) -> None:
    buckets = RateLimiter(rate, clock=clock)
    taken = [buckets.acquire("a") for _ in range(at_once + 1)]
    assert taken[:-1] == [0.0] * at_once
    assert taken[-1] > 0


@pytest.mark.parametrize("rate", [0.3, 7.0, 33.0])
def test_over_a_long_time_the_rate_holds(clock: ManualClock, rate: float) -> None:
    buckets = RateLimiter(rate, burst=1, clock=clock)
    taken = 0
    for _ in range(10_000):
        taken += buckets.acquire("a") == 0.0
        clock.advance(0.01)
    assert taken == pytest.approx(100 * rate, rel=0.25)
    assert taken <= 100 * rate + 1


def test_one_caller_takes_nothing_from_another(clock: ManualClock) -> None:
    buckets = RateLimiter(1.0, clock=clock)
    assert buckets.acquire("a") == 0.0
    assert buckets.acquire("a") > 0
    assert buckets.acquire("b") == 0.0


def test_callers_that_are_quiet_are_forgotten(clock: ManualClock) -> None:
    buckets = RateLimiter(1.0, clock=clock)
    for place in range(5 * rates.MAX_CALLERS):
        buckets.acquire(str(place))
        clock.advance(0.01)
    assert len(buckets) <= rates.MAX_CALLERS + 1


@pytest.mark.parametrize("make", [grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler])
async def test_a_call_too_many_gets_a_retry_delay(clock: ManualClock, make: Any) -> None:
    async def find(details: Any) -> Any:
        return make(answer)

    interceptor = interceptor_with(RateLimiter(2.0, burst=1, clock=clock))
    handler = await interceptor.intercept_service(find, Details("/a/Predict"))
    call = handler.unary_unary or handler.stream_unary
    request = sent(1) if handler.request_streaming else b"x"
    await call(request, Context("ipv4:10.0.0.1:5001"))
    with pytest.raises(Rejected) as caught:
        await call(request, Context("ipv4:10.0.0.1:5002"))
    assert caught.value.retry_after == pytest.approx(0.5)
    await call(request, Context("ipv6:%5Bfe80::1%5D:5001"))


async def test_a_stream_counts_once(clock: ManualClock) -> None:
    async def find(details: Any) -> Any:
        return grpc.unary_stream_rpc_method_handler(answers)

    interceptor = interceptor_with(RateLimiter(2.0, burst=1, clock=clock))
    call = (await interceptor.intercept_service(find, Details("/a/Watch"))).unary_stream
    assert [each async for each in call(b"x", Context("ipv4:10.0.0.1:1"))] == [b"x", b"x"]
    with pytest.raises(Rejected):
        _ = [each async for each in call(b"x", Context("ipv4:10.0.0.1:1"))]


class Sleeper:
    """Sleeps by moving the clock, and remembers for how long."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


async def wrapped(interceptor: CallInterceptor, handler: Any, method: str = "") -> Any:
    async def find(details: Any) -> Any:
        return handler

    return await interceptor.intercept_service(find, Details(method or f"/a/{next(_NUMBERS)}"))


async def sent(*sizes: int) -> AsyncIterator[bytes]:
    """The messages of a stream."""
    for size in sizes:
        yield b"x" * size


async def collect(requests: Any, context: Any) -> int:
    return len([each async for each in requests])


async def echo(requests: Any, context: Any) -> Any:
    async for each in requests:
        yield each


#: Names of methods: an interceptor wraps each one once.
_NUMBERS = count()
CALLER = Context("ipv4:10.0.0.1:1")


async def test_who_sends_too_many_bytes_in_calls_gets_a_retry_delay(clock: ManualClock) -> None:
    interceptor = interceptor_with(None, nbytes=RateLimiter(100.0, burst=101, clock=clock))
    handler = await wrapped(interceptor, grpc.unary_unary_rpc_method_handler(answer))

    async def call(size: int) -> bytes:
        return await handler.unary_unary(b"x" * size, CALLER)

    # A second's worth at once, and one message more however large it is.
    assert len(await call(90)) == 90
    assert len(await call(500)) == 500
    with pytest.raises(Rejected) as caught:
        await call(1)
    assert caught.value.retry_after == pytest.approx(4.9, abs=0.002)
    clock.advance(4.91)
    assert len(await call(20)) == 20
    # What is refused is not counted.
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            await call(1000)
        assert caught.value.retry_after == pytest.approx(0.19, abs=0.002)


async def test_the_bytes_of_an_upload_are_slowed_down_and_its_messages_are_no_calls(
    clock: ManualClock,
) -> None:
    sleeper = Sleeper(clock)
    rates = {"nbytes": RateLimiter(100.0, burst=101, clock=clock)}
    interceptor = interceptor_with(RateLimiter(1.0, burst=1, clock=clock), sleep=sleeper, **rates)
    handler = await wrapped(interceptor, grpc.stream_unary_rpc_method_handler(collect))

    assert await handler.stream_unary(sent(*[100] * 6), CALLER) == 6
    assert sum(sleeper.slept) == pytest.approx(4.0)
    # A caller who owes bytes begins nothing new.
    clock.advance(0.5)
    with pytest.raises(Rejected, match="bytes"):
        await handler.stream_unary(sent(1), CALLER)


async def test_each_message_of_a_two_way_stream_counts_as_a_call(clock: ManualClock) -> None:
    sleeper = Sleeper(clock)
    interceptor = interceptor_with(RateLimiter(2.0, burst=2, clock=clock), sleep=sleeper)
    stream = await wrapped(interceptor, grpc.stream_stream_rpc_method_handler(echo))
    single = await wrapped(interceptor, grpc.unary_unary_rpc_method_handler(answer))

    assert len([each async for each in stream.stream_stream(sent(*[1] * 6), CALLER)]) == 6
    # Two at once, then two a second.
    assert sum(sleeper.slept) == pytest.approx(2.0)
    with pytest.raises(Rejected, match="calls"):
        await single.unary_unary(b"x", CALLER)
    with pytest.raises(Rejected, match="calls"):
        _ = [each async for each in stream.stream_stream(sent(1), CALLER)]


async def test_a_caller_has_so_many_calls_at_once_and_others_have_their_own() -> None:
    interceptor = interceptor_with(None, max_concurrent=2)
    over = asyncio.Event()

    async def waits(request: Any, context: Any) -> bytes:
        await over.wait()
        return b"y"

    single = (await wrapped(interceptor, grpc.unary_unary_rpc_method_handler(waits))).unary_unary
    watch = (await wrapped(interceptor, grpc.unary_stream_rpc_method_handler(answers))).unary_stream
    other = Context("ipv4:10.0.0.2:1")
    running = asyncio.create_task(single(b"x", CALLER))
    events = watch(b"x", CALLER)
    assert await anext(events) == b"x"
    await asyncio.sleep(0)
    with pytest.raises(Rejected, match="at most 2 concurrent calls"):
        await single(b"x", CALLER)
    with pytest.raises(Rejected):
        await anext(watch(b"x", CALLER))
    assert await anext(watch(b"x", other)) == b"x"
    # A call that ends, or whose caller leaves, makes room.
    await events.aclose()
    cancelled = asyncio.create_task(single(b"x", CALLER))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    over.set()
    assert await single(b"x", CALLER) == await running == b"y"


async def test_health_checks_are_not_limited(clock: ManualClock) -> None:
    interceptor = interceptor_with(RateLimiter(1.0, burst=1, clock=clock))
    check = await wrapped(
        interceptor, grpc.unary_unary_rpc_method_handler(answer), "/grpc.health.v1.Health/Check"
    )
    assert [await check.unary_unary(b"x", CALLER) for _ in range(3)] == [b"x"] * 3
    single = await wrapped(interceptor, grpc.unary_unary_rpc_method_handler(answer))
    assert await single.unary_unary(b"x", CALLER) == b"x"
    with pytest.raises(Rejected):
        await single.unary_unary(b"x", CALLER)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("ipv4:10.0.0.1:1", "ipv4:10.0.0.1:2", True),
        ("ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1", False),
        ("ipv4:10.0.0.1:1", "ipv6:[::ffff:10.0.0.1]:1", True),
        ("ipv6:%5B2600::1%5D:1", "ipv6:[2600::1]:2", True),
        ("ipv6:[2600::1]:1", "ipv6:[2600::ffff:1:2:3]:1", True),
        ("ipv6:[2600::1]:1", "ipv6:[2600:0:0:1::1]:1", False),
        ("ipv6:[fd00::1]:1", "ipv6:[fd00::2]:1", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "ipv6:%5Bfe80::2%25eth0%5D:1", False),
        ("ipv4:unknown:0", "ipv4:10.0.0.1:1", False),
    ],
)
def test_addresses_that_one_client_can_use_share_their_limits(
    first: str, second: str, *, is_same: bool
) -> None:
    assert (rates.address_of(Context(first)) == rates.address_of(Context(second))) is is_same
