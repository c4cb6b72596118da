"""The interceptor of every call: it observes the call, checks it, and parses its requests once.

The first failing step ends the call. The steps are, in this order: reject calls of a stopping server, run the
checks before the request, parse the request within the contract's limits, check it, run the method. Errors
become statuses here, for every protocol.
"""

# Annotations are not evaluated: grpc's handler class accepts type arguments in its stubs only.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from headstart_server.api.grpc.call import Call, CallCheck, Context, Method
from headstart_server.api.grpc.call_observer import HEALTH, CallObserver
from headstart_server.api.grpc.draining import CallDrain, draining_error
from headstart_server.api.grpc.requests.request_parsing import RequestParser, read_request
from headstart_server.api.grpc.status import status_of
from headstart_server.errors import InvalidField

#: Reflection answers from descriptors in memory and reports errors in its responses. It is off by default.
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
#: Forms of handlers, by whether requests and responses are streams.
_FORMS: Any = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}


def behavior_of(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    """Return the function of a handler, for any combination of unary and streaming messages."""
    _, name = _FORMS[bool(handler.request_streaming), bool(handler.response_streaming)]
    return getattr(handler, name)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Handle every call.

    Args:
        observer: records each call.
        checks: the checks that calls must pass, in this order.
    """

    def __init__(self, observer: CallObserver, checks: Sequence[CallCheck] = ()) -> None:
        self._observer = observer
        self._checks = tuple(checks)
        self._knows = _hooks(checks, "knows")
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.drain = CallDrain()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler of a method, which is the same for each of its calls."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None or details.method == _REFLECTION:
                return handler
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        return wrapped

    async def knows(self, method: str, context: Context) -> bool:
        """Return whether every check knows the caller, so that its request must be received."""
        for knows in self._knows:
            if not await knows(method, context):
                return False
        return True

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], name: str) -> grpc.RpcMethodHandler[Any, Any]:
        method = Method(name, bool(handler.request_streaming), bool(handler.response_streaming))
        path = _MethodPath(self._observer, self.drain, method, self._checks, handler)
        make, _ = _FORMS[method.request_streaming, method.response_streaming]
        # `_MethodPath` parses requests, because it turns errors into statuses. gRPC would end calls with
        # malformed bytes as UNKNOWN and not count them.
        made: grpc.RpcMethodHandler[Any, Any] = make(
            path.streaming if method.response_streaming else path.unary,
            response_serializer=path.metrics.writing(handler.response_serializer),
        )
        return made


class _MethodPath:
    """The steps of a method's calls, built once for each method."""

    def __init__(
        self,
        observer: CallObserver,
        drain: CallDrain,
        method: Method,
        checks: Sequence[CallCheck],
        handler: grpc.RpcMethodHandler[Any, Any],
    ) -> None:
        applied = [check for check in checks if check.applies_to(method)]
        self.begins = _hooks(applied, "begin")
        self.requests = _hooks(applied, "request")
        self.responses = _hooks(applied, "response")
        #: The last check ends first.
        self.ends = _hooks(applied, "end")[::-1]
        self.observer, self.drain, self.method = observer, drain, method
        self.metrics = observer.method(method)
        self.is_health = method.name.startswith(HEALTH)
        self._parse = _parser_of(handler)
        self._inner = behavior_of(handler)

    async def unary(self, request: Any, context: Context) -> Any:
        """Handle a call with a single response."""
        call = Call(self.method, context)
        async with _Observed(self, call):
            response = await self._inner(await self._admitted(call, request), context)
            for change in self.responses:
                await change(call, response)
            return response

    async def streaming(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """Handle a call with a stream of responses."""
        call = Call(self.method, context)
        async with (
            _Observed(self, call),
            aclosing(self._inner(await self._admitted(call, request), context)) as responses,
        ):
            async for response in responses:
                for change in self.responses:
                    await change(call, response)
                yield response

    async def _admitted(self, call: Call, request: Any) -> Any:
        """Return the request or requests of a call after the checks that precede them."""
        for check in self.begins:
            await check(call)
        return self._each(call, request) if self.method.request_streaming else await self._one(call, request)

    async def _one(self, call: Call, content: bytes) -> Any:
        message = await read_request(self._parse, content)
        self.metrics.received()
        for check in self.requests:
            await check(call, message)
        return message

    async def _each(self, call: Call, contents: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield the requests of a stream, each parsed and checked when the method reads it."""
        async for content in contents:
            yield await self._one(call, content)


class _Observed:
    """Observe a call, end it in time when the server stops, and turn its error into a status."""

    __slots__ = ("_call", "_has_begun", "_path", "_span", "_task")

    def __init__(self, path: _MethodPath, call: Call) -> None:
        self._path, self._call = path, call
        self._has_begun = False

    async def __aenter__(self) -> None:
        path = self._path
        self._span = path.observer.started(self._call, path.metrics)
        self._task = asyncio.current_task()
        if path.drain.is_draining and not path.is_health:
            try:
                await path.drain.reject()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        path.drain.add(self._task)
        self._has_begun = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        path, code = self._path, "OK"
        try:
            if self._has_begun:
                error = self._ended(error)
            if error is not None:
                status_code, status = _code_and_status(error, self._call)
                code = status_code.name
                if status is not None:
                    await self._call.context.abort_with_status(status)
        finally:
            path.observer.ended(self._call, path.metrics, self._span, code)

    def _ended(self, error: BaseException | None) -> BaseException | None:
        """Run the last hook of each check; return the error, or `Draining` if the server ended the call."""
        was_ended = self._path.drain.remove(self._task)
        for end in self._path.ends:
            try:
                end(self._call, error)
            except Exception as raised:  # noqa: BLE001 - becomes the status, and the other checks still end
                error = raised
        if was_ended and isinstance(error, asyncio.CancelledError):
            return draining_error(begun=True)
        return error


def _code_and_status(error: BaseException, call: Call) -> tuple[grpc.StatusCode, Any]:
    """Return the code that an error ends a call with, and the status to abort it with, if any."""
    if isinstance(error, grpc.aio.AbortError):
        return _code_of(call.context), None
    if isinstance(error, DecodeError):
        error = InvalidField(
            f"The request is not a valid message of {call.method.name}. Send the message that the contract "
            "declares."
        )
    if isinstance(error, Exception):
        status: Any = rpc_status.to_status(status_of(error))
        return status.code, status
    # The caller disconnected, or its deadline passed: gRPC reports that itself.
    return grpc.StatusCode.CANCELLED, None


def _code_of(context: Context) -> grpc.StatusCode:
    """Return the code with which a handler aborted; grpc.aio stores it as a number."""
    number: Any = context.code()
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def _hooks(checks: Sequence[CallCheck], name: str) -> list[Any]:
    """Return one hook of each check that has it."""
    return [
        getattr(check, name) for check in checks if getattr(type(check), name) is not getattr(CallCheck, name)
    ]


def _parser_of(handler: grpc.RpcMethodHandler[Any, Any]) -> RequestParser | None:
    """Return the parser of a handler's requests; None for a handler that accepts bytes."""
    parse: Any = handler.request_deserializer
    return None if parse is None else RequestParser(parse.__self__.DESCRIPTOR, parse)
