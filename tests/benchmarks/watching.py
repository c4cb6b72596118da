"""What metrics and traces add to a call: ratios within one run, of an echo over gRPC on the loopback.

Run as ``python tests/benchmarks/watching.py [CALLS]``. Times are of the processor, client and
server together. An echo does nothing else, so the ratio is the worst case; the other column is the
share that the same addition has in a Predict of 10 milliseconds.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.observability.call_metrics import MethodMetrics
from headstart_server.observability.open_telemetry import OpenTelemetryTracing
from headstart_server.observability.telemetry import Telemetry, configure_logs
from headstart_server.observability.tracing import NO_TRACING, Tracing

#: Many short ones: what else the machine does falls on all kinds alike.
_ROUNDS = 61
_PREDICT_SECONDS = 0.010


class Nowhere(SpanExporter):
    """Takes spans and sends them nowhere."""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Uncounted(MethodMetrics):
    """Counts nothing: the interceptor without its metrics."""

    def __init__(self) -> None:
        self.started = self.received = lambda: None

    def ended(self, code: str, seconds: float, exemplar: Any = None) -> None:
        pass

    def writing(self, serialize: Any) -> Any:
        return serialize


class Silent(Telemetry):
    """Telemetry whose calls are not counted."""

    def __init__(self) -> None:
        super().__init__("bench")
        self.calls.method = lambda *_, **__: Uncounted()


def traces() -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return OpenTelemetryTracing(provider)


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def served(interceptor: CallInterceptor) -> tuple[grpc.aio.Server, grpc.aio.Channel, Any]:
    server = grpc.aio.server(interceptors=[interceptor])
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.Echo", {"Say": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    return server, channel, channel.unary_unary("/a.Echo/Say")


async def seconds_of(call: Any, calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        await call(b"hello")
    return (time.process_time() - started) / calls


async def main(calls: int) -> None:
    kinds = {
        "neither": CallInterceptor(CallObserver(Silent())),
        "metrics": CallInterceptor(CallObserver(Telemetry("bench"), NO_TRACING)),
        "metrics and traces": CallInterceptor(CallObserver(Telemetry("bench"), traces())),
    }
    served_by = {name: await served(interceptor) for name, interceptor in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(_ROUNDS):
        for name, (_, _, call) in served_by.items():
            times[name].append(await seconds_of(call, calls))
    bare = statistics.median(times["neither"])
    print(f"{calls} calls in each of {_ROUNDS} rounds, the median; processor time of client and server.")
    print(f"{'':20}{'of an echo':>12}{'added':>10}{'of a 10 ms Predict':>20}")
    for name in kinds:
        ratio = statistics.median(
            each / base for each, base in zip(times[name], times["neither"], strict=True)
        )
        added = (ratio - 1) * bare
        print(f"{name:20}{ratio:>11.3f}x{added * 1e6:>7.1f} us{1 + added / _PREDICT_SECONDS:>19.4f}x")
    for server, channel, _ in served_by.values():
        await channel.close()
        await server.stop(0)


if __name__ == "__main__":
    # As a server logs by default: else a line for each call would be what is measured.
    configure_logs(level="info", json=True)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
