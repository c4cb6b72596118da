"""Metrics, traces and the log of gRPC calls."""

import time

import structlog

from headstart_server.api.grpc.call import Call, Method
from headstart_server.observability.call_metrics import MethodMetrics
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Span, Tracing

HEALTH = "/grpc.health.v1.Health/"


class CallObserver:
    """Observe calls: count and time them, and write a span and a line of the debug log for each."""

    def __init__(self, telemetry: Telemetry, tracing: Tracing = NO_TRACING) -> None:
        self._telemetry = telemetry
        self._tracing = tracing
        # Bound once, because a module's logger looks up the logging configuration at each use.
        self._log = structlog.get_logger(__name__).bind()

    def method(self, method: Method) -> MethodMetrics:
        """Return the metrics of a method."""
        return self._telemetry.calls.method(
            method.name,
            request_streaming=method.request_streaming,
            response_streaming=method.response_streaming,
        )

    def started(self, call: Call, metrics: MethodMetrics) -> Span | None:
        """Record that a call began; return its span, if any."""
        metrics.started()
        # Health checks come every few seconds and would flood the traces.
        if self._tracing.is_on and not call.method.name.startswith(HEALTH):
            return self._tracing.call(call.method.name, call.context.invocation_metadata)
        return None

    def ended(self, call: Call, metrics: MethodMetrics, span: Span | None, code: str) -> None:
        """Record that a call ended with a gRPC code."""
        seconds = time.perf_counter() - call.started
        metrics.ended(code, seconds, None if span is None else span.exemplar)
        if span is not None:
            span.end(code)
        self._log.debug("call_completed", method=call.method.name, code=code, seconds=round(seconds, 6))
