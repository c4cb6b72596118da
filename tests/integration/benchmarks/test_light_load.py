"""h2load as the benchmarks use it, against servers that succeed and fail."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

import light_load
from light_load import LoadError, grpc_request, http_request, measure
from programs import H2LOAD, Requirement
from server_process import free_port

METHOD = "/test.Service/Call"
#: The rank of the calls that fail among those that may.
FAILS = 7


class Calls:
    """Counts calls, and lets every seventh fail that may.

    Attributes:
        messages: the contents that were received.
        failed: number of failed calls.
    """

    def __init__(self) -> None:
        self.messages: set[bytes] = set()
        self.failed = 0
        self._count = 0
        self._lock = threading.Lock()

    def fails(self, message: bytes) -> bool:
        """Record a call, and return whether it is to fail."""
        with self._lock:
            self._count += 1
            self.messages.add(message)
            fails = message == b"may fail" and self._count % FAILS == 0
            self.failed += fails
            return fails


class Handler(grpc.GenericRpcHandler):
    """Returns the message of a call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._call) if details.method == METHOD else None

    def _call(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        if self._calls.fails(message):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return message


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def target(calls: Calls) -> Iterator[str]:
    H2LOAD.need()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler(calls)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def http_target(calls: Calls) -> Iterator[str]:
    H2LOAD.need()

    class Form(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.messages.add(self.headers["x-kind"].encode())
            self.send_response(503 if calls.fails(body) else 200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Form) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_calls_that_succeed_are_counted_and_timed(target: str, calls: Calls) -> None:
    message = bytes(range(256)) * 400
    measured = measure(grpc_request(target, METHOD, message), callers=3, seconds=1)
    assert measured["failures"] == {}
    assert measured["answered"] == measured["per_second"] > 0
    assert 0 < measured["p50_ms"] <= measured["p99_ms"]
    assert calls.messages == {message}


def test_each_failed_call_is_counted_although_its_http_status_is_200(target: str, calls: Calls) -> None:
    measured = measure(grpc_request(target, METHOD, b"may fail"), callers=2, seconds=1)
    # A call that has failed may not have been received when h2load stops.
    (failure, count) = next(iter(measured["failures"].items()))
    assert failure == "gRPC status 8: the queue is full"
    assert list(measured["failures"]) == [failure]
    assert calls.failed - 2 <= count <= calls.failed


def test_a_missing_method_fails_every_call(target: str) -> None:
    measured = measure(grpc_request(target, "/test.Service/Other", b""), callers=1, seconds=1)
    (failure,) = measured["failures"]
    assert failure.startswith("gRPC status 12: ")
    assert measured["failures"][failure] >= measured["answered"]


def test_a_server_that_does_not_speak_grpc_fails_every_call() -> None:
    output = "requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout\n"
    measured = light_load._measured(output, ["1 200 1000"] * 9, 1.0, is_grpc=True)
    assert measured["failures"] == {"no gRPC status": 9}


def test_a_form_is_sent_with_its_headers_and_failures_are_counted(http_target: str, calls: Calls) -> None:
    content = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Kind: form\r\nContent-Length: 8\r\n\r\nmay fail"
    measured = measure(http_request(http_target, content), callers=2, seconds=1)
    assert calls.messages == {b"form", b"may fail"}
    assert list(measured["failures"]) == ["HTTP status"]
    # Of the calls while it measured, about every seventh.
    assert measured["failures"]["HTTP status"] == pytest.approx(measured["answered"] / FAILS, abs=3)


def test_a_port_on_which_nothing_listens_is_an_error() -> None:
    H2LOAD.need()
    with pytest.raises(LoadError, match="h2load printed"):
        measure(grpc_request(f"127.0.0.1:{free_port()}", METHOD, b""), callers=1, seconds=0.5)


def test_a_missing_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        light_load, "H2LOAD", Requirement(title="h2load", package="a", executables=("no-h2",))
    )
    with pytest.raises(LoadError, match="apt-get install a"):
        measure(grpc_request("127.0.0.1:1", METHOD, b""), callers=1, seconds=0.5)
