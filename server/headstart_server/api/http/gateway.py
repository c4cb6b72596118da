"""The ASGI application: routes each request to a method of the gRPC services."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from headstart_server.api.grpc.call_slots import OPEN_METHODS
from headstart_server.api.grpc.status import status_of
from headstart_server.api.http.body import ClientDisconnectedError, Receive, RequestBody
from headstart_server.api.http.call_context import HttpContext
from headstart_server.api.http.console_files import Console
from headstart_server.api.http.downloads import Download
from headstart_server.api.http.exchange import HttpExchange, Scope, Send
from headstart_server.api.http.forms import options_of
from headstart_server.api.http.in_process_server import CallDetails, InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.http.json_text import in_json_thread
from headstart_server.api.http.messages import fill, fill_parameters, json_of, line_of
from headstart_server.api.http.openapi import openapi
from headstart_server.api.http.origin_check import KnownHosts, check_origin
from headstart_server.api.http.page import page
from headstart_server.api.http.proto_files import protos_archive
from headstart_server.api.http.request import HttpRequest, message_of
from headstart_server.api.http.response import HttpError, HttpResponse, error_response
from headstart_server.api.http.routes import ROUTES, Body, Route
from headstart_server.api.http.uploads import examples_of, stream_of
from headstart_server.errors import DeadlineExceeded

_NO_SCRIPTS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
_THREAD_BYTES = 32 << 10


class HttpProtocol(ABC):
    """Another protocol on the HTTP port."""

    @abstractmethod
    def serves(self, path: str) -> bool:
        """Return whether a path is one of the protocol."""

    @abstractmethod
    async def answer(self, exchange: HttpExchange) -> HttpResponse:
        """Return the response to a request.

        Raises:
            HttpError or HeadstartError: the request is invalid.
        """


#: Messages of which bytes are made in a thread.
_LARGE_BYTES = 1 << 20


class Gateway:
    """Serve HTTP requests with the methods of the gRPC services.

    Args:
        server: has the handlers.
        limits: the limits of a request.
        max_calls: concurrent calls; further ones are rejected.
        version: of this software.
        hosts: accepted names in the header `Host`; None for any.
        console: the web console; None without it, and `/` then lists the calls.
        protocols: other protocols, which answer their paths.
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
        """Return the document that a request asks for, if any."""
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

        Raises:
            HttpError: no route matches.
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
        raise HttpError(
            404, code_pb2.NOT_FOUND, f"Expected a path of those at /openapi.json. Received: {path[:200]!r}."
        )

    def begin(self) -> None:
        """Count a call in.

        Raises:
            HttpError: too many are under way.
        """
        if self._calls >= self._max_calls:
            raise HttpError(
                429,
                code_pb2.RESOURCE_EXHAUSTED,
                f"{self._calls} calls are under way, and the server takes no more. Try again in a moment.",
                {"retry-after": "1"},
            )
        self._calls += 1

    def end(self) -> None:
        """Count a call out."""
        self._calls -= 1

    @property
    def server(self) -> InProcessServer:
        """The handlers."""
        return self._server

    @property
    def limits(self) -> UploadLimits:
        """How much a request may hold."""
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
        check_origin(self._exchange.headers, self._gateway.hosts)
        document = self._gateway.document(self._exchange)
        if document is not None:
            # The request has no body as a rule, and the connection then stays open for the next file.
            await self._exchange.body.drain()
            return document
        protocol = self._gateway.protocol(self._exchange.path)
        if protocol is not None:
            return await self._other(protocol)
        route, path = self._gateway.route_of(self._exchange.verb, self._exchange.path)
        context = self._exchange.context()
        details = CallDetails(route.method, context.invocation_metadata())
        # First, because a check of a token may wait for its issuer: until then it is no call under way.
        is_known = await self._gateway.server.knows(details, context)
        if route.method in OPEN_METHODS:
            # Health checks are answered under any load; connections have their own limit.
            return await self._called(route, path, context, details, is_known=is_known)
        self._gateway.begin()
        try:
            return await self._called(route, path, context, details, is_known=is_known)
        finally:
            self._gateway.end()

    async def _other(self, protocol: HttpProtocol) -> HttpResponse:
        """Return the response of another protocol, which is not cancelled if its caller leaves."""
        self._gateway.begin()
        try:
            return await protocol.answer(self._exchange)
        finally:
            self._gateway.end()

    async def _called(
        self,
        route: Route,
        path: dict[str, list[str]],
        context: HttpContext,
        details: CallDetails,
        *,
        is_known: bool,
    ) -> HttpResponse | None:
        coding = self._exchange.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise HttpError(
                415,
                code_pb2.INVALID_ARGUMENT,
                f"Bodies with Content-Encoding {coding[:80]!r} are not accepted. Send the body as it is.",
                {"accept-encoding": "identity"},
            )
        media_type, options = options_of(self._exchange.headers.get("content-type", ""))
        request = HttpRequest(
            route=route, path=path, query=self._exchange.query(route), media_type=media_type, options=options
        )
        if route.body is Body.EXAMPLES:
            work: Any = self._upload(request, details, context)
        else:
            if is_known:
                message = await message_of(request, self._exchange.body, self._gateway.limits)
            else:
                # The call's own refusal, counted and written down, before megabytes of a stranger are held.
                message = GetMessageClass(route.descriptor.input_type)()
            if route.is_files:
                work = self._downloaded(message, details, context)
            elif route.is_events:
                work = self._watched(message, details, context)
            else:
                work = self._unary(route, message, details, context)
        return await self._ended(asyncio.ensure_future(work), context)

    async def _ended(
        self, task: "asyncio.Task[HttpResponse | None]", context: HttpContext
    ) -> HttpResponse | None:
        """The answer of a call; it is cancelled when its caller leaves or its deadline passes."""
        gone = asyncio.ensure_future(self._exchange.body.gone())
        try:
            await asyncio.wait(
                {task, gone}, timeout=context.time_remaining(), return_when=asyncio.FIRST_COMPLETED
            )
            if not task.done():
                context.broke_off = True
                task.cancel()
                await asyncio.wait({task})
                if not gone.done() and not self._exchange.has_begun:
                    raise DeadlineExceeded("The call's deadline passed before its answer.")
                return None
            return task.result()
        except grpc.aio.AbortError:
            return error_response(context.status)
        finally:
            for each in (task, gone):
                each.cancel()

    async def _unary(
        self, route: Route, message: Message, details: CallDetails, context: HttpContext
    ) -> HttpResponse | None:
        handler, request = await self._ready(message, details)
        answer = await _answer_of(route, await handler.unary_unary(request, context))
        if (etag := answer.headers.get("etag")) and etag in self._exchange.headers.get("if-none-match", ""):
            return replace(answer, code=304, content=b"")
        return answer

    async def _upload(
        self, request: HttpRequest, details: CallDetails, context: HttpContext
    ) -> HttpResponse | None:
        handler = await self._gateway.server.find(details)
        async with aclosing(self._requests(request, context)) as requests:
            return await _answer_of(request.route, await handler.stream_unary(requests, context))

    async def _requests(self, request: HttpRequest, context: HttpContext) -> AsyncGenerator[bytes, None]:
        """The messages of a stream; what is wrong with them is raised in its handler, as with gRPC.

        They are serialized, and parsed in the handler, where messages are checked, measured and counted.
        """
        kind: Any = GetMessageClass(request.route.descriptor.input_type)
        spec: Any = GetMessageClass(request.route.message)()

        def completed() -> Message:
            fill_parameters(spec, request.path, request.query)
            return spec  # type: ignore[no-any-return]

        try:
            examples = examples_of(self._exchange.body.pieces(), request, spec, self._gateway.limits)
            async with aclosing(
                stream_of(examples, kind, completed, media_type=request.media_type)
            ) as messages:
                async for message in messages:
                    yield await _bytes_of(message)
                    # Bodies that are here already would leave others no turn.
                    await asyncio.sleep(0)
        except ClientDisconnectedError:
            context.broke_off = True
            raise

    async def _watched(
        self, message: Message, details: CallDetails, context: HttpContext
    ) -> HttpResponse | None:
        """Send the answers of a stream as events; None once they are sent."""
        seen = self._exchange.headers.get("last-event-id", "")
        if seen:
            resumes = "resume_token" in message.DESCRIPTOR.fields_by_name
            fill(
                message,
                {"resume_token" if resumes else "after_event": [seen]},
                "the header Last-Event-ID",
            )
        events = await self._stream(message, details, context)
        try:
            first = await anext(events, None)
            if first is None:
                # Nothing more will happen: 204 makes a browser stop reconnecting.
                return HttpResponse(code=204)
            await self._exchange.begin_events()
            await self._exchange.send_job_event(first)
            async for each in events:
                await self._exchange.send_job_event(each)
        except grpc.aio.AbortError:
            if not self._exchange.has_begun:
                raise
            await self._exchange.write(f"event: error\ndata: {line_of(context.status)}\n\n")
        finally:
            await _close(events)
        await self._exchange.end()
        return None

    async def _downloaded(self, message: Message, details: CallDetails, context: HttpContext) -> None:
        """Send the files of an export, as they come; an answer that broke off is shorter than it says."""
        messages = await self._stream(message, details, context)
        try:
            async for each in messages:
                # Before the header there are signs of life, for which an answer over HTTP has no place.
                if each.HasField("header"):
                    await self._exchange.send_files(Download(each.header), messages)
        except grpc.aio.AbortError:
            if not self._exchange.has_begun:
                raise
        finally:
            await _close(messages)

    async def _stream(
        self, message: Message, details: CallDetails, context: HttpContext
    ) -> AsyncIterator[Any]:
        """The answers of a call that streams them."""
        handler, request = await self._ready(message, details)
        answers: AsyncIterator[Any] = handler.unary_stream(request, context)
        return answers

    async def _ready(self, message: Message, details: CallDetails) -> tuple[Any, Any]:
        """The handler of a call with one message, and the message as bytes, which the handler parses."""
        handler = await self._gateway.server.find(details)
        return handler, await _bytes_of(message)


async def _bytes_of(message: Message) -> bytes:
    """Return the bytes of a message, which is emptied: it is as large as they are."""
    work = message.SerializeToString
    content = await in_json_thread(work) if message.ByteSize() > _LARGE_BYTES else work()
    message.Clear()
    return content


async def _close(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


async def _answer_of(route: Route, response: Any) -> HttpResponse:
    if route.is_document:
        headers = {"content-disposition": "inline", "referrer-policy": "no-referrer"}
        if etag := getattr(response, "etag", ""):
            # The content came from a caller, so it runs nothing. It may be erased, so caches revalidate it.
            headers |= {"etag": f'"{etag}"', "cache-control": "private, no-cache", **_NO_SCRIPTS}
        return HttpResponse(content=response.content, media_type=response.media_type, headers=headers)
    large = response.ByteSize() > _THREAD_BYTES
    content = await in_json_thread(json_of, response) if large else json_of(response)
    serving = health_pb2.HealthCheckResponse.SERVING
    away = isinstance(response, health_pb2.HealthCheckResponse) and response.status != serving
    return HttpResponse(code=503 if away else 200, content=content)
