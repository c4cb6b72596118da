"""The HTTP port: a socket, TLS, and uvicorn on it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn

from headstart_server.api.grpc.connections import GuardedSocket, usable_connections
from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.api.http.protocol import HEADER_SECONDS, Protocol
from headstart_server.api.http.tls_reload import ReloadingTlsContexts

#: Seconds that an idle connection is kept.
_KEEP_ALIVE_SECONDS = 30
#: Seconds after which a connection ends whose client accepts nothing of a response.
UNREAD_SECONDS = 60.0
#: Connections that wait to be accepted.
_BACKLOG = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTimeouts:
    """Time limits of slow clients, in seconds."""

    header_seconds: float = HEADER_SECONDS  # for the headers of a request
    unread_seconds: float = UNREAD_SECONDS  # for a client to accept more of a response


class HttpPort:
    """Serves an ASGI application.

    Args:
        port: 0 takes a free one.
        tls: None for a plain port.
        max_connections: most connections; one address may hold a quarter of them.
        is_shared: whether other processes of this server listen on the same port.
        timeouts: time limits of slow clients.

    Raises:
        OSError: the port cannot be had, or a TLS file cannot be read.
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
            # Made like a class of uvicorn's.
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
        self._socket = _listening(host, port, usable_connections(max_connections), is_shared=is_shared)
        # Connections inherit it. The kernel keeps the time, also after this process has closed its end.
        self._socket.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeouts.unread_seconds * 1000)
        )
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


def _listening(host: str, port: int, max_connections: int, *, is_shared: bool) -> GuardedSocket:
    opened = GuardedSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, max_connections)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
