"""The port of the metrics: limits of connections and times, and host names."""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from prometheus_client import CollectorRegistry, Gauge

from fakes import PATIENCE
from headstart_server.inbound.connections import ADDRESS_SHARE
from headstart_server.inbound.known_hosts import KnownHosts
from headstart_server.observability import metrics_port
from headstart_server.observability.metrics_port import MetricsPort
from server_process import eventually

HOST = "127.0.0.1"
Open = Callable[..., MetricsPort]


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "An answer.", registry=registry).set(42)
    return registry


@pytest.fixture
def opened(registry: CollectorRegistry) -> Iterator[Open]:
    """Open a port, which the test's end closes."""
    with ExitStack() as closing:

        def open_port(client_seconds: float = PATIENCE, *names: str) -> MetricsPort:
            hosts = KnownHosts([HOST, *names])
            port = MetricsPort(HOST, 0, registry, hosts, client_seconds=client_seconds)
            closing.callback(port.close)
            return port

        yield open_port


def answer(port: MetricsPort, request: bytes) -> tuple[bytes, bytes]:
    """Send a request; return the head and the content of the response."""
    with socket.create_connection((HOST, port.port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        head, _, content = all_of(connection).partition(b"\r\n\r\n")
    return head, content


def all_of(connection: socket.socket) -> bytes:
    """Return the bytes until the port closes the connection."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def get(host: str, *headers: str, path: str = "/metrics") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


def test_the_page_has_the_metrics_in_the_requested_form(opened: Open) -> None:
    port = opened()
    head, content = answer(port, get("localhost"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"content-length: {len(content)}".encode() in head
    assert b"\nanswer 42.0\n" in content
    head, content = answer(port, get("localhost", "accept: application/openmetrics-text; version=1.0.0"))
    assert b"application/openmetrics-text" in head
    assert content.endswith(b"# EOF\n")
    head, content = answer(port, get("localhost", "Accept-Encoding: gzip"))
    assert b"\nanswer 42.0\n" in gzip.decompress(content)
    assert answer(port, get("localhost", path="/metrics?name[]=other"))[1] == b""


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9090", "10.1.2.3:9090", "[fd00::1]:9090", "a.mesh:9090", "localhost"]
)
def test_addresses_and_known_names_may_read(opened: Open, host: str) -> None:
    assert answer(opened(PATIENCE, "*.mesh"), get(host))[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:9090", ""])
def test_a_page_whose_name_points_at_this_machine_reads_nothing(opened: Open, host: str) -> None:
    head, content = answer(opened(), get(host))
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert content.endswith(b"add it with --allow-http-host.\n")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\r\n\r\n", 400),
        (b"\xff\x00 no request\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 403),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 4000, 431),
    ],
)
def test_other_requests_are_refused(opened: Open, request_: bytes, code: int) -> None:
    assert answer(opened(), request_)[0].startswith(b"HTTP/1.1 %d " % code)


def test_connections_are_limited_and_need_no_threads(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "_MAX_CONNECTIONS", 12)
    port = opened()
    before = set(threading.enumerate())
    with ExitStack() as held:
        connections = [
            held.enter_context(socket.create_connection((HOST, port.port), timeout=PATIENCE))
            for _ in range(8)
        ]
        # Connections are accepted in their order, so those that it keeps come first.
        for connection in connections[12 // ADDRESS_SHARE :]:
            with pytest.raises(ConnectionError):
                _closed(connection)
        assert not set(threading.enumerate()) - before
        connections[0].sendall(get("localhost"))
        assert b"\nanswer 42.0\n" in all_of(connections[0])


def _closed(connection: socket.socket) -> None:
    """Raise ConnectionError once the port has closed a connection."""
    if connection.recv(1) == b"":
        raise ConnectionResetError


def test_slow_requests_end_and_leave_others_the_port(opened: Open) -> None:
    port = opened(0.2)
    with ExitStack() as held:
        connections = [
            held.enter_context(socket.create_connection((HOST, port.port), timeout=PATIENCE))
            for _ in range(4)
        ]
        for connection in connections[:2]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        for connection in connections:
            with pytest.raises(ConnectionError):
                _closed(connection)


def test_a_client_that_does_not_read_its_response_ends(
    registry: CollectorRegistry, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One connection for each address.
    monkeypatch.setattr(metrics_port, "_MAX_CONNECTIONS", ADDRESS_SHARE)
    large = Gauge("large", "More than the buffers of a connection hold.", ["name"], registry=registry)
    for number in range(20_000):
        large.labels(f"{number:0500}").set(1)
    port = opened(2.0)

    def is_free() -> bool:
        try:
            return answer(port, get("localhost", path="/metrics?name[]=answer"))[1].endswith(b"answer 42.0\n")
        except ConnectionError:
            return False

    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.settimeout(PATIENCE)
        silent.connect((HOST, port.port))
        silent.sendall(get("localhost"))
        eventually(is_free, PATIENCE, "a port that takes connections again")
        with suppress(ConnectionError):
            assert len(all_of(silent)) < 10_000_000


def test_a_closed_port_is_free_and_ends_its_connections(opened: Open) -> None:
    port = opened()
    with socket.create_connection((HOST, port.port), timeout=PATIENCE) as connection:
        assert b"answer" in answer(port, get("localhost"))[1]
        port.close()
        with pytest.raises(ConnectionError):
            _closed(connection)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port.port), timeout=PATIENCE)
    port.close()


def test_a_port_in_use_is_named(opened: Open) -> None:
    port = opened().port
    with pytest.raises(
        OSError, match=f"Cannot listen on 127.0.0.1:{port} for metrics: .* another --metrics-port"
    ):
        MetricsPort(HOST, port, CollectorRegistry(), KnownHosts([]))
