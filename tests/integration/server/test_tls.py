"""TLS on the port: who may talk to whom."""

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from certificates import Identity, identity
from chaos.replica import Replica
from headstart_server.__main__ import command
from headstart_server.api.server import SERVICE_NAMES
from integration.server.calls import TIMEOUT, refused
from server_process import START_SECONDS, ServerProcess, eventually, free_port, running

AUTHORITY = identity("authority")
STRANGER = identity("stranger")


@dataclass(frozen=True)
class Ports:
    """A server that shows a certificate, and one that wants to see one as well."""

    tls: ServerProcess
    mutual: ServerProcess


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder = tmp_path_factory.mktemp("tls")
    shown = identity("server", AUTHORITY, x509.DNSName("headstart"))
    files = {"cert": shown.chain, "key": shown.private, "client-ca": AUTHORITY.chain}
    for name, content in files.items():
        (folder / f"{name}.pem").write_bytes(content)
    flags = {name: (f"--tls-{name}", str(folder / f"{name}.pem")) for name in files}
    plain = (*flags["cert"], *flags["key"])
    with (
        running(folder / "one", *plain) as tls,
        running(folder / "two", *plain, *flags["client-ca"], "--http-port", "0") as mutual,
    ):
        # They need not be warm: health answers from the first moment.
        for server in (tls, mutual):
            server.event("listening")
        yield Ports(tls, mutual)


def health(server: ServerProcess, *, trusted: Identity = AUTHORITY, shown: Identity | None = None) -> int:
    credentials = grpc.ssl_channel_credentials(
        trusted.chain, shown.private if shown else None, shown.chain if shown else None
    )
    with grpc.secure_channel(server.target, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status


def test_a_client_that_trusts_the_authority_is_answered(ports: Ports):
    assert health(ports.tls) in (
        health_pb2.HealthCheckResponse.NOT_SERVING,
        health_pb2.HealthCheckResponse.SERVING,
    )


def probed(server: ServerProcess, **settings: Path | str) -> str:
    """What the probes of k8s/components/tls get: the command, at a name that is not in the certificate."""
    port = server.target.rpartition(":")[2]
    arguments = ["health", "--server", f"localhost:{port}", "--service", SERVICE_NAMES[1]]
    environment = {f"HEADSTART_{name}": str(value) for name, value in settings.items()}
    done = CliRunner().invoke(command, arguments, env=environment)
    assert done.exit_code == (0 if done.output.endswith(": SERVING\n") else 1)
    return done.output.partition(": ")[2]


def test_the_command_of_a_probe_checks_the_certificate_by_the_given_name(ports: Ports, tmp_path: Path):
    for name, content in (("ca", AUTHORITY.chain), ("other", STRANGER.chain)):
        (tmp_path / name).write_bytes(content)
    ca = tmp_path / "ca"
    assert probed(ports.tls, CA=ca, TLS_NAME="headstart") in ("SERVING\n", "NOT_SERVING\n")
    for settings in (
        {"CA": ca},
        {"CA": ca, "TLS_NAME": "elsewhere"},
        {"CA": tmp_path / "other", "TLS_NAME": "headstart"},
    ):
        assert probed(ports.tls, **settings).startswith("UNAVAILABLE")


def test_a_client_that_trusts_another_authority_refuses_the_server(ports: Ports):
    refusal = refused(lambda: health(ports.tls, trusted=STRANGER))

    assert refusal.code == grpc.StatusCode.UNAVAILABLE
    assert "CERTIFICATE_VERIFY_FAILED" in refusal.message


def test_a_client_without_tls_is_not_answered(ports: Ports):
    with grpc.insecure_channel(ports.tls.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        refusal = refused(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT))

    assert refusal.code == grpc.StatusCode.UNAVAILABLE


def test_a_client_with_a_certificate_of_the_authority_is_answered_by_a_mutual_port(ports: Ports):
    assert health(ports.mutual, shown=identity("client", AUTHORITY)) in (
        health_pb2.HealthCheckResponse.NOT_SERVING,
        health_pb2.HealthCheckResponse.SERVING,
    )


@pytest.mark.parametrize("shown", [None, STRANGER, identity("client", STRANGER)])
def test_a_mutual_port_refuses_clients_without_a_certificate_of_the_authority(
    ports: Ports, shown: Identity | None
):
    assert refused(lambda: health(ports.mutual, shown=shown)).code == grpc.StatusCode.UNAVAILABLE


def health_over_http(server: ServerProcess, folder: Path, *, shown: Identity | None) -> dict[str, str]:
    context = ssl.create_default_context(cadata=AUTHORITY.chain.decode())
    if shown is not None:
        (folder / "shown.pem").write_bytes(shown.private + shown.chain)
        context.load_cert_chain(folder / "shown.pem")
    url = f"https://{server.event('http_listening')}/v1/health"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        # 503 until the server is warm.
        with error:
            return json.load(error)


def test_the_port_of_http_speaks_tls_with_the_same_files(ports: Ports, tmp_path: Path):
    shown = identity("client", AUTHORITY)
    assert health_over_http(ports.mutual, tmp_path, shown=shown)["status"] in ("SERVING", "NOT_SERVING")


def test_the_port_of_http_refuses_clients_without_a_certificate(ports: Ports, tmp_path: Path):
    # Reported in the handshake, or when the first byte is read.
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        health_over_http(ports.mutual, tmp_path, shown=None)


def test_a_server_with_an_expired_certificate_logs_it(tmp_path: Path) -> None:
    expired = identity("server", AUTHORITY, left=-timedelta(minutes=1))
    (tmp_path / "cert.pem").write_bytes(expired.chain)
    (tmp_path / "key.pem").write_bytes(expired.private)
    files = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    server = Replica(tmp_path / "replica", **files)
    server.start()
    try:
        found = eventually(lambda: server.events("tls_certificate_invalid") or None, START_SECONDS, "it")
    finally:
        server.kill()
    assert [each["cert"] for each in found] == [files["tls_cert"]]


def test_failed_handshakes_and_garbage_leave_a_few_lines_of_json(tmp_path: Path) -> None:
    authority = identity("authority")
    (tmp_path / "cert.pem").write_bytes(authority.chain)
    (tmp_path / "key.pem").write_bytes(authority.private)
    files = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    for settings in (files, {}):
        http_port = free_port()
        server = Replica(tmp_path / str(len(settings)), http_port=http_port, **settings)
        server.start()
        try:
            eventually(lambda server=server: server.events("serving") or None, START_SECONDS, "a server")
            before = len(server.log.splitlines())
            for place in range(500):
                _send_garbage(server.port, place)
                _send_garbage(http_port, place)
        finally:
            server.kill()
        lines = server.log.splitlines()
        assert len(lines) - before <= 5, lines[before:][:20]
        assert all(isinstance(json.loads(line), dict) for line in lines)


def _send_garbage(port: int, place: int) -> None:
    words = [
        b"GET / HTTP/1.0\r\n\r\n",
        b"garbage\r\n\r\n",
        bytes(range(256)),
        b"\x16\x03\x01\x00\xff\x01",
        b"",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(words[place % len(words)])
        if place % 2:
            connection.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                connection.recv(100)
