"""Sends one POST."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from headstart_server.jobs.webhook_policy import Target

#: Seconds to connect or without a byte, and in all.
_QUIET_SECONDS = 10.0
_WHOLE_SECONDS = 15.0


class PostFailed(Exception):
    """A POST that did not arrive.

    Args:
        why: for people.
        is_gone: whether the receiver wants no more of them.
    """

    def __init__(self, why: str, *, is_gone: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.is_gone = is_gone


def post(target: Target, headers: Mapping[str, str], body: bytes) -> None:
    """Send it to the address that was checked. Redirects are not followed, and no answer's body is read.

    Raises:
        PostFailed: no answer of 200 to 299 came.
    """
    try:
        connection = _connection(target)
        with closing(connection), _ended_after(connection, _WHOLE_SECONDS):
            connection.request(
                "POST",
                target.path,
                body=body,
                headers={"host": target.authority, **headers},
                preload_content=False,
            )
            status = connection.getresponse().status
    except (HTTPError, OSError, ValueError) as error:
        # What a peer of TLS or HTTP sent is not repeated.
        raise PostFailed(f"No answer: {type(error).__name__}.") from error
    if not 200 <= status < 300:
        what = "a redirect, which is not followed" if 300 <= status < 400 else "no success"
        raise PostFailed(
            f"Expected an answer of 200 to 299. Received: {status}, {what}.", is_gone=status == 410
        )


def _connection(target: Target) -> HTTPConnection:
    if not target.is_tls:
        return HTTPConnection(target.address, target.port, timeout=_QUIET_SECONDS)
    return HTTPSConnection(
        target.address,
        target.port,
        timeout=_QUIET_SECONDS,
        ssl_context=ssl.create_default_context(),
        server_hostname=target.host,
        assert_hostname=target.host,
    )


class _ended_after:  # noqa: N801 - reads like a function
    """Ends a connection after some seconds, for a receiver that sends a byte now and then."""

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
            # What was cut off may read like a whole answer.
            raise TimeoutError(f"No whole answer in {self._seconds:g} s.")


def _shut(opened: Callable[[], socket.socket | None]) -> None:
    sock = opened()
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
