"""The HTTP port on which Prometheus reads the metrics."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from email.parser import BytesParser
from http import HTTPStatus
from typing import Any, cast

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from headstart_server.addresses import host_and_port
from headstart_server.inbound.connections import listening
from headstart_server.inbound.known_hosts import KnownHosts, unknown_host

#: Maximum connections.
_MAX_CONNECTIONS = 64
#: Maximum bytes of a request, which has no body.
_MAX_REQUEST = 1 << 14
#: Seconds in which a request must arrive, and in which its client must accept the response.
CLIENT_SECONDS = 10.0

log = structlog.get_logger(__name__)

_Response = tuple[str, list[tuple[str, str]], bytes]


class MetricsPort:
    """Serve a registry over HTTP; listens when it is created.

    One thread answers the requests one after the other, so they never take more than one processor. It does
    not need uvicorn, which is optional, and the event loop of the process may be busy.

    Args:
        port: 0 takes a free one.
        hosts: accepted names in the header `Host`. The port has neither TLS nor tokens, so a web page whose
            name points at this machine could read it otherwise.
        client_seconds: time limit for a client to send its request, and to accept the response.

    Raises:
        OSError: the port is in use, or the address belongs to another machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        hosts: KnownHosts,
        *,
        client_seconds: float = CLIENT_SECONDS,
    ) -> None:
        self._socket = listening(host, port, _MAX_CONNECTIONS, purpose="metrics", flag="--metrics-port")
        self.port: int = self._socket.getsockname()[1]
        self._page = make_wsgi_app(registry)
        self._hosts = hosts
        self._client_seconds = client_seconds
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Release the port, and end its connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=_MAX_REQUEST)
        await self._stopping.wait()
        server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections[task] = writer
        try:
            async with asyncio.timeout(self._client_seconds):
                response = await self._response(reader)
            writer.write(_encoded(*response))
            async with asyncio.timeout(self._client_seconds):
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError):
            # The client left, or is too slow.
            pass
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _response(self, reader: asyncio.StreamReader) -> _Response:
        try:
            line, _, headers = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        except asyncio.LimitOverrunError:
            return _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request is too large.")
        match line.decode("latin-1").split(" "):
            case [verb, path, ("HTTP/1.1" | "HTTP/1.0")]:
                fields = BytesParser().parsebytes(headers, headersonly=True)
                host = str(fields.get("host", ""))
            case _:
                return _error(HTTPStatus.BAD_REQUEST, "Expected an HTTP/1.1 request, such as GET /metrics.")
        if host not in self._hosts:
            return _error(HTTPStatus.FORBIDDEN, unknown_host(host))
        path, _, query = path.partition("?")
        environment = {
            "REQUEST_METHOD": verb,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_ACCEPT": str(fields.get("accept", "")),
            "HTTP_ACCEPT_ENCODING": str(fields.get("accept-encoding", "")),
        }
        return self._read(environment)

    def _read(self, environment: Mapping[str, str]) -> _Response:
        """Return the page, which prometheus_client offers as a WSGI application only."""
        started: list[Any] = []
        content = b"".join(self._page(environment, lambda *arguments: started.extend(arguments)))
        status, headers = started
        return status, headers, content


def open_metrics_port(
    host: str, port: int | None, registry: CollectorRegistry, names: Iterable[str]
) -> MetricsPort | None:
    """Open the port and log its address; return None without a number. Raise OSError if it cannot be used.

    Args:
        names: names of this server that requests may use.
    """
    if port is None:
        return None
    metrics = MetricsPort(host, port, registry, KnownHosts(names))
    log.info("metrics_listening", address=f"{host_and_port(host, metrics.port)}/metrics")
    return metrics


def _error(status: HTTPStatus, message: str) -> _Response:
    headers = [("content-type", "text/plain; charset=utf-8")]
    return f"{status} {status.phrase}", headers, f"{message}\n".encode()


def _encoded(status: str, headers: list[tuple[str, str]], content: bytes) -> bytes:
    fields = [*headers, ("content-length", str(len(content))), ("connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + content
