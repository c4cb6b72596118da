"""The ASGI application: routes each request to a method of the gRPC services."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from urllib.parse import unquote

from google.rpc import code_pb2

from headstart_server.api.grpc.call_slots import OPEN_METHODS
from headstart_server.api.grpc.status import status_of
from headstart_server.api.http.body import ClientDisconnectedError, Receive, RequestBody
from headstart_server.api.http.console_files import Console
from headstart_server.api.http.exchange import HttpExchange, Scope, Send
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.http.openapi import openapi
from headstart_server.api.http.origin_check import check_origin
from headstart_server.api.http.proto_files import protos_archive
from headstart_server.api.http.response import HttpError, HttpResponse, error_response
from headstart_server.api.http.routed_call import RoutedCall
from headstart_server.api.http.routes import ROUTES, Route
from headstart_server.inbound.known_hosts import KnownHosts

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
td { padding: .15rem 1.5rem .15rem 0; vertical-align: top }
code { font-family: ui-monospace, monospace; font-size: .9em }
"""


def page(version: str) -> bytes:
    """Return the page that lists the calls, in HTML and UTF-8."""
    rows = "\n".join(
        f"<tr><td><code>{route.verb}</code></td><td><code>{_path(route.verb, route.shown_path)}</code></td>"
        f"<td>{escape(route.descriptor.full_name.removeprefix('headstart.v1.'))}</td></tr>"
        for route in ROUTES
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headstart</title>
<style>{_STYLE}</style>
<h1>Headstart {escape(version)}</h1>
<p>The calls of the gRPC contract over HTTP.
<a href="/openapi.json">/openapi.json</a> describes them for programs;
<a href="/v1/protos">/v1/protos</a> is the contract itself, for compilers of other languages.</p>
<table>
{rows}
</table>
<p>Send an image as it is:</p>
<pre><code>curl --data-binary @cat.jpg -H 'content-type: image/jpeg' http://…/v1/models/pets:predict</code></pre>
</html>
""".encode()


def _path(verb: str, path: str) -> str:
    text = escape(path)
    return f'<a href="{text}">{text}</a>' if verb == "GET" and "{" not in path else text


class HttpProtocol(ABC):
    """Another protocol on the HTTP port."""

    @abstractmethod
    def serves(self, path: str) -> bool:
        """Return whether a path is one of the protocol."""

    @abstractmethod
    async def knows(self, exchange: HttpExchange) -> bool:
        """Return whether every check knows the caller of a request."""

    @abstractmethod
    async def answer(self, exchange: HttpExchange) -> HttpResponse:
        """Return the response to a request. Raise HttpError or HeadstartError if the request is invalid."""


class Gateway:
    """Serve HTTP requests with the methods of the gRPC services.

    Args:
        max_calls: maximum concurrent calls; further ones are rejected.
        hosts: accepted names in the header `Host`; None for any.
        console: the web console; None without it, and `/` then lists the calls.
    """

    def __init__(
        self,
        server: InProcessServer,
        limits: UploadLimits,
        *,
        max_calls: int,
        version: str,
        hosts: KnownHosts | None = None,
        console: Console | None = None,
        protocols: Sequence[HttpProtocol] = (),
    ) -> None:
        self._server = server
        self._protocols = tuple(protocols)
        self._limits = limits
        self._max_calls = max_calls
        self.hosts = hosts
        self._console = console
        self._calls = 0
        calls = HttpResponse(
            content=page(version),
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )
        self._documents = {
            "/openapi.json": HttpResponse(content=openapi(version)),
            "/v1/protos": HttpResponse(
                content=protos_archive(),
                media_type="application/zip",
                headers={"content-disposition": 'attachment; filename="headstart-protos.zip"'},
            ),
            "/api": calls,
            "/": calls,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"Expected http. Received: {scope['type']}.")
        await _Request(self, HttpExchange(scope, RequestBody(receive), send)).answer()

    def document(self, exchange: HttpExchange) -> HttpResponse | None:
        """Return the document at the path of a request, if any."""
        if exchange.verb not in ("GET", "HEAD"):
            return None
        if self._console is not None:
            found = self._console.response(exchange.path, exchange.query_text, exchange.headers)
            if found is not None:
                return found
        return self._documents.get(exchange.path)

    def protocol(self, path: str) -> HttpProtocol | None:
        """Return the other protocol that answers a path, if any."""
        return next((each for each in self._protocols if each.serves(path)), None)

    @staticmethod
    def route_of(verb: str, path: str) -> tuple[Route, dict[str, list[str]]]:
        """Return the route of a request, and the variables of its path.

        Raise HttpError if no route matches.
        """
        found = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))]
        for route, match in found:
            if route.verb == ("GET" if verb == "HEAD" else verb):
                return route, {
                    name: [unquote(text)] for name, text in zip(route.variables, match.groups(), strict=True)
                }
        if found:
            allowed = ", ".join(sorted({route.verb for route, _ in found}))
            raise HttpError(
                405,
                code_pb2.UNIMPLEMENTED,
                f"Expected {allowed} for {path[:200]}. Received: {verb[:20]}.",
                {"allow": allowed},
            )
        versioned = f"/v1{path}"
        hint = (
            f" Try {versioned[:200]}." if any(route.pattern.fullmatch(versioned) for route in ROUTES) else ""
        )
        raise HttpError(
            404,
            code_pb2.NOT_FOUND,
            f"Expected a path of those at /openapi.json. Received: {path[:200]!r}.{hint}",
        )

    def begin(self) -> None:
        """Count a new call. Raise HttpError if too many are running."""
        if self._calls >= self._max_calls:
            raise HttpError(
                429,
                code_pb2.RESOURCE_EXHAUSTED,
                f"All {self._calls} concurrent calls of this server are in use. Try again in a moment.",
                {"retry-after": "1"},
            )
        self._calls += 1

    def end(self) -> None:
        """Stop counting a call."""
        self._calls -= 1

    @property
    def server(self) -> InProcessServer:
        """The server with the handlers."""
        return self._server

    @property
    def limits(self) -> UploadLimits:
        """The size limits of requests."""
        return self._limits


class _Request:
    """One request, until its response is sent."""

    def __init__(self, gateway: Gateway, exchange: HttpExchange) -> None:
        self._gateway = gateway
        self._exchange = exchange

    async def answer(self) -> None:
        try:
            answer = await self._response()
        except HttpError as error:
            answer = error.answer
        except ClientDisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - reported to the caller, and logged by `status_of`
            answer = error_response(status_of(error))
        if answer is None:
            return
        with suppress(OSError):
            await self._exchange.send(answer)

    async def _response(self) -> HttpResponse | None:
        self._exchange.check_framing()
        self._exchange.check_encoding()
        check_origin(self._exchange.headers, self._gateway.hosts)
        document = self._gateway.document(self._exchange)
        if document is not None:
            # Such a request usually has no body, so the connection stays open for the next file.
            await self._exchange.body.drain()
            return document
        protocol = self._gateway.protocol(self._exchange.path)
        if protocol is not None:
            return await self._other(protocol)
        route, path = self._gateway.route_of(self._exchange.verb, self._exchange.path)
        call = RoutedCall(self._gateway.server, self._gateway.limits, self._exchange, route)
        # First, so that the call is not counted while the check of its token waits for the issuer.
        is_known = await self._gateway.server.knows(call.details, call.context)
        if route.method in OPEN_METHODS:
            # Health checks are answered under any load; the limit of connections still applies.
            return await call.answer(path, is_known=is_known)
        self._gateway.begin()
        try:
            return await call.answer(path, is_known=is_known)
        finally:
            self._gateway.end()

    async def _other(self, protocol: HttpProtocol) -> HttpResponse:
        """Return the response of another protocol, which is not cancelled if its caller leaves."""
        # First, as for the other calls. The protocol's own calls reject unknown callers.
        await protocol.knows(self._exchange)
        self._gateway.begin()
        try:
            return await protocol.answer(self._exchange)
        finally:
            self._gateway.end()
