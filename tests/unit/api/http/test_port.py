"""The properties of a client's certificate, and the accepted host names."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from headstart_server.api.http.origin_check import known_hosts
from headstart_server.api.http.port import ClientTimeouts, HttpPort, auth_of
from headstart_server.settings.settings import Settings


def test_names_in_a_certificate_have_the_form_of_grpc() -> None:
    certificate = {
        "subject": ((("organizationName", "a"),), (("commonName", "client"),)),
        "subjectAltName": (("DNS", "client.example"), ("URI", "spiffe://example/client")),
    }
    assert auth_of(certificate) == {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [b"client"],
        "x509_subject_alternative_name": [b"client.example", b"spiffe://example/client"],
    }


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost.",
        "LOCALHOST:8080",
        "pets.localhost:1",
        "127.0.0.1:8080",
        "10.1.2.3",
        "[::1]",
        "[fd00::1]:8080",
        "server.example:8080",
        "api.example.com",
        "a.b.example.org:1",
    ],
)
def test_addresses_and_names_of_this_server_are_known(host: str) -> None:
    config = Settings.of(
        host="server.example",
        plaintext=True,
        http_port=0,
        allow_http_host=("api.example.com", "*.example.org"),
    )
    hosts = known_hosts(config)
    assert hosts is not None
    assert host in hosts


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "example.org",
        "evilexample.org",
        "api.example.com.evil",
        "::1",
        "[evil.example]",
        "[::1",
        "0x7f000001",
        "localhost:80:80",
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_names_of_other_sites_are_not_known_wherever_the_port_listens(host: str, address: str) -> None:
    """A page can point its own name at this machine; on all addresses as on the loopback."""
    config = Settings.of(
        host=address,
        plaintext=True,
        http_port=0,
        allow_http_host=("api.example.com", "*.example.org"),
    )
    hosts = known_hosts(config)
    assert hosts is not None
    assert host not in hosts


def test_any_name_is_accepted_with_tls_or_tokens(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    assert known_hosts(Settings.of(tls_cert=cert, tls_key=key)) is None
    assert known_hosts(Settings.of(access_file=tmp_path / "access.toml")) is None


async def test_a_client_that_reads_nothing_of_its_response_ends_and_others_get_theirs() -> None:
    ended: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(32):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})
        ended.append((await receive())["type"])

    port = HttpPort(
        application, "127.0.0.1", 0, None, max_connections=8, timeouts=ClientTimeouts(unread_seconds=5.0)
    )
    port.start()
    request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    try:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect(("127.0.0.1", port.port))
            silent.sendall(request)
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            writer.write(request.replace(b"host:", b"connection: close\r\nhost:"))
            # A pause that is shorter than the limit harms nothing.
            await asyncio.sleep(0.3)
            assert b"end" in (await reader.read())[-64:]
            writer.close()
            async with asyncio.timeout(60):
                while len(ended) < 2:
                    await asyncio.sleep(0.05)
    finally:
        await port.stop(1.0)
    assert set(ended) == {"http.disconnect"}
