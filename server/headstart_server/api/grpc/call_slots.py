"""Limits of concurrent calls on the gRPC port, in total and for callers without a token.

gRPC receives the message of a unary call before its handler runs. So an unidentified caller could hold a call
and the memory for a message. Here handlers run first, and then wait for the message.
"""

# Annotations are not evaluated: grpc's handler class accepts type arguments in its stubs only.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc
from grpc_status import rpc_status

from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.interceptor import behavior_of
from headstart_server.api.grpc.permissions import RULES, Subject
from headstart_server.api.grpc.rate_limits import RunningCalls, address_of
from headstart_server.api.grpc.status import status_of
from headstart_server.errors import DeadlineExceeded, HeadstartError, InvalidField, RateExceeded

T = TypeVar("T")


class MessageTimeouts:
    """Limit the time that calls wait for their message, with one timer for all of them.

    A separate timer for each call, as in `asyncio.timeout`, takes as long as parsing a small message.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their deadlines, because all have the same time limit.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, message: Awaitable[T]) -> T:
        """Return the message of the current task's call.

        Raise DeadlineExceeded if it does not arrive in time.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is None:
            raise RuntimeError("A call runs in a task of the event loop.")
        self._ends[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._cancel_late, loop)
        try:
            return await message
        except asyncio.CancelledError:
            # The caller may have disconnected at the same time.
            if task in self._late and not task.uncancel():
                raise DeadlineExceeded(
                    f"The message of the call did not come within {self._seconds:g} s."
                ) from None
            raise
        finally:
            self._ends.pop(task, None)
            self._late.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._timer = loop.time(), None
        for task, end in list(self._ends.items()):
            if end > now:
                self._timer = loop.call_at(end, self._cancel_late, loop)
                return
            del self._ends[task]
            self._late.add(task)
            task.cancel()


#: Methods that need no token: health checks and reflection.
OPEN_METHODS = frozenset(method for method, rule in RULES.items() if rule.on is Subject.NONE)
#: Maximum concurrent streams without a token, such as Health.Watch, per address and in total.
STREAMS_PER_ADDRESS, STREAMS = 64, 1024
#: Maximum concurrent unary calls without a token, such as Health.Check, per address.
CHECKS_PER_ADDRESS = 64
#: Seconds in which the message of a health check, and of any other unary call, must arrive.
CHECK_SECONDS, MESSAGE_SECONDS = 10.0, 120.0

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Knows = Callable[[str, Any], Awaitable[bool]]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class CallSlots(grpc.aio.ServerInterceptor):
    """Reject calls above the limits. The first interceptor of a server, because it counts every call.

    Health checks do not use the slots of other calls, so they are answered under any load. Separate limits
    apply to them per address.

    Args:
        slots: concurrent calls of methods that need a token.
        knows: as `CallInterceptor.knows`; None if all callers are known.
        check_seconds: time limit for the message of a health check.
        message_seconds: time limit for the message of any other unary call.
    """

    def __init__(
        self,
        slots: int,
        knows: Knows | None = None,
        *,
        check_seconds: float = CHECK_SECONDS,
        message_seconds: float = MESSAGE_SECONDS,
    ) -> None:
        self._slots = slots
        self._knows = knows
        self._check_timeouts = MessageTimeouts(check_seconds)
        self._message_timeouts = MessageTimeouts(message_seconds)
        self._streams = RunningCalls()
        self._checks = RunningCalls()
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}
        #: Calls that hold a slot.
        self.held = 0

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler of a method."""
        handler = await continuation(details)
        if handler is None:
            return None
        inner, wrapped = self._wrapped.get(details.method, (None, None))
        if wrapped is None or inner is not handler:
            wrapped = self._wrap(handler, details.method)
            self._wrapped[details.method] = (handler, wrapped)
        return wrapped

    def _wrap(self, handler: Handler, method: str) -> Handler:
        """Return a handler that runs before the message of its call has arrived."""
        inner, streams = behavior_of(handler), handler.request_streaming

        async def unary(requests: AsyncIterator[Any], context: Context) -> Any:
            is_known, release = await self._begin(handler, method, context)
            try:
                return await inner(
                    (requests if streams else await self._request(method, context, is_known)), context
                )
            except HeadstartError as error:
                failure = error
            finally:
                release()
            return await _abort(context, failure)

        async def stream(requests: AsyncIterator[Any], context: Context) -> None:
            is_known, release = await self._begin(handler, method, context)
            try:
                request = requests if streams else await self._request(method, context, is_known)
                await _write(inner(request, context), context)
                return
            except HeadstartError as error:
                failure = error
            finally:
                release()
            await _abort(context, failure)

        make: Any = grpc.stream_unary_rpc_method_handler
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler
        wrapped: Handler = make(
            stream if handler.response_streaming else unary,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    async def _begin(
        self, handler: Handler, method: str, context: Context
    ) -> tuple[bool, Callable[[], None]]:
        """Return whether the caller is known, and the function that releases the slot of its call."""
        try:
            # First, so that the call holds no slot while the check of its token waits for the issuer.
            is_known = self._knows is None or await self._knows(method, context)
            return is_known, self._acquire(handler, method, context)
        except HeadstartError as error:
            await _abort(context, error)

    async def _request(self, method: str, context: Context, is_known: bool) -> Any:
        """Return the message of a unary call once it has arrived."""
        if not is_known:
            # The handler rejects the caller before it parses the message.
            return b""
        timeouts = self._check_timeouts if method in OPEN_METHODS else self._message_timeouts
        # The iterator is not used, because its end would need another task.
        message = await timeouts.wait_for(context.read())
        if message is grpc.aio.EOF:
            raise InvalidField("The call has no message. Send one.")
        return message

    def _acquire(self, handler: Handler, method: str, context: Context) -> Callable[[], None]:
        """Count a call; return the function that stops counting it.

        Raise RateExceeded if a limit is reached.
        """
        if method not in OPEN_METHODS:
            if self.held >= self._slots:
                raise _no_slot(self._slots)
            self.held += 1
            return self._release
        running, most, total = self._checks, CHECKS_PER_ADDRESS, None
        if handler.response_streaming:
            running, most, total = self._streams, STREAMS_PER_ADDRESS, STREAMS
        address = address_of(context)
        if (total is not None and running.total() >= total) or not running.start(address, most):
            raise _too_many_of(most, total)
        return partial(running.end, address)

    def _release(self) -> None:
        self.held -= 1


async def _abort(context: Context, error: HeadstartError) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status_of(error)))


async def _write(responses: Any, context: Context) -> None:
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _no_slot(slots: int) -> RateExceeded:
    return RateExceeded(
        f"All {slots} concurrent calls of this server are in use. Try again in a moment, or raise "
        "--max-concurrent-requests.",
        metadata={"subject": "calls at once", "limit": str(slots)},
        retry_after=1.0,
    )


def _too_many_of(most: int, total: int | None) -> RateExceeded:
    of_all = "" if total is None else f", and {total} from all"
    return RateExceeded(
        f"At most {most} concurrent calls of this kind may come from one address{of_all}. End others first.",
        metadata={"subject": "calls without a token", "limit": str(most)},
        retry_after=1.0,
    )
