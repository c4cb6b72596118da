"""One call of a method of the gRPC services over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from headstart_server.api.grpc.rate_limits import take_bytes
from headstart_server.api.http.body import ClientDisconnectedError
from headstart_server.api.http.columns import split_columns
from headstart_server.api.http.downloads import Download
from headstart_server.api.http.exchange import HttpExchange
from headstart_server.api.http.forms import options_of
from headstart_server.api.http.in_process_server import CallDetails, InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.http.json_text import in_json_thread
from headstart_server.api.http.large_json import PART_BYTES
from headstart_server.api.http.messages import fill, fill_parameters, json_of, line_of
from headstart_server.api.http.request import HttpRequest, message_of, serialized
from headstart_server.api.http.response import HttpResponse, error_response
from headstart_server.api.http.routes import Body, Route
from headstart_server.api.http.uploads import examples_of, stream_of
from headstart_server.errors import DeadlineExceeded

_NO_SCRIPTS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


class RoutedCall:
    """One request of a route, until its response is sent."""

    def __init__(
        self, server: InProcessServer, limits: UploadLimits, exchange: HttpExchange, route: Route
    ) -> None:
        self._server = server
        self._limits = limits
        self._exchange = exchange
        self._route = route
        self.context = exchange.context()
        self.details = CallDetails(route.method, self.context.invocation_metadata())

    async def answer(self, path: dict[str, list[str]], *, is_known: bool) -> HttpResponse | None:
        """Return the response; None if it was already sent, or if the caller has disconnected."""
        route = self._route
        media_type, options = options_of(self._exchange.headers.get("content-type", ""))
        request = HttpRequest(
            route=route, path=path, query=self._exchange.query(route), media_type=media_type, options=options
        )
        if route.body is Body.EXAMPLES:
            columns, query = split_columns(request.query)
            request = replace(request, columns=columns, query=query)
        if route.body is Body.EXAMPLES:
            work: Any = self._upload(request)
        else:
            if is_known:
                message = await message_of(request, self._exchange.body, self._limits)
            else:
                # The call rejects an unknown caller itself, and counts and logs it, so its body is not read.
                message = GetMessageClass(route.descriptor.input_type)()
            if route.is_files:
                work = self._downloaded(message)
            elif route.is_events:
                work = self._watched(message)
            else:
                work = self._unary(message)
        return await self._ended(asyncio.ensure_future(work))

    async def _ended(self, task: "asyncio.Task[HttpResponse | None]") -> HttpResponse | None:
        """Return the response of a call; cancel it when its caller disconnects or its deadline passes."""
        disconnected = asyncio.ensure_future(self._exchange.body.disconnected())
        try:
            await asyncio.wait(
                {task, disconnected},
                timeout=self.context.time_remaining(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done():
                self.context.broke_off = True
                task.cancel()
                await asyncio.wait({task})
                if not disconnected.done() and not self._exchange.has_begun:
                    raise DeadlineExceeded("The call's deadline passed before its response was ready.")
                return None
            return task.result()
        except grpc.aio.AbortError:
            return error_response(self.context.status)
        finally:
            for each in (task, disconnected):
                each.cancel()

    async def _unary(self, message: Message) -> HttpResponse | None:
        handler, request = await self._ready(message)
        answer = await _answer_of(self._route, await handler.unary_unary(request, self.context))
        if (etag := answer.headers.get("etag")) and etag in self._exchange.headers.get("if-none-match", ""):
            return replace(answer, code=304, content=b"")
        return answer

    async def _upload(self, request: HttpRequest) -> HttpResponse | None:
        handler = await self._server.find(self.details)
        async with aclosing(self._requests(request)) as requests:
            return await _answer_of(request.route, await handler.stream_unary(requests, self.context))

    async def _requests(self, request: HttpRequest) -> AsyncGenerator[bytes, None]:
        """Yield the messages of a stream; their errors are raised in its handler, as with gRPC.

        They are serialized, because the handler parses messages to check, measure and count them.
        """
        kind: Any = GetMessageClass(request.route.descriptor.input_type)
        spec: Any = GetMessageClass(request.route.message)()

        def completed() -> Message:
            fill_parameters(spec, request.path, request.query)
            return spec  # type: ignore[no-any-return]

        try:
            async with (
                aclosing(self._pieces()) as pieces,
                aclosing(
                    stream_of(examples_of(pieces, request, spec, self._limits), kind, completed)
                ) as messages,
            ):
                async for message in messages:
                    # In a thread, because archives hold more bytes than were received.
                    yield await in_json_thread(message.SerializeToString)
                    message.Clear()
                    # A body that has already arrived would never let other tasks run.
                    await asyncio.sleep(0)
        except ClientDisconnectedError:
            self.context.broke_off = True
            raise

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the body of a stream, each once the caller's bandwidth limit permits it."""
        async with aclosing(self._exchange.body.pieces()) as pieces:
            async for piece in pieces:
                await take_bytes(len(piece))
                yield piece

    async def _watched(self, message: Message) -> HttpResponse | None:
        """Send the responses of a stream as events; return None once they are sent."""
        last_event = self._exchange.headers.get("last-event-id", "")
        if last_event:
            resumes = "resume_token" in message.DESCRIPTOR.fields_by_name
            fill(
                message,
                {"resume_token" if resumes else "after_event": [last_event]},
                "the header Last-Event-ID",
            )
        events = await self._stream(message)
        try:
            first = await anext(events, None)
            if first is None:
                # No more events will follow, and 204 makes a browser stop reconnecting.
                return HttpResponse(code=204)
            await self._exchange.begin_events()
            await self._exchange.send_job_event(first)
            async for each in events:
                await self._exchange.send_job_event(each)
        except grpc.aio.AbortError:
            if not self._exchange.has_begun:
                raise
            await self._exchange.write(f"event: error\ndata: {line_of(self.context.status)}\n\n")
        finally:
            await _close(events)
        await self._exchange.end()
        return None

    async def _downloaded(self, message: Message) -> None:
        """Send the files of an export as they arrive; an interrupted one is shorter than Content-Length."""
        messages = await self._stream(message)
        try:
            async for each in messages:
                # Keepalives precede the header, and an HTTP response cannot have them.
                if each.HasField("header"):
                    await self._exchange.send_files(Download(each.header), messages)
        except grpc.aio.AbortError:
            if not self._exchange.has_begun:
                raise
        finally:
            await _close(messages)

    async def _stream(self, message: Message) -> AsyncIterator[Any]:
        handler, request = await self._ready(message)
        answers: AsyncIterator[Any] = handler.unary_stream(request, self.context)
        return answers

    async def _ready(self, message: Message) -> tuple[Any, Any]:
        """Return the handler of a call with one message, and the bytes that the handler parses."""
        handler = await self._server.find(self.details)
        return handler, await serialized(message, self._exchange.body.nbytes, self._limits)


async def _close(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


async def _answer_of(route: Route, response: Any) -> HttpResponse:
    if route.is_document:
        headers = {"content-disposition": "inline", "referrer-policy": "no-referrer"}
        if etag := getattr(response, "etag", ""):
            # Callers sent the content, so it must not run scripts. It may be erased, so caches revalidate it.
            headers |= {"etag": f'"{etag}"', "cache-control": "private, no-cache", **_NO_SCRIPTS}
        return HttpResponse(content=response.content, media_type=response.media_type, headers=headers)
    large = response.ByteSize() > PART_BYTES
    content = await in_json_thread(json_of, response) if large else json_of(response)
    serving = health_pb2.HealthCheckResponse.SERVING
    is_unhealthy = isinstance(response, health_pb2.HealthCheckResponse) and response.status != serving
    return HttpResponse(code=503 if is_unhealthy else 200, content=content)
