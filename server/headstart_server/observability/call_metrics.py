"""The metrics of gRPC calls, with the names that public dashboards expect.

Names, labels and the values of `grpc_type` are those of the Prometheus interceptors of gRPC; `grpc_code` has
gRPC's names of the status codes, such as `NOT_FOUND`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from headstart_server.observability import metrics
from headstart_server.observability.counter import CounterSeries
from headstart_server.observability.histogram import HistogramSeries

_TYPES = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


class CallMetrics:
    """Count and time calls by method.

    Only the server's own methods are recorded, so its contract bounds the number of series.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = metrics.GRPC_STARTED.counter(registry)
        self._handled = metrics.GRPC_HANDLED.counter(registry)
        self._handling = metrics.GRPC_HANDLING.histogram(registry)
        self._received = metrics.GRPC_RECEIVED.counter(registry)
        self._sent = metrics.GRPC_SENT.counter(registry)

    def method(
        self, path: str, *, request_streaming: bool = False, response_streaming: bool = False
    ) -> "MethodMetrics":
        """Return the series of ``/package.Service/Method``, all at 0 until it is called."""
        service, _, name = path.removeprefix("/").rpartition("/")
        labels = (_TYPES[request_streaming, response_streaming], service, name)
        return MethodMetrics(
            started=self._started.labels(*labels),
            handled=lambda code: self._handled.labels(*labels, code),
            handling=self._handling.labels(*labels),
            received=self._received.labels(*labels),
            sent=self._sent.labels(*labels),
        )


class MethodMetrics:
    """The series of one method, found once: finding one by its labels takes longer than counting."""

    def __init__(
        self,
        *,
        started: CounterSeries,
        handled: Callable[[str], CounterSeries],
        handling: HistogramSeries,
        received: CounterSeries,
        sent: CounterSeries,
    ) -> None:
        self._find = handled
        self._handled = {"OK": handled("OK")}
        self._observe = handling.observe
        self._sent = sent.inc
        self.started, self.received = started.inc, received.inc

    def ended(self, code: str, seconds: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Record the end of a call: its gRPC code, its seconds, and labels that point to its trace."""
        counter = self._handled.get(code)
        if counter is None:
            counter = self._handled[code] = self._find(code)
        counter.inc()
        self._observe(seconds, exemplar)

    def writing(self, serialize: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
        """Return a serializer that counts responses; None returns bytes unchanged."""
        sent = self._sent

        def write(message: Any) -> Any:
            data = message if serialize is None else serialize(message)
            sent()
            return data

        return write
