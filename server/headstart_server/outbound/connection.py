"""Connections to checked addresses, which end after a time limit even if the peer still sends."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from urllib3.connection import HTTPConnection, HTTPSConnection

from headstart_server.outbound.target import Target


def make_connection(target: Target, quiet_seconds: float) -> HTTPConnection:
    """Return a connection that is not open yet; proxies of the environment are ignored."""
    if not target.is_tls:
        return HTTPConnection(target.address, target.port, timeout=quiet_seconds)
    return HTTPSConnection(
        target.address,
        target.port,
        timeout=quiet_seconds,
        ssl_context=ssl.create_default_context(),
        server_hostname=target.host,
        assert_hostname=target.host,
    )


class closed_after:  # noqa: N801 - reads like a function
    """Ends a connection after some seconds, in case a peer sends a byte now and then."""

    def __init__(self, connection: HTTPConnection, seconds: float) -> None:
        self._timer = threading.Timer(seconds, _shut, [lambda: connection.sock])
        self._timer.daemon = True
        self._seconds = seconds

    def __enter__(self) -> None:
        self._until = time.monotonic() + self._seconds
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if time.monotonic() >= self._until:
            # A truncated response may look complete.
            raise TimeoutError(f"No complete response within {self._seconds:g} s.")


def _shut(opened: Callable[[], socket.socket | None]) -> None:
    sock = opened()
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
