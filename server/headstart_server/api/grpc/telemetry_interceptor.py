"""What happens around every call: it is counted, timed, and its errors become statuses."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from headstart_server.api.grpc.handlers import behaviour_of, replaced
from headstart_server.api.grpc.requests.request_parsing import read_request
from headstart_server.api.grpc.status import status_of
from headstart_server.errors import Draining, InvalidField
from headstart_server.observability.call_metrics import MethodMetrics
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

_HEALTH = "/grpc.health.v1.Health/"
_REFLECTION = "/grpc.reflection."

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts and times calls, and turns what their handlers raise into statuses.

    Args:
        telemetry: is told of each call.
        tracing: makes a span of each call, if traces are on.
    """

    def __init__(self, telemetry: Telemetry, tracing: Tracing = NO_TRACING) -> None:
        self._telemetry = telemetry
        self._tracing = tracing
        self._turning_away: asyncio.Event | None = None
        #: Calls that came since new ones are held.
        self.held = 0
        self._running: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._methods: dict[str, MethodMetrics] = {}

    def hold_new_calls(self) -> None:
        """Let calls that come from now on wait for `turn_away`; only health checks are answered."""
        self._turning_away = asyncio.Event()

    def turn_away(self) -> None:
        """Fail the calls that were held, and all further ones, with `Draining`."""
        self._turning_away = self._turning_away or asyncio.Event()
        self._turning_away.set()

    def end_calls(self) -> None:
        """End the calls that still run, with `Draining`: gRPC would end them without a reason."""
        for task in self._running:
            self._ended.add(task)
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a method; the same for each of its calls."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None:
                return None
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        if method.startswith(_REFLECTION):
            # It reports its errors in its answers.
            return handler
        parse: Any = handler.request_deserializer
        metrics = self._methods[method] = self._telemetry.calls.method(
            method,
            request_streaming=handler.request_streaming,
            response_streaming=handler.response_streaming,
        )
        # Requests are parsed in the calls below, where errors become statuses: bytes that are no message
        # would else end the call as UNKNOWN, and uncounted.
        inner = behaviour_of(handler)
        # grpc.aio takes generators and, as health's Watch is, coroutines that write to the context.
        is_stream = handler.response_streaming and isasyncgenfunction(inner)
        if handler.request_streaming:
            read: Any = partial(_read_each, parse, metrics)
            is_stream = bool(handler.response_streaming)
        else:
            read = partial(_read_one, parse, metrics)
        wrap = self._streaming if is_stream else self._unary
        return replaced(
            handler, wrap(method, inner, read), serializer=metrics.writing(handler.response_serializer)
        )

    def _unary(self, method: str, inner: Any, read: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self._watched(method, context):
                return await inner(await read(request), context)

        return call

    def _streaming(self, method: str, inner: Any, read: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._watched(method, context):
                async for response in inner(await read(request), context):
                    yield response

        return call

    @asynccontextmanager
    async def _watched(self, method: str, context: Context) -> AsyncIterator[None]:
        started = time.perf_counter()
        metrics = self._methods[method]
        metrics.started()
        span = None
        # Health is asked for every few seconds, by machines.
        if self._tracing.is_on and not method.startswith(_HEALTH):
            span = self._tracing.call(method, context.invocation_metadata)
        code = grpc.StatusCode.OK
        task = asyncio.current_task()
        try:
            async with self._drained(task, method):
                yield
        except (asyncio.CancelledError, GeneratorExit):
            # The caller left, or its deadline passed: gRPC tells it so itself.
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        except Exception as error:  # noqa: BLE001 - told to the caller, and logged by `status_of`
            if isinstance(error, DecodeError):
                error = InvalidField(f"Expected the contract's message for {method}. Received: other bytes.")
            status = rpc_status.to_status(status_of(error))
            code = status.code
            await context.abort_with_status(status)
        finally:
            seconds = time.perf_counter() - started
            metrics.ended(code.name, seconds, None if span is None else span.exemplar)
            if span is not None:
                span.end(code.name)
            log.debug("call_completed", method=method, code=code.name, seconds=round(seconds, 6))

    @asynccontextmanager
    async def _drained(self, task: asyncio.Task[Any] | None, method: str) -> AsyncIterator[None]:
        """Turn a call away, or end it in time, when the server stops."""
        if self._turning_away is not None and not method.startswith(_HEALTH):
            self.held += 1
            await self._turning_away.wait()
            raise _draining(begun=False)
        if task is None:
            yield
            return
        self._running.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            raise _draining(begun=True) from None
        finally:
            self._running.discard(task)
            self._ended.discard(task)


async def _read_one(parse: Any, metrics: MethodMetrics, content: bytes) -> Any:
    request = await read_request(parse, content)
    metrics.received()
    return request


async def _read_each(
    parse: Any, metrics: MethodMetrics, contents: AsyncIterator[bytes]
) -> AsyncIterator[Any]:
    """Return the requests of a stream, each parsed when the method reads it."""

    async def requests() -> AsyncIterator[Any]:
        async for content in contents:
            yield await _read_one(parse, metrics, content)

    return requests()


def _draining(*, begun: bool) -> Draining:
    """Says whether the call's work was begun: one that was not may be sent again, whatever it is."""
    return Draining(
        "The server is stopping. Try again at another replica, or in a moment.",
        metadata={"begun": "true" if begun else "false"},
    )


def _code_of(context: Context) -> grpc.StatusCode:
    """The code a handler aborted with; grpc.aio gives it as a number."""
    number: Any = context.code()
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
