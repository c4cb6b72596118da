"""The HTTP port: a socket, TLS, and uvicorn on it."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart_server.rpc.tls import TlsFiles, stamp_of

log = structlog.get_logger(__name__)

#: Seconds that an idle connection is kept.
_KEEP_ALIVE_SECONDS = 30
#: Seconds between two looks whether the certificate's files changed.
_LOOK_SECONDS = 10.0


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
        self._tls = tls
        config = uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._context = None if tls is None else _context(tls)
        config.ssl = self._context
        self._config = config
        self._server = _Server(config)
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._serving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the port."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        if self._tls is not None:
            self._looking = asyncio.create_task(self._look())

    async def stop(self, grace: float) -> None:
        """Take no more connections; end with the last request, at most after some seconds."""
        if self._looking is not None:
            self._looking.cancel()
        if self._serving is None:
            self._socket.close()
            return
        self._config.timeout_graceful_shutdown = max(1, int(grace))
        self._server.should_exit = True
        await self._serving

    async def _look(self) -> None:
        """Take a new certificate for new connections when its files change."""
        if self._tls is None or self._context is None:
            return
        seen = stamp_of((self._tls.cert, self._tls.key))
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                now = stamp_of((self._tls.cert, self._tls.key))
                if now == seen:
                    continue
                self._context.load_cert_chain(self._tls.cert, self._tls.key)
            except (OSError, ssl.SSLError) as error:
                # They may be half written; the next look tells.
                log.warning("certificate_not_reloaded", why=str(error))
                continue
            seen = now
            log.info("certificate_reloaded", port=self.port)


class _Server(uvicorn.Server):
    """Leaves signals to the process whose part it is."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Tells the application what the certificate of a connection's client says."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
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


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise OSError(f"The TLS files of the HTTP port are no PEM certificate and key: {error}.") from error
    return context


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise OSError(f"Cannot listen on {host}:{port} for HTTP: {error.strerror}.") from error
    return opened
