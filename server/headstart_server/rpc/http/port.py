"""The HTTP port: a socket, TLS, and uvicorn on it."""

import asyncio
import socket
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart_server.rpc.http.contexts import Contexts
from headstart_server.rpc.tls import TlsFiles

#: Seconds that an idle connection is kept.
_KEEP_ALIVE_SECONDS = 30
#: Connections that wait to be accepted.
_BACKLOG = 2048


class HttpPort:
    """Serves an ASGI application.

    Args:
        application: what answers.
        host: address to listen on.
        port: 0 takes a free one.
        tls: None for a plain port.

    Raises:
        OSError: the port cannot be had, or a TLS file cannot be read.
    """

    def __init__(self, application: Any, host: str, port: int, tls: TlsFiles | None) -> None:
        contexts = None if tls is None else Contexts(tls)
        config = uvicorn.Config(
            application,
            # Made like a class of uvicorn's.
            http=cast("Any", partial(_Protocol, contexts)),
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
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the port."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self, grace: float) -> None:
        """Take no more connections; end with the last request, at most after some seconds."""
        if self._serving is None:
            self._socket.close()
            return
        self._config.timeout_graceful_shutdown = max(1, int(grace))
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """Leaves signals to the process whose part it is."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Tells the application what the certificate of a connection's client says.

    Args:
        contexts: knows which sessions may be taken up again; None on a plain port.
        arguments: uvicorn's.
    """

    def __init__(self, contexts: Contexts | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._contexts = contexts

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self._contexts and self._contexts.is_out_of_date(transport.get_extra_info("ssl_object")):
            transport.abort()
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.app = _with_auth(self.app, auth_of(certificate))


def _with_auth(application: Any, auth: Mapping[str, Sequence[bytes]]) -> Any:
    async def call(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        extensions = {**scope.get("extensions", {}), "headstart.auth": auth}
        await application({**scope, "extensions": extensions}, receive, send)

    return call


def auth_of(certificate: Mapping[str, Any]) -> dict[str, list[bytes]]:
    """What a client's certificate says, under the names that gRPC has for it.

    Args:
        certificate: as `ssl` gives it.
    """
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


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        # Requests that come before the application serves wait.
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise OSError(
            f"Cannot listen on {host}:{port} for HTTP: {error.strerror}. Choose another --http-port."
        ) from error
    return opened
