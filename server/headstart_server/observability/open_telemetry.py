"""Traces by OpenTelemetry. Only a server that sends traces imports this module."""

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

#: Codes of failures of the server, by OpenTelemetry's conventions for gRPC.
_SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
#: The headers of a span that a call is a part of.
_CARRIED = ("traceparent", "tracestate")
_W3C = TraceContextTextMapPropagator()
_NS = 1e9


def otlp_provider(endpoint: str | None, software: str) -> TracerProvider:
    """Return a provider that sends spans to a collector over OTLP/gRPC, in the background.

    The environment variables of OpenTelemetry apply to everything else: the endpoint, headers and
    certificates (`OTEL_EXPORTER_OTLP_...`), sampling (`OTEL_TRACES_SAMPLER`), and the name and attributes of
    the service (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).
    """
    named = Resource.create({SERVICE_VERSION: software})
    if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        named = named.merge(Resource({SERVICE_NAME: "headstart"}))
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class OpenTelemetryTracing(Tracing):
    """Record spans of calls, stages, jobs and steps.

    Attributes contain only names, numbers and codes: no inputs, labels, metadata, error messages or secrets.
    """

    is_on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("headstart")

    def call(self, method: str, metadata: Callable[[], Metadata | None]) -> Span:
        """As `Tracing.call`; an invalid `traceparent` in the metadata is ignored."""
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
        # Never detached: each call has a separate task and context.
        contexts.attach(trace.set_span_in_context(span))
        return _CallSpan(span)

    def stages(self, seconds: Mapping[str, float], *, model: str, version: int, inputs: int) -> None:
        """As `Tracing.stages`; the spans are created afterwards, from times that are measured in any case.

        A stage of several inputs is as long as its longest. Decoding begins when the versions are resolved,
        and the backbone ends where the heads begin, so stages of different inputs may overlap.
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

    def job(self, job_id: str, model: str, attempt: int, submitted_by: str | None) -> Span:
        """As `Tracing.job`: a separate trace, with a link to the trace of the call.

        The call ended long ago, or on another replica. In the trace of the call, a job would stretch it over
        hours.
        """
        links = []
        if submitted_by is not None:
            call = trace.get_current_span(_W3C.extract({"traceparent": submitted_by})).get_span_context()
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
        # The exporter waits longer than a stopping server may, if its collector is unavailable.
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
        # The thread continues with other jobs.
        contexts.detach(self._token)
        self._span.set_attribute("headstart.outcome", outcome)
        if outcome in ("failed", "lost"):
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
