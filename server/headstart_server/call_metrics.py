"""The metrics of gRPC calls, named as the dashboards of the field expect them.

Names, labels and the values of `grpc_type` are those of the Prometheus interceptors of gRPC; `grpc_code` has
gRPC's own names of its codes, such as `NOT_FOUND`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

#: Bounds of durations, in seconds.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

_OF_METHOD = ("grpc_type", "grpc_service", "grpc_method")
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
        self._started = Counter(
            "grpc_server_started_total", "Calls that arrived.", _OF_METHOD, registry=registry
        )
        self._handled = Counter(
            "grpc_server_handled_total",
            "Calls that ended, by code.",
            (*_OF_METHOD, "grpc_code"),
            registry=registry,
        )
        self._handling = Histogram(
            "grpc_server_handling_seconds",
            "Time from a call's arrival to its end.",
            _OF_METHOD,
            buckets=SECONDS,
            registry=registry,
        )
        self._received = Counter(
            "grpc_server_msg_received_total",
            "Messages that came from callers and could be read.",
            _OF_METHOD,
            registry=registry,
        )
        self._sent = Counter(
            "grpc_server_msg_sent_total", "Messages that were sent to callers.", _OF_METHOD, registry=registry
        )

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
