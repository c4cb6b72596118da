"""The per-caller limits: calls and bytes per second, and concurrent calls."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any
from urllib.parse import unquote

from headstart_server.api.grpc.call import Call, CallCheck, Context, Method
from headstart_server.api.grpc.requests.request_parsing import REQUEST_BYTES
from headstart_server.errors import RateExceeded
from headstart_server.inbound.connections import client_of
from headstart_server.processes.caller_table import BYTES, CALLS, CallerTable
from headstart_server.settings.job_groups import LimitsGroup

#: The number of callers in memory above which callers with a full bucket are forgotten.
MAX_CALLERS = 1024
#: Methods without limits: health checks must not fail because another client at the same address calls too
#: often, and reflection only reads descriptors in memory.
_FREE = ("/grpc.health.", "/grpc.reflection.")
#: Takes the tokens of a number of bytes for the stream of the current task; None without a limit.
_TAKE_BYTES: ContextVar[Callable[[int], Awaitable[None]] | None] = ContextVar("take_bytes", default=None)


class RateLimiter:
    """A token bucket for each caller, stored as the time at which it is full again (GCRA, ITU-T I.371).

    Not safe to use from several threads.

    Args:
        rate: average tokens per second; above 0.
        burst: tokens of a full bucket. Default: the tokens of one second, at least one.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, rate: float, *, burst: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / rate
        self._slack = (max(1, math.ceil(rate) if burst is None else burst) - 1) * self._interval
        self._clock = clock
        self._full: dict[str, float] = {}
        self._most = MAX_CALLERS

    def __len__(self) -> int:
        return len(self._full)

    def acquire(self, caller: str, tokens: int = 1) -> float:
        """Take tokens and return 0, or return the seconds until a token is available.

        A caller may take more tokens than are left, and then owes the rest. Otherwise a request larger than
        the bucket could never pass.
        """
        now = self._clock()
        wait, full = self._take(self._full.get(caller, now), now, tokens)
        if wait:
            return wait
        self._full[caller] = full
        if len(self._full) > self._most:
            self._forget(now)
        return 0.0

    def _take(self, full: float, now: float, tokens: int) -> tuple[float, float]:
        """Return the seconds until a token is available, and when the bucket is full again."""
        full = max(full, now)
        wait = full - now - self._slack
        # The sums of intervals have rounding errors.
        if wait > max(self._interval * 1e-6, 1e-9):
            return wait, full
        return 0.0, full + tokens * self._interval

    def _forget(self, now: float) -> None:
        """Forget callers with a full bucket; check again once twice as many as remain are in memory."""
        self._full = {caller: full for caller, full in self._full.items() if full > now}
        self._most = max(MAX_CALLERS, 2 * len(self._full))


class SharedRateLimiter(RateLimiter):
    """Token buckets that all serving processes of a server share.

    Args:
        table: the table of callers.
        bucket: `CALLS` or `BYTES`.
        rate: average tokens per second; above 0.
        burst: as in `RateLimiter`.
    """

    def __init__(self, table: CallerTable, bucket: int, rate: float, *, burst: int | None = None) -> None:
        super().__init__(rate, burst=burst)
        self._table = table
        self._bucket = bucket

    def acquire(self, caller: str, tokens: int = 1) -> float:
        """Take tokens as in `RateLimiter.acquire`."""
        now, wait = self._clock(), 0.0

        def change(full: float) -> float:
            nonlocal wait
            wait, changed = self._take(full, now, tokens)
            return changed

        self._table.exchange(caller, self._bucket, now, change)
        return wait


class RunningCalls:
    """The number of concurrent calls of each caller in this process."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    def start(self, caller: str, most: int) -> bool:
        """Count a call; return False if the caller has the most already."""
        if self._running[caller] >= most:
            return False
        self._running[caller] += 1
        return True

    def end(self, caller: str) -> None:
        """Stop counting a call."""
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]

    def total(self) -> int:
        """Return the number of calls of all callers."""
        return self._running.total()


class SharedRunningCalls:
    """The number of concurrent calls of each caller in all serving processes of a server.

    Args:
        table: the table of callers.
    """

    def __init__(self, table: CallerTable) -> None:
        self._table = table

    def start(self, caller: str, most: int) -> bool:
        """Count a call; return False if the caller has the most already."""
        return self._table.start_call(caller, time.monotonic(), most)

    def end(self, caller: str) -> None:
        """Stop counting a call."""
        self._table.end_call(caller, time.monotonic())


class RateCheck(CallCheck):
    """Reject calls of callers who call too often, send too much, or have too many concurrent calls.

    Concurrent calls are limited, too, because some wait for hours. A stream can be rejected only when it
    begins. Later its messages wait for their tokens, so a large upload is slowed down rather than sent twice.
    Each message of a bidirectional stream counts as a call; for an upload, only the bytes count. Bytes of a
    body over HTTP count as they arrive, and messages count only what exceeds these bytes.

    Args:
        calls: limits the calls of each caller; None for no limit.
        key_of: returns the key of a call's caller. Default: its address, without the port.
        nbytes: limits the bytes of requests of each caller; None for no limit.
        max_concurrent: maximum concurrent calls of each caller; 0 for no limit.
        running: counts concurrent calls; None counts the calls of this process.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        calls: RateLimiter | None,
        key_of: Callable[[Context], str] | None = None,
        *,
        nbytes: RateLimiter | None = None,
        max_concurrent: int = 0,
        running: RunningCalls | SharedRunningCalls | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._bytes = nbytes
        self._max_concurrent = max_concurrent
        self._running = running or RunningCalls()
        self._key_of = key_of or address_of
        self._sleep = sleep

    def applies_to(self, method: Method) -> bool:
        """Return whether the limits apply: not to health checks and reflection."""
        return not method.name.startswith(_FREE)

    async def begin(self, call: Call) -> None:
        """Check a stream before its first message."""
        if call.method.request_streaming:
            self._start(call, 0)
            if self._bytes is not None:
                _TAKE_BYTES.set(partial(self._take_bytes, self._bytes, call))

    async def request(self, call: Call, message: Any) -> None:
        """Check a single request, or delay a message of a stream until its tokens are available."""
        del message
        if not call.method.request_streaming:
            self._start(call, REQUEST_BYTES.get())
            return
        if self._bytes is not None:
            await self._take_rest(self._bytes, call, REQUEST_BYTES.get())
        # The first message was counted when the stream began.
        if self._calls is not None and call.method.response_streaming and call.paid_messages:
            await self._wait(self._calls, call.rate_key, 1)
        call.paid_messages += 1

    def end(self, call: Call, error: BaseException | None) -> None:
        """Stop counting a concurrent call."""
        del error
        if self._max_concurrent and call.is_counted:
            self._running.end(call.rate_key)

    def _start(self, call: Call, nbytes: int) -> None:
        call.rate_key = self._key_of(call.context)
        if self._max_concurrent:
            self._count(call)
        if self._bytes is not None:
            # Checked with 0 bytes, too: a caller who owes bytes must not begin a call.
            _check_wait(self._bytes.acquire(call.rate_key, nbytes), "bytes")
        if self._calls is not None:
            _check_wait(self._calls.acquire(call.rate_key), "calls")

    def _count(self, call: Call) -> None:
        if not self._running.start(call.rate_key, self._max_concurrent):
            raise RateExceeded(
                f"A caller may have at most {self._max_concurrent} concurrent calls. Wait for one of them to "
                "end.",
                metadata={"subject": "calls at once", "limit": str(self._max_concurrent)},
                retry_after=1.0,
            )
        call.is_counted = True

    async def _take_bytes(self, limiter: RateLimiter, call: Call, nbytes: int) -> None:
        call.paid_bytes += nbytes
        await self._wait(limiter, call.rate_key, nbytes)

    async def _take_rest(self, limiter: RateLimiter, call: Call, nbytes: int) -> None:
        """Take the tokens of a message that were not taken when its bytes arrived."""
        paid = min(call.paid_bytes, nbytes)
        call.paid_bytes -= paid
        if paid < nbytes or not paid:
            await self._wait(limiter, call.rate_key, nbytes - paid)

    async def _wait(self, limiter: RateLimiter, key: str, tokens: int) -> None:
        # Nothing more is read meanwhile, so flow control stops the sender.
        while wait := limiter.acquire(key, tokens):
            await self._sleep(wait)


async def take_bytes(nbytes: int) -> None:
    """Delay the stream of the current task until its caller may send more bytes than the ones that arrived.

    Called before the bytes are read or stored. Their messages may come much later, or never.
    """
    take = _TAKE_BYTES.get()
    if take is not None:
        await take(nbytes)


def rate_check(
    limits: LimitsGroup, key_of: Callable[[Context], str], table: CallerTable | None = None
) -> RateCheck | None:
    """Return the check that the settings require; None if nothing is limited.

    Args:
        limits: the settings.
        key_of: returns the key of a call's caller.
        table: counts callers for all serving processes; None if there is one process.
    """
    calls, nbytes = limits.rate_limit, limits.bandwidth_limit
    if not calls and not nbytes and not limits.max_concurrent_requests_per_caller:
        return None
    # The burst of bytes is one second's, independent of the burst of calls.
    burst = math.ceil(nbytes or 0) + 1
    most = limits.max_concurrent_requests_per_caller or 0
    if table is None:
        of_calls = RateLimiter(calls) if calls else None
        of_bytes = RateLimiter(nbytes, burst=burst) if nbytes else None
        return RateCheck(of_calls, key_of, nbytes=of_bytes, max_concurrent=most)
    return RateCheck(
        SharedRateLimiter(table, CALLS, calls) if calls else None,
        key_of,
        nbytes=SharedRateLimiter(table, BYTES, nbytes, burst=burst) if nbytes else None,
        max_concurrent=most,
        running=SharedRunningCalls(table),
    )


def address_of(context: Context) -> str:
    """Return the address under which limits count the caller of a call, such as `ipv4:10.0.0.1`."""
    # gRPC escapes the brackets of IPv6 addresses.
    family, _, place = unquote(str(context.peer())).partition(":")
    client = client_of(place.rpartition(":")[0].strip("[]"))
    return f"{family if ':' in client else 'ipv4'}:{client}"


def _check_wait(wait: float, what: str) -> None:
    if wait:
        raise RateExceeded(
            f"The caller sends too many {what}. Try again in {wait:.2g} s.",
            metadata={"subject": what},
            retry_after=wait,
        )
