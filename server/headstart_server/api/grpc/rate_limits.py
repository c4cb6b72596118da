"""How many calls and bytes a second each caller may send."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isasyncgenfunction
from typing import Any

import grpc

from headstart_server.api.grpc.handlers import behaviour_of, changed
from headstart_server.api.grpc.requests.request_parsing import REQUEST_BYTES
from headstart_server.api.grpc.telemetry_interceptor import Context
from headstart_server.errors import RateExceeded
from headstart_server.settings.job_groups import LimitsGroup

#: Callers that are known at once before those are forgotten who have been quiet for long enough.
MOST_KNOWN = 1024
#: Never held up: a server must not look dead to those who watch it because a neighbour calls too often. What
#: reflection tells is the same for all and lies in memory.
_FREE = ("/grpc.health.", "/grpc.reflection.")


class RateLimiter:
    """A bucket of tokens for each caller, kept as the time at which it is full again (GCRA, ITU-T I.371).

    For one thread.

    Args:
        rate: tokens a second, on average; above 0.
        burst: tokens at once after a pause. Default: those of a second, at least one.
        clock: seconds that only go up.
    """

    def __init__(
        self, rate: float, *, burst: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / rate
        self._slack = (max(1, math.ceil(rate) if burst is None else burst) - 1) * self._interval
        self._clock = clock
        self._full: dict[str, float] = {}
        self._most = MOST_KNOWN

    def __len__(self) -> int:
        return len(self._full)

    def take(self, caller: str, tokens: int = 1) -> float:
        """Take tokens; returns 0, or if there is none the seconds until there is one.

        Who takes more than there are owes the rest: whatever is larger than the bucket could never pass else.
        """
        now = self._clock()
        full = max(self._full.get(caller, now), now)
        wait = full - now - self._slack
        # Sums of intervals are off by some rounding.
        if wait > max(self._interval * 1e-6, 1e-9):
            return wait
        self._full[caller] = full + tokens * self._interval
        if len(self._full) > self._most:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget those whose buckets are full; look again when twice as many are known as are left."""
        self._full = {caller: full for caller, full in self._full.items() if full > now}
        self._most = max(MOST_KNOWN, 2 * len(self._full))


class RateInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls of those who call too often or send too much.

    What it raises becomes a status where all errors do.
    Calls at once are counted, too: some wait for hours, and whoever has all of the server's would leave none.
    A stream is refused when it begins, and then slowed down: its messages wait until they may come, so that a
    large one ends, and nothing of it is sent twice. Of a stream that is answered message by message each one
    counts as a call; of one with a single answer only their bytes count.

    Args:
        calls: how many calls each caller may make; None for any number.
        who: names the caller of a call. Default: the address it comes from, without the port.
        nbytes: how many bytes of requests each caller may send; None for any number.
        at_once: how many calls of each caller may run at once; 0 for any number.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        calls: RateLimiter | None,
        who: Callable[[Context], str] | None = None,
        *,
        nbytes: RateLimiter | None = None,
        at_once: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._bytes = nbytes
        self._at_once = at_once
        self._running: Counter[str] = Counter()
        self._who = who or address_of
        self._sleep = sleep

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a method."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_FREE):
            return handler
        inner = behaviour_of(handler)
        # grpc.aio takes generators and, of streams of answers, coroutines that write to the context.
        wrap = self._streaming if isasyncgenfunction(inner) else self._unary
        begin: Any = self._check
        if handler.request_streaming:
            begin = partial(self._begin, counts_messages=bool(handler.response_streaming))
        return changed(handler, behaviour=wrap(inner, begin))

    def _unary(self, inner: Any, begin: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            with self._running_for(context) as who:
                return await inner(begin(request, who), context)

        return call

    def _streaming(self, inner: Any, begin: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            with self._running_for(context) as who:
                async for response in inner(begin(request, who), context):
                    yield response

        return call

    @contextmanager
    def _running_for(self, context: Context) -> Iterator[str]:
        """Count a call while it runs; gives the name of its caller."""
        who = self._who(context)
        if not self._at_once:
            yield who
            return
        if self._running[who] >= self._at_once:
            raise RateExceeded(
                f"Expected at most {self._at_once} calls of one caller at once. Received: one more. Wait for "
                "one of them to end.",
                metadata={"subject": "calls at once", "limit": str(self._at_once)},
                retry_after=1.0,
            )
        self._running[who] += 1
        try:
            yield who
        finally:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]

    def _check(self, request: Any, who: str) -> Any:
        """Take what a call with one request takes, or refuse it."""
        if self._bytes is not None:
            _refuse(self._bytes.take(who, REQUEST_BYTES.get()), "bytes")
        if self._calls is not None:
            _refuse(self._calls.take(who), "calls")
        return request

    def _begin(self, requests: AsyncIterator[Any], who: str, *, counts_messages: bool) -> AsyncIterator[Any]:
        if self._bytes is not None:
            # Who owes bytes begins nothing new.
            _refuse(self._bytes.take(who, 0), "bytes")
        if self._calls is not None:
            _refuse(self._calls.take(who), "calls")
        counted = self._calls if counts_messages else None
        return requests if counted is None and self._bytes is None else self._paced(requests, who, counted)

    async def _paced(
        self, requests: AsyncIterator[Any], who: str, calls: RateLimiter | None
    ) -> AsyncIterator[Any]:
        is_first = True
        async for request in requests:
            nbytes = REQUEST_BYTES.get()
            if self._bytes is not None:
                await self._turn(self._bytes, who, nbytes)
            # The first was paid for when the stream began.
            if calls is not None and not is_first:
                await self._turn(calls, who, 1)
            is_first = False
            yield request

    async def _turn(self, rates: RateLimiter, who: str, tokens: int) -> None:
        # Nothing more is read meanwhile, so the connection holds up who sends.
        while wait := rates.take(who, tokens):
            await self._sleep(wait)


def rates_of(limits: LimitsGroup, who: Callable[[Context], str]) -> RateInterceptor | None:
    """What the settings say; None where nothing is limited, so that it costs nothing."""
    calls, nbytes = limits.rate_limit, limits.bandwidth_limit
    if not calls and not nbytes and not limits.max_concurrent_requests_per_caller:
        return None
    return RateInterceptor(
        RateLimiter(calls) if calls else None,
        who,
        # A second's worth at once, whatever is in it.
        nbytes=RateLimiter(nbytes, burst=math.ceil(nbytes) + 1) if nbytes else None,
        at_once=limits.max_concurrent_requests_per_caller or 0,
    )


def address_of(context: Context) -> str:
    """The address that a call comes from, without the port."""
    return str(context.peer()).rpartition(":")[0]


def _refuse(wait: float, what: str) -> None:
    if wait:
        raise RateExceeded(
            f"Expected fewer {what} of one caller. Received: too many. Try again in {wait:.2g} s.",
            metadata={"subject": what},
            retry_after=wait,
        )
