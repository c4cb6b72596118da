"""HTTP/1.1 on one connection, with a time limit for the headers of each request."""

import asyncio
import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import h11
from google.rpc import code_pb2
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart_server.api.http.tls_reload import ReloadingTlsContexts

#: Seconds in which the headers of a request must be complete, from the connection's beginning or their first
#: byte.
HEADER_SECONDS = 20.0


class Protocol(H11Protocol):
    """Pass the client's certificate to the application, and end slow requests.

    Args:
        contexts: knows which sessions may be taken up again; None on a plain port.
        header_seconds: time limit for the headers of a request.
    """

    def __init__(
        self,
        contexts: ReloadingTlsContexts | None,
        *,
        header_seconds: float = HEADER_SECONDS,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._contexts = contexts
        self._header_seconds = header_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self._has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        if self._contexts and self._contexts.is_out_of_date(transport.get_extra_info("ssl_object")):
            transport.abort()
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.app = _with_auth(self.app, auth_of(certificate))
        self._time_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._has_begun = True
        super().data_received(data)
        self._time_headers()

    def _time_headers(self) -> None:
        """Run the timer while headers are incomplete; uvicorn's own runs between two requests."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self._header_seconds, self._end_slow_request)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _end_slow_request(self) -> None:
        if self.transport.is_closing():
            return
        if self._has_begun:
            self.transport.write(_timed_out(self._header_seconds))
        self.transport.close()


def _timed_out(seconds: float) -> bytes:
    message = f"The headers of the request did not come within {seconds:g} s. Send them at once."
    content = json.dumps({"code": code_pb2.DEADLINE_EXCEEDED, "message": message}).encode()
    return (
        b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(content), content)
    )


def _with_auth(application: Any, auth: Mapping[str, Sequence[bytes]]) -> Any:
    async def call(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        extensions = {**scope.get("extensions", {}), "headstart.auth": auth}
        await application({**scope, "extensions": extensions}, receive, send)

    return call


def auth_of(certificate: Mapping[str, Any]) -> dict[str, list[bytes]]:
    """What a client's certificate says, under the names that gRPC has for it."""
    common = [
        value.encode()
        for part in certificate.get("subject", ())
        for name, value in part
        if name == "commonName"
    ]
    alternative = [value.encode() for _, value in certificate.get("subjectAltName", ())]
    return {
        "transport_security_type": [b"ssl"],
        "x509_common_name": common,
        "x509_subject_alternative_name": alternative,
    }
