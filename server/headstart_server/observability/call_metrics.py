"""The metrics of gRPC calls, named as the dashboards of the field expect them.

Names, labels and the values of `grpc_type` are those of the Prometheus interceptors of gRPC; `grpc_code` has
gRPC's own names of its codes, such as `NOT_FOUND`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from headstart_server.observability import metrics

_TYPES = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


class CallMetrics:
    """Counts and times calls by method.

    Only methods that a server has are told of, so the number of series is bounded by its contract: one for
    each method, and of `grpc_server_handled_total` one for each code that a method has ended with.

    Args:
        registry: where the metrics are read.
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
        """The series of one method, all at 0 until it is called.

        Args:
            path: ``/package.Service/Method``.
            request_streaming: whether its callers send a stream.
            response_streaming: whether it answers with a stream.
        """
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
    """The series of one method, found once: finding one by its labels takes longer than counting.

    Args:
        started: counts arrivals.
        handled: gives the counter of a code.
        handling: times calls.
        received: counts messages from callers.
        sent: counts messages to callers.
    """

    def __init__(
        self,
        *,
        started: Counter,
        handled: Callable[[str], Counter],
        handling: Histogram,
        received: Counter,
        sent: Counter,
    ) -> None:
        self._find = handled
        self._handled = {"OK": handled("OK")}
        self._observe = handling.observe
        self._sent = sent.inc
        self.started, self.received = started.inc, received.inc

    def ended(self, code: str, seconds: float, exemplar: Mapping[str, str] | None = None) -> None:
        """A call ended with a gRPC code after some seconds.

        Args:
            code: its name.
            seconds: from arrival to end.
            exemplar: labels that point at the call, such as its trace; None for none.
        """
        counter = self._handled.get(code)
        if counter is None:
            counter = self._handled[code] = self._find(code)
        counter.inc()
        self._observe(seconds, None if exemplar is None else dict(exemplar))

    def writing(self, serialize: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
        """A serializer of responses that counts what it has written; None hands bytes on."""
        sent = self._sent

        def write(message: Any) -> Any:
            data = message if serialize is None else serialize(message)
            sent()
            return data

        return write
