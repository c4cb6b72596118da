"""The interceptor: a handler is wrapped once for each method, and nothing is kept for unknown ones."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from headstart_server.api.grpc.call import Call, CallCheck
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.observability.telemetry import Telemetry

REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


async def answer(request: Any, context: Any) -> Any:
    return request


@dataclass
class Server:
    """The handlers of a server, and which of them were looked up."""

    handlers: dict[str, grpc.RpcMethodHandler] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    async def find(self, details: "Details") -> grpc.RpcMethodHandler | None:
        self.requested.append(details.method)
        return self.handlers.get(details.method)


@dataclass
class Details:
    """What is known of a call before it is handled."""

    method: str


@pytest.fixture
def server() -> Server:
    make = grpc.unary_unary_rpc_method_handler
    return Server({name: make(answer) for name in ("/a/Predict", "/a/Embed")})


@pytest.fixture
def interceptor() -> CallInterceptor:
    return CallInterceptor(CallObserver(Telemetry("test")))


async def test_a_handler_is_wrapped_once_for_all_calls_of_its_method(
    interceptor: CallInterceptor, server: Server
) -> None:
    first = await interceptor.intercept_service(server.find, Details("/a/Predict"))
    again = await interceptor.intercept_service(server.find, Details("/a/Predict"))
    other = await interceptor.intercept_service(server.find, Details("/a/Embed"))
    assert first is again
    assert first.unary_unary is not answer
    assert other.unary_unary is not first.unary_unary
    assert server.requested == ["/a/Predict", "/a/Embed"]


async def test_an_unknown_method_is_looked_up_each_time_and_not_cached(
    interceptor: CallInterceptor, server: Server
) -> None:
    for _ in range(2):
        assert await interceptor.intercept_service(server.find, Details("/a/Unknown")) is None
    assert server.requested == ["/a/Unknown"] * 2
    server.handlers["/a/Unknown"] = server.handlers["/a/Predict"]
    assert await interceptor.intercept_service(server.find, Details("/a/Unknown")) is not None


async def test_reflection_is_left_as_it_is(interceptor: CallInterceptor, server: Server) -> None:
    handler = server.handlers[REFLECT] = grpc.stream_stream_rpc_method_handler(answer)
    for _ in range(2):
        assert await interceptor.intercept_service(server.find, Details(REFLECT)) is handler


async def test_a_method_with_both_sides_streaming_is_wrapped(
    interceptor: CallInterceptor, server: Server
) -> None:
    server.handlers["/a/Both"] = grpc.stream_stream_rpc_method_handler(answer)
    wrapped = await interceptor.intercept_service(server.find, Details("/a/Both"))
    assert wrapped is not None
    assert wrapped.stream_stream is not answer


@dataclass
class Ended:
    """The context of a call, which keeps the status that it is ended with."""

    status: Any = None

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise grpc.aio.AbortError

    def code(self) -> int:
        return int(self.status.code.value[0])

    @property
    def begun(self) -> str:
        """What the status says of whether the call was begun."""
        ((_, packed),) = self.status.trailing_metadata
        info = error_details_pb2.ErrorInfo()
        rpc_status.status_pb2.Status.FromString(packed).details[0].Unpack(info)
        assert info.reason == "DRAINING"
        return info.metadata["begun"]


async def test_a_call_that_a_stopping_server_turns_away_reports_that_it_was_not_begun(
    interceptor: CallInterceptor, server: Server
) -> None:
    call = (await interceptor.intercept_service(server.find, Details("/a/Predict"))).unary_unary
    interceptor.drain.reject_new_calls()
    context = Ended()
    with pytest.raises(grpc.aio.AbortError):
        await call(b"", context)
    assert context.begun == "false"


async def test_a_call_that_is_ended_when_its_server_stops_reports_that_it_was_begun(
    interceptor: CallInterceptor, server: Server
) -> None:
    begun = asyncio.Event()

    async def endless(request: Any, context: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    server.handlers["/a/Delete"] = grpc.unary_unary_rpc_method_handler(endless)
    call = (await interceptor.intercept_service(server.find, Details("/a/Delete"))).unary_unary
    context = Ended()
    running = asyncio.create_task(call(b"", context))
    await begun.wait()
    interceptor.drain.end_calls()
    with pytest.raises(grpc.aio.AbortError):
        await running
    assert context.begun == "true"


@dataclass
class Recorded(CallCheck):
    """A check that records its hooks, and fails at some."""

    name: str
    steps: list[str]
    fails_at: str = ""

    async def begin(self, call: Call) -> None:
        self._step("begin")

    async def request(self, call: Call, message: Any) -> None:
        self._step("request")

    def end(self, call: Call, error: BaseException | None) -> None:
        self._step("end")

    def _step(self, hook: str) -> None:
        self.steps.append(f"{self.name} {hook}")
        if self.fails_at == hook:
            raise RuntimeError(f"{self.name} fails")


@pytest.mark.parametrize(
    ("fails_at", "expected"),
    [
        ("", ["a begin", "b begin", "a request", "b request", "method", "b end", "a end"]),
        ("begin", ["a begin", "b begin", "b end", "a end"]),
        ("request", ["a begin", "b begin", "a request", "b request", "b end", "a end"]),
        ("end", ["a begin", "b begin", "a request", "b request", "method", "b end", "a end"]),
    ],
)
async def test_checks_run_in_order_and_a_call_that_fails_one_goes_no_further(
    server: Server, fails_at: str, expected: list[str]
) -> None:
    steps: list[str] = []

    async def method(request: Any, context: Any) -> Any:
        steps.append("method")
        return request

    server.handlers["/a/Checked"] = grpc.unary_unary_rpc_method_handler(method)
    checks = [Recorded("a", steps), Recorded("b", steps, fails_at)]
    interceptor = CallInterceptor(CallObserver(Telemetry("test")), checks)
    call = (await interceptor.intercept_service(server.find, Details("/a/Checked"))).unary_unary
    context = Ended()
    if fails_at:
        with pytest.raises(grpc.aio.AbortError):
            await call(b"x", context)
        assert context.status.code is grpc.StatusCode.INTERNAL
    else:
        assert await call(b"x", context) == b"x"
    assert steps == expected
