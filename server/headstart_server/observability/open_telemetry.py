"""Traces by OpenTelemetry. Nothing imports this module unless a server is told to send traces."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headstart_server.observability.tracing import Metadata, Span, Tracing

#: What a server, not its caller, is to blame for, by OpenTelemetry's conventions for gRPC.
_SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
#: The headers of a span that a call is a part of.
_CARRIED = ("traceparent", "tracestate")
_W3C = TraceContextTextMapPropagator()
_NS = 1e9


def otlp_provider(endpoint: str | None, software: str) -> TracerProvider:
    """Sends spans to a collector over OTLP/gRPC, in the background.

    The variables of OpenTelemetry hold for all that is not given: the endpoint, headers and certificates
    (`OTEL_EXPORTER_OTLP_...`), the share that is kept (`OTEL_TRACES_SAMPLER`), the service's name and
    attributes (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).

    Args:
        endpoint: such as `http://collector:4317`; None for that of the environment.
        software: the version of this software.
    """
    named = Resource.create({SERVICE_VERSION: software})
    if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        named = named.merge(Resource({SERVICE_NAME: "headstart"}))
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class OpenTelemetryTracing(Tracing):
    """Makes spans of calls, stages, jobs and steps.

    Attributes hold names, numbers and codes only: no inputs, labels, metadata, messages of errors or secrets.

    Args:
        provider: makes and sends the spans.
    """

    is_on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("headstart")

    def call(self, method: str, metadata: Callable[[], Metadata | None]) -> Span:
        """As `Tracing.call`; a `traceparent` in the metadata is taken, one that is none is left."""
        service, _, name = method.removeprefix("/").rpartition("/")
        carried = {key: value for key, value in metadata() or () if key in _CARRIED}
        parent = _W3C.extract(carried, contexts.Context())
        span = self._tracer.start_span(
            f"{service}/{name}",
            parent,
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
            record_exception=False,
        )
        # Never detached: each call has a task, and with it a context, of its own.
        contexts.attach(trace.set_span_in_context(span))
        return _CallSpan(span)

    def stages(self, seconds: Mapping[str, float], *, model: str, version: int, inputs: int) -> None:
        """As `Tracing.stages`; the spans are made afterwards, from the times that were taken anyway.

        Of several inputs a stage is as long as its longest. Decoding begins when the versions are found, and
        the backbone ends where the heads begin, so the stages of different inputs may overlap.
        """
        call = trace.get_current_span()
        if not call.is_recording():
            return
        call.set_attributes(
            {"headstart.model": model, "headstart.version": version, "headstart.inputs": inputs}
        )
        end = time.time_ns() / _NS
        start = end - seconds["total"]
        decode = start + seconds["resolve"]
        heads = end - seconds["head"]
        backbone = heads - seconds["backbone"]
        for name, begun, took in (
            ("resolve", start, seconds["resolve"]),
            ("decode", decode, seconds["decode"]),
            ("queue", backbone - seconds["queue"], seconds["queue"]),
            ("backbone", backbone, seconds["backbone"]),
            ("head", heads, seconds["head"]),
        ):
            first = max(start, begun)
            span = self._tracer.start_span(name, start_time=int(first * _NS))
            span.end(int(min(end, first + took) * _NS))

    def context(self) -> str | None:
        """As `Tracing.context`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def job(self, job_id: str, model: str, attempt: int, asked: str | None) -> Span:
        """As `Tracing.job`: a trace of its own, with a link to that of the call.

        The call ended long ago, or on another replica; a job that is a part of it would stretch its trace
        over hours.
        """
        links = []
        if asked is not None:
            call = trace.get_current_span(_W3C.extract({"traceparent": asked})).get_span_context()
            links = [Link(call)] if call.is_valid else []
        span = self._tracer.start_span(
            "job",
            contexts.Context(),
            SpanKind.CONSUMER,
            {"headstart.job_id": job_id, "headstart.model": model, "headstart.attempt": attempt},
            links,
            record_exception=False,
        )
        return _JobSpan(span)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """As `Tracing.step`."""
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                # Its message may name a caller's example.
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def close(self, timeout: float) -> None:
        """As `Tracing.close`."""
        # The exporter waits longer than a stopping server may, if its collector is away.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(timeout)


class _CallSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        if context.trace_flags.sampled:
            self.exemplar = {
                "trace_id": trace.format_trace_id(context.trace_id),
                "span_id": trace.format_span_id(context.span_id),
            }

    def end(self, outcome: str) -> None:
        self._span.set_attribute("rpc.response.status_code", outcome)
        if outcome in _SERVER_FAULTS:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _JobSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token = contexts.attach(trace.set_span_in_context(span))

    def end(self, outcome: str) -> None:
        # The thread goes on with other jobs.
        contexts.detach(self._token)
        self._span.set_attribute("headstart.outcome", outcome)
        if outcome in ("failed", "lost"):
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
