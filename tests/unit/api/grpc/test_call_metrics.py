"""Metrics of calls: names and labels that dashboards of gRPC servers ask for, and no series beyond them."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.errors import ModelNotFound
from headstart_server.observability.telemetry import Telemetry
from server_process import Samples

UNARY = {"grpc_type": "unary", "grpc_service": "a.B", "grpc_method": "Say"}
STREAM = {"grpc_type": "server_stream", "grpc_service": "a.B", "grpc_method": "Watch"}
COLLECT = {"grpc_type": "client_stream", "grpc_service": "a.B", "grpc_method": "Collect"}


class Context:
    """What a handler is given in addition to the request."""

    async def abort_with_status(self, status: Any) -> None:
        raise grpc.aio.AbortError(status.code)


async def say(request: HealthCheckRequest, context: Any) -> HealthCheckRequest:
    if request.service == "anonymous":
        raise ModelNotFound("There is no model 'anonymous'.")
    return request


async def watch(request: HealthCheckRequest, context: Any) -> AsyncIterator[HealthCheckRequest]:
    for letter in request.service:
        yield HealthCheckRequest(service=letter)


async def collect(requests: AsyncIterator[HealthCheckRequest], context: Any) -> HealthCheckRequest:
    return HealthCheckRequest(service="".join([each.service async for each in requests]))


class Calls:
    """Calls of the methods above, by way of the interceptor, and what was counted of them."""

    def __init__(self) -> None:
        self.telemetry = Telemetry("test")
        self._interceptor = CallInterceptor(CallObserver(self.telemetry))
        codec = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckRequest.SerializeToString,
        }
        self._handlers = {
            "/a.B/Say": grpc.unary_unary_rpc_method_handler(say, **codec),
            "/a.B/Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
            "/a.B/Collect": grpc.stream_unary_rpc_method_handler(collect, **codec),
        }

    async def handler(self, method: str) -> grpc.RpcMethodHandler:
        async def find(details: Any) -> grpc.RpcMethodHandler | None:
            return self._handlers.get(details.method)

        return await self._interceptor.intercept_service(find, SimpleNamespace(method=method))

    @property
    def samples(self) -> Samples:
        return Samples(sample for family in self.telemetry.registry.collect() for sample in family.samples)

    @property
    def series(self) -> int:
        return sum(
            len(family.samples)
            for family in self.telemetry.registry.collect()
            if family.name.startswith("grpc_server")
        )


@pytest.fixture
def calls() -> Calls:
    return Calls()


def text(value: str) -> bytes:
    return HealthCheckRequest(service=value).SerializeToString()


async def one_by_one(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value


async def unary(calls: Calls, data: bytes) -> None:
    handler = await calls.handler("/a.B/Say")
    # A unary request is parsed within the wrapped handler, so that bytes that are no message are counted too.
    assert handler.request_deserializer is None
    handler.response_serializer(await handler.unary_unary(data, Context()))


async def test_a_unary_call_counts_one_message_each_way(calls: Calls):
    await unary(calls, text("hello"))

    assert calls.samples.value("grpc_server_started_total", **UNARY) == 1
    assert calls.samples.value("grpc_server_handled_total", grpc_code="OK", **UNARY) == 1
    assert calls.samples.value("grpc_server_handling_seconds_count", **UNARY) == 1
    assert calls.samples.value("grpc_server_msg_received_total", **UNARY) == 1
    assert calls.samples.value("grpc_server_msg_sent_total", **UNARY) == 1


async def test_a_refused_call_sends_no_message_and_is_counted_by_its_code(calls: Calls):
    with pytest.raises(grpc.aio.AbortError):
        await unary(calls, text("anonymous"))

    assert calls.samples.value("grpc_server_handled_total", grpc_code="NOT_FOUND", **UNARY) == 1
    assert calls.samples.value("grpc_server_msg_received_total", **UNARY) == 1
    assert calls.samples.value("grpc_server_msg_sent_total", **UNARY) == 0


async def test_bytes_that_are_no_message_were_not_received(calls: Calls):
    with pytest.raises(grpc.aio.AbortError):
        await unary(calls, b"\xff\xff")

    assert calls.samples.value("grpc_server_started_total", **UNARY) == 1
    assert calls.samples.value("grpc_server_handled_total", grpc_code="INVALID_ARGUMENT", **UNARY) == 1
    assert calls.samples.value("grpc_server_msg_received_total", **UNARY) == 0


async def test_each_message_of_a_stream_to_the_caller_is_counted(calls: Calls):
    handler = await calls.handler("/a.B/Watch")
    async for response in handler.unary_stream(text("abc"), Context()):
        handler.response_serializer(response)

    assert calls.samples.value("grpc_server_msg_received_total", **STREAM) == 1
    assert calls.samples.value("grpc_server_msg_sent_total", **STREAM) == 3


async def test_each_message_of_a_stream_from_the_caller_is_counted(calls: Calls):
    handler = await calls.handler("/a.B/Collect")
    response = await handler.stream_unary(one_by_one(*map(text, "ab")), Context())

    assert handler.response_serializer(response) == text("ab")
    assert calls.samples.value("grpc_server_msg_received_total", **COLLECT) == 2
    assert calls.samples.value("grpc_server_msg_sent_total", **COLLECT) == 1


async def test_methods_there_are_not_make_no_series(calls: Calls):
    before = calls.series
    for number in range(50):
        assert await calls.handler(f"/a.B/Guess{number}") is None
    assert calls.series == before == 0


def test_an_exemplar_goes_with_the_bucket_it_fell_into():
    telemetry = Telemetry("test")
    telemetry.calls.method("/a.B/Say").ended("OK", 0.0015, {"trace_id": "ab"})

    (family,) = [each for each in telemetry.registry.collect() if each.name == "grpc_server_handling_seconds"]
    shown = {sample.labels["le"]: sample.exemplar for sample in family.samples if "le" in sample.labels}
    assert {bound for bound, exemplar in shown.items() if exemplar} == {"0.002"}
    assert shown["0.002"].labels == {"trace_id": "ab"}
