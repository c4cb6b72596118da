"""A real receiver of traces on the loopback: OTLP over gRPC, as a collector has it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver(stubs.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.endpoint = ""

    def Export(  # noqa: N802 - named by the contract
        self, request: pb.ExportTraceServiceRequest, context: Any
    ) -> pb.ExportTraceServiceResponse:
        with self._lock:
            for resource in request.resource_spans:
                attributes = resource.resource.attributes
                self.resources.append({each.key: each.value.string_value for each in attributes})
                for scope in resource.scope_spans:
                    self._spans += scope.spans
        return pb.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            return list(self._spans)

    def named(self, name: str) -> list[Span]:
        """The spans of a name, in the order in which they came."""
        return [span for span in self.spans if span.name == name]

    def children(self, span: Span) -> list[str]:
        """The names of a span's parts."""
        return sorted(each.name for each in self.spans if each.parent_span_id == span.span_id)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver while the block runs."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    stubs.add_TraceServiceServicer_to_server(receiver, server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()
