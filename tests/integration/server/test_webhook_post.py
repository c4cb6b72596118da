"""Sending a POST to receivers that are slow, unknown or in TLS; no server is needed for it."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from headstart_server.outbound.target import Target
from headstart_server.webhooks import sender as webhook_sender
from headstart_server.webhooks.sender import WebhookPostError, post
from integration.server.test_tls import AUTHORITY, STRANGER, identity

Handle = Callable[[socket.socket], None]


@pytest.fixture
def listen() -> Iterator[Callable[[Handle], int]]:
    """Gives each connection of a port to a function."""
    opened: list[socket.socket] = []

    def begin(handle: Handle) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        handle(connection)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield begin
    for listener in opened:
        listener.close()


def target(port: int, host: str = "127.0.0.1", *, is_tls: bool = False) -> Target:
    return Target(address="127.0.0.1", port=port, host=host, path="/ended?a=b", is_tls=is_tls)


def answering(status: str, seen: list[bytes]) -> Handle:
    def handle(connection: socket.socket) -> None:
        whole = b""
        # A connection that is closed with more to read loses its answer, too.
        while not whole.endswith(b"{}") and (piece := connection.recv(65536)):
            whole += piece
        seen.append(whole)
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

    return handle


def test_the_name_is_sent_though_the_address_is_connected_to(listen: Callable[[Handle], int]):
    seen: list[bytes] = []
    port = listen(answering("204 No Content", seen))

    post(target(port, "hooks.example.com"), {"webhook-id": "1"}, b"{}")

    assert seen[0].startswith(b"POST /ended?a=b HTTP/1.1\r\n")
    assert f"host: hooks.example.com:{port}\r\n".encode() in seen[0]
    assert b"webhook-id: 1\r\n" in seen[0]


def test_proxies_of_the_environment_are_not_used(
    listen: Callable[[Handle], int], monkeypatch: pytest.MonkeyPatch
):
    seen: list[bytes] = []
    by_proxy: list[bytes] = []
    port, proxy = listen(answering("204 No Content", seen)), listen(answering("204 No Content", by_proxy))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    post(target(port), {}, b"{}")

    assert len(seen) == 1
    assert by_proxy == []


@pytest.mark.parametrize(
    ("status", "is_gone"),
    [("500 No", False), ("307 Elsewhere", False), ("410 Gone", True)],
)
def test_other_answers_are_failures(listen: Callable[[Handle], int], status: str, is_gone: bool):
    port = listen(answering(status, []))

    with pytest.raises(WebhookPostError, match=status[:3]) as caught:
        post(target(port), {}, b"{}")

    assert caught.value.is_gone == is_gone


def test_a_receiver_that_is_not_there_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WebhookPostError, match="No answer"):
        post(target(port), {}, b"{}")


def test_an_answer_that_is_no_http_is_a_failure(listen: Callable[[Handle], int]):
    with pytest.raises(WebhookPostError, match="No answer"):
        post(target(listen(answering("nonsense", []))), {}, b"{}")


def test_a_receiver_that_drips_does_not_hold_it_up(
    listen: Callable[[Handle], int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook_sender, "_WHOLE_SECONDS", 0.5)
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        with suppress(OSError):
            while not ended.wait(0.05):
                connection.sendall(b"a")

    port = listen(drip)
    began = time.monotonic()
    with pytest.raises(WebhookPostError):
        post(target(port), {}, b"{}")
    ended.set()
    # It would drip for ever; each byte comes long before the socket's own patience ends.
    assert time.monotonic() - began < 60


def in_tls(chain: bytes, key: bytes, folder: Path, seen: list[bytes]) -> Handle:
    path = folder / "receiver.pem"
    path.write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answering("200 OK", seen)(wrapped)

    return handle


@pytest.mark.parametrize(
    ("authority", "host", "arrives"),
    [(AUTHORITY, "127.0.0.1", True), (AUTHORITY, "hooks.example.com", False), (STRANGER, "127.0.0.1", False)],
)
def test_the_certificate_has_to_be_of_the_name_and_of_a_known_authority(
    listen: Callable[[Handle], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    authority: object,
    host: str,
    arrives: bool,
):
    (tmp_path / "known.pem").write_bytes(AUTHORITY.chain)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "known.pem"))
    shown = identity("receiver", authority)  # type: ignore[arg-type]
    seen: list[bytes] = []
    port = listen(in_tls(shown.chain, shown.private, tmp_path, seen))

    if arrives:
        post(target(port, host, is_tls=True), {}, b"{}")
        assert seen
    else:
        with pytest.raises(WebhookPostError, match="No answer"):
            post(target(port, host, is_tls=True), {}, b"{}")
        # The handshake may have been whole, as the name is looked at after it.
        assert not any(seen)
