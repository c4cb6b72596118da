"""The HTTP port: uvicorn on a socket with TLS, with a time limit for the headers of each request."""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from google.rpc import code_pb2
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.api.http.tls_reload import ReloadingTlsContexts
from headstart_server.inbound.connections import listening

#: Seconds in which the headers of a request must arrive, from the connection's start or their first byte.
HEADER_SECONDS = 20.0


class Protocol(H11Protocol):
    """Pass the client's certificate to the application, and end slow requests.

    Args:
        contexts: decides which TLS sessions may be resumed; None on a plain port.
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
        """Read received bytes."""
        self._has_begun = True
        super().data_received(data)
        self._time_headers()

    def _time_headers(self) -> None:
        """Run the timer while headers are incomplete; uvicorn's timer runs between two requests."""
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
    message = f"The headers of the request did not arrive within {seconds:g} s. Send them without pauses."
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
    """Return the properties of a client's certificate, under gRPC's names."""
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


#: Seconds that an idle connection is kept.
_KEEP_ALIVE_SECONDS = 30
#: Seconds after which a connection is closed if its client accepts no bytes of a response.
UNREAD_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTimeouts:
    """Time limits of slow clients, in seconds."""

    header_seconds: float = HEADER_SECONDS  # limit for the headers of a request
    unread_seconds: float = UNREAD_SECONDS  # limit for a client to accept more bytes of a response


class HttpPort:
    """Serve an ASGI application.

    Args:
        port: the port; 0 chooses a free one.
        tls: the TLS files; None for a plain port.
        max_connections: maximum connections; one address may hold a quarter of them.
        is_shared: whether other processes of this server listen on the same port.
        timeouts: time limits of slow clients.

    Raises:
        OSError: the port is unavailable, or a TLS file cannot be read.
    """

    def __init__(
        self,
        application: Any,
        host: str,
        port: int,
        tls: TlsFiles | None,
        *,
        max_connections: int,
        is_shared: bool = False,
        timeouts: ClientTimeouts = ClientTimeouts(),
    ) -> None:
        contexts = None if tls is None else ReloadingTlsContexts(tls)
        config = uvicorn.Config(
            application,
            # uvicorn calls this in place of a protocol class.
            http=cast("Any", partial(Protocol, contexts, header_seconds=timeouts.header_seconds)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        config.ssl = None if contexts is None else contexts.shown
        self._config = config
        self._server = _Server(config)
        self._socket = listening(
            host, port, max_connections, purpose="HTTP", flag="--http-port", is_shared=is_shared
        )
        # Connections inherit this option. The kernel applies it even after this process has closed its end.
        self._socket.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeouts.unread_seconds * 1000)
        )
        self.port: int = self._socket.getsockname()[1]
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the port."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self, grace: float) -> None:
        """Accept no more connections; wait for the last request, at most some seconds."""
        if self._serving is None:
            self._socket.close()
            return
        self._config.timeout_graceful_shutdown = max(1, int(grace))
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
