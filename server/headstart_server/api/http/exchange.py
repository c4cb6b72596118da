"""One HTTP request and its response, as ASGI events."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from google.rpc import code_pb2

from headstart_server.api.grpc.canary_call import ROUTING_KEY
from headstart_server.api.http.body import RequestBody
from headstart_server.api.http.call_context import HttpContext
from headstart_server.api.http.downloads import Download
from headstart_server.api.http.in_process_server import Metadatum
from headstart_server.api.http.messages import line_of
from headstart_server.api.http.response import HttpError, HttpResponse
from headstart_server.api.http.routes import Body, Route
from headstart_server.errors import InvalidField

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Headers that become metadata of the call.
PASSED = frozenset({"authorization", "traceparent", "tracestate", "user-agent", ROUTING_KEY})
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SAFE = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class HttpExchange:
    """One HTTP request, and the sending of its response.

    Attributes:
        headers: the headers, by lowercase name.
        path: the path in its escaped form, because a name may have an escaped slash.
    """

    def __init__(self, scope: Scope, body: RequestBody, send: Send) -> None:
        self._scope = scope
        self._send_event = send
        self.body = body
        self.has_begun = False
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.verb: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        self.query_text: str = scope["query_string"].decode("latin-1")

    def check_framing(self) -> None:
        """Reject a request with two lengths, of which a proxy may have used the other one (RFC 9112, 6.1)."""
        if {"content-length", "transfer-encoding"} <= self.headers.keys():
            raise HttpError(
                400,
                code_pb2.INVALID_ARGUMENT,
                "The request has both Content-Length and Transfer-Encoding. Send one of them.",
                {"connection": "close"},
            )

    def check_encoding(self) -> None:
        """Reject a compressed body, of which a few bytes may become many."""
        coding = self.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise HttpError(
                415,
                code_pb2.INVALID_ARGUMENT,
                f"Bodies with Content-Encoding {coding[:80]!r} are not accepted. Send the body as it is.",
                {"accept-encoding": "identity"},
            )

    async def send_files(self, download: Download, messages: AsyncIterator[Any]) -> None:
        """Send the files of an export as they arrive."""
        self.has_begun = True
        headers = _encoded({**_SAFE, **download.headers})
        await self._send_event({"type": "http.response.start", "status": 200, "headers": headers})
        if self.verb != "HEAD":
            async for piece in download.pieces(messages):
                await self._send_event({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send_event({"type": "http.response.body", "body": b""})

    async def begin_events(self) -> None:
        """Begin a stream of events."""
        self.has_begun = True
        headers = {"content-type": "text/event-stream", "x-accel-buffering": "no", **_SAFE}
        await self._send_event({"type": "http.response.start", "status": 200, "headers": _encoded(headers)})

    async def send_job_event(self, response: Any) -> None:
        """Send a response of a watch as an event, or as a keepalive."""
        token = getattr(response, "resume_token", "")
        if not response.HasField("event"):
            await self.write(f"id: {token}\n\n" if token else ": still there\n\n")
            return
        # A stream of several jobs is resumed by a token, which only some of its events have.
        is_of_one_job = "resume_token" not in response.DESCRIPTOR.fields_by_name
        last = response.event.number if is_of_one_job else token
        line = f"id: {last}\n" if last else ""
        await self.write(f"{line}data: {line_of(response.event)}\n\n")

    async def write(self, text: str) -> None:
        """Send a part of a stream of events."""
        await self._send_event({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def end(self) -> None:
        """End a response that was sent in parts."""
        await self._send_event({"type": "http.response.body", "body": b""})

    async def send(self, answer: HttpResponse) -> None:
        """Send a whole response."""
        headers = {**_SAFE, **answer.headers}
        if answer.code not in (204, 304):
            headers |= {"content-type": answer.media_type, "content-length": str(len(answer.content))}
        if not self.body.is_whole:
            headers["connection"] = "close"
        await self._send_event(
            {"type": "http.response.start", "status": answer.code, "headers": _encoded(headers)}
        )
        body = b"" if self.verb == "HEAD" else answer.content
        if not self.body.is_whole:
            # Read the rest of the body, because closing the connection earlier would lose the response.
            await self._send_event({"type": "http.response.body", "body": body, "more_body": True})
            await self.body.drain()
            body = b""
        await self._send_event({"type": "http.response.body", "body": body})

    def query(self, route: Route) -> dict[str, list[str]]:
        """Return the parameters of the query."""
        text = self.query_text
        try:
            query = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=1000)
        except ValueError as error:
            raise InvalidField(f"Expected a query of NAME=VALUE&… Received: {error}.") from None
        # For a stream, the query can only set the spec.
        prefix = "spec." if route.body is Body.EXAMPLES else ""
        return {name.removeprefix(prefix): values for name, values in query.items()}

    def context(self) -> HttpContext:
        """Return the context for the handler of the call."""
        metadata = [Metadatum(name, self.headers[name]) for name in sorted(PASSED & self.headers.keys())]
        client = self._scope.get("client") or ("unknown", 0)
        kind = "ipv6" if ":" in client[0] else "ipv4"
        host = f"[{client[0]}]" if kind == "ipv6" else client[0]
        auth: Mapping[str, Sequence[bytes]] = self._scope.get("extensions", {}).get("headstart.auth", {})
        return HttpContext(metadata, f"{kind}:{host}:{client[1]}", auth, self._timeout())

    def _timeout(self) -> float | None:
        text = self.headers.get("grpc-timeout")
        if text is None:
            return None
        match = _TIMEOUT.fullmatch(text)
        if match is None:
            raise InvalidField(
                f"Expected a Grpc-Timeout of digits and one of H, M, S, m, u and n. Received: {text[:80]!r}.",
                field="Grpc-Timeout",
            )
        return int(match[1]) * _UNITS[match[2]]


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode("latin-1"), value.encode("latin-1", errors="replace")) for name, value in headers.items()
    ]
