"""How many calls a second each caller may make."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isasyncgenfunction
from typing import Any

import grpc

from headstart_server.errors import RateExceeded
from headstart_server.rpc.calls import Context

#: Callers that are known at once before those are forgotten who have been quiet for long enough.
MOST_KNOWN = 1024
#: Never held up: a server must not look dead to those who watch it because a neighbour calls too often.
_FREE = "/grpc.health."


class Rates:
    """A bucket of tokens for each caller, kept as the time at which it is full again (GCRA, ITU-T I.371).

    For one thread.

    Args:
        rate: calls a second, on average; above 0.
        burst: calls at once after a pause. Default: those of a second, at least one.
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

    def take(self, caller: str) -> float:
        """Take a token; returns 0, or if there is none the seconds until there is one."""
        now = self._clock()
        full = max(self._full.get(caller, now), now)
        wait = full - now - self._slack
        # Sums of intervals are off by some rounding.
        if wait > self._interval * 1e-6:
            return wait
        self._full[caller] = full + self._interval
        if len(self._full) > self._most:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget those whose buckets are full; look again when twice as many are known as are left."""
        self._full = {caller: full for caller, full in self._full.items() if full > now}
        self._most = max(MOST_KNOWN, 2 * len(self._full))


class RateInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls of those who call too often. What it raises becomes a status where all errors do.

    Args:
        rates: what each caller may do.
        who: names the caller of a call. Default: the address it comes from, without the port.
    """

    def __init__(self, rates: Rates, who: Callable[[Context], str] | None = None) -> None:
        self._rates = rates
        self._who = who or address_of

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a method."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_FREE):
            return handler
        if handler.request_streaming and handler.response_streaming:
            # Reflection, and inference in streams, which are not counted.
            return handler
        codecs: Any = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.stream_unary), **codecs)
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary), **codecs)
        inner: Any = handler.unary_stream
        wrap = self._streaming if isasyncgenfunction(inner) else self._unary
        return grpc.unary_stream_rpc_method_handler(wrap(inner), **codecs)

    def _unary(self, inner: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            self._check(context)
            return await inner(request, context)

        return call

    def _streaming(self, inner: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            self._check(context)
            async for response in inner(request, context):
                yield response

        return call

    def _check(self, context: Context) -> None:
        wait = self._rates.take(self._who(context))
        if wait:
            raise RateExceeded(
                f"Expected fewer calls of one caller. Received: too many. Try again in {wait:.2g} s.",
                retry_after=wait,
            )


def address_of(context: Context) -> str:
    """The address that a call comes from, without the port."""
    return str(context.peer()).rpartition(":")[0]
