"""Sends calls over an asynchronous channel, and raises this package's errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar, cast

import grpc
from grpc import aio

from headstart.calls.calls import Call, Page
from headstart.errors import HeadstartError, Unauthenticated, Unavailable
from headstart.inputs.prediction_inputs import NamedInput, OpenInputs
from headstart.transport.call_log import logged
from headstart.transport.channel import channel_options, target_uri
from headstart.transport.chunked_calls import Run
from headstart.transport.chunks import Chunk, chunks, relocated, without_invalid
from headstart.transport.connection import Connection, SharedChannel, UploadReport
from headstart.transport.retries import Attempts, Deadline, capacity_delay
from headstart.transport.settings import ConnectionSettings, Metadata
from headstart.transport.status import RpcFailure, deadline_passed, error_from_rpc
from headstart.transport.upload import Upload

Result = TypeVar("Result")
Item = TypeVar("Item")

_MAX_UPLOADS = 16


class AsyncChannels:
    """The channels of a client, which several connections share. They open at their first use.

    Uploads use a synchronous channel, in threads: a write of `grpc.aio` that fails because the server has
    ended the call replaces the server's status by an internal error (seen with grpcio 1.85). Channels of the
    caller are never closed here.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        channel: aio.Channel | None = None,
        upload_channel: grpc.Channel | None = None,
    ) -> None:
        self.is_closed = False
        self._settings = settings
        self._caller_channel = channel
        self._caller_upload_channel = upload_channel

    @cached_property
    def channel(self) -> aio.Channel:
        """The channel of all calls except uploads."""
        if self._caller_channel is not None:
            return self._caller_channel
        settings = self._settings
        target, options = target_uri(settings.server), channel_options()
        interceptors = [each for each in settings.interceptors if isinstance(each, aio.ClientInterceptor)]
        if settings.credentials is None:
            return aio.insecure_channel(target, options, interceptors=interceptors)
        return aio.secure_channel(target, settings.credentials, options, interceptors=interceptors)

    @cached_property
    def uploads(self) -> Connection:
        """The connection of uploads; an error if the caller passed a channel, but none for uploads."""
        if self._caller_upload_channel is not None:
            return Connection(self._settings, SharedChannel(self._caller_upload_channel, is_owned=False))
        if self._caller_channel is not None:
            raise ValueError(
                "Uploads require a synchronous channel. Pass AsyncClient.from_channel(..., "
                "upload_channel=grpc.insecure_channel(...))"
            )
        others = [each for each in self._settings.interceptors if not isinstance(each, aio.ClientInterceptor)]
        return Connection(replace(self._settings, interceptors=tuple(others)))

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """The threads of uploads, so that long ones do not occupy the program's default threads."""
        return ThreadPoolExecutor(_MAX_UPLOADS, "headstart-upload")

    async def close(self) -> None:
        """End all calls and close the channels, except the caller's."""
        self.is_closed = True
        if self._caller_channel is None:
            await self.channel.close()
        if "uploads" in self.__dict__:
            self.uploads.close()
        if "threads" in self.__dict__:
            self.threads.shutdown(wait=False)


class AsyncConnection:
    """A connection to a server, on the event loop of its first use; derived ones share its channels."""

    def __init__(
        self, settings: ConnectionSettings, channels: AsyncChannels | None = None, *, is_derived: bool = False
    ) -> None:
        self.settings = settings
        self._is_derived = is_derived
        self._channels = channels or AsyncChannels(settings)

    async def close(self) -> None:
        """End all calls and close the channels, unless the connection is derived."""
        if not self._is_derived:
            await self._channels.close()

    def with_settings(self, settings: ConnectionSettings) -> "AsyncConnection":
        """Return a connection over the same channels."""
        return AsyncConnection(settings, self._channels, is_derived=True)

    async def send(self, call: Call[Result], timeout: float | None = None) -> Result:
        """Send a call and return its result; retry it if it is idempotent and no server answers.

        `timeout` is in seconds for all attempts; None: the timeout of the settings.
        """
        attempts = Attempts(call.path, self.settings.retries, self.settings.seconds_of(call, timeout))
        return await self._authenticated(lambda metadata: self._persist(call, attempts, metadata))

    async def _persist(self, call: Call[Result], attempts: Attempts, metadata: Metadata) -> Result:
        while True:
            try:
                return await self._send(call, attempts.remaining(), metadata)
            except Unavailable as error:
                await asyncio.sleep(attempts.delay_after(error, repeatable=call.may_follow(error)))

    async def _send(self, call: Call[Result], timeout: float | None, metadata: Metadata) -> Result:
        method = self._channels.channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        with logged(call.path):
            try:
                response = await method(call.request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                raise self._error(error) from None
        return call.read(response)

    async def receive(self, call: Call[Result], timeout: float | None = None) -> AsyncGenerator[Result, None]:
        """Send a call and yield its results as they arrive; `timeout` in seconds, None: no limit."""
        tokens = self.settings.tokens
        token = await tokens.get_async()
        for is_last in (False, True):
            is_answered = False
            results = self._receive(call, timeout, self.settings.metadata_with(token))
            try:
                async with aclosing(results):
                    async for result in results:
                        is_answered = True
                        yield result
            except Unauthenticated:
                if is_last or is_answered or not tokens.renew(token):
                    raise
                token = await tokens.get_async()
            else:
                return

    async def _receive(
        self, call: Call[Result], timeout: float | None, metadata: Metadata
    ) -> AsyncGenerator[Result, None]:
        method = self._channels.channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        responses = method(call.request, timeout=timeout, metadata=metadata)
        with logged(call.path):
            try:
                async for response in responses:
                    yield call.read(response)
            except grpc.RpcError as error:
                raise self._error(error) from None
            finally:
                responses.cancel()

    async def send_all(
        self,
        run: Run[Any],
        open_inputs: Callable[[], OpenInputs],
        timeout: float | None,
        read: Callable[[bool], Result],
    ) -> Result:
        """Send inputs in as many calls as needed, within `timeout` seconds.

        `read` makes the result, with whether there is a single input.
        """
        opened = await asyncio.to_thread(open_inputs)
        async for chunk, answer in self.stream(run, opened.items, timeout):
            run.collect(chunk, answer)
        return read(opened.is_one)

    async def stream(
        self, run: Run[Result], items: Iterable[NamedInput], timeout: float | None
    ) -> AsyncIterator[tuple[Chunk, Result | None]]:
        """Send inputs as `send_all`; yield each portion with its response, None if no input was sent."""
        deadline = Deadline(timeout)
        async for chunk in _in_thread(chunks(items, max_inputs=run.max_inputs, keep_errors=run.keep_errors)):
            sent = await self._send_chunk(run, chunk, deadline)
            yield sent

    async def _send_chunk(
        self, run: Run[Result], chunk: Chunk, deadline: Deadline
    ) -> tuple[Chunk, Result | None]:
        failures = 0
        while chunk.inputs:
            if deadline.passed:  # gRPC may still send a call with no time left
                raise deadline_passed()
            try:
                answer = await self.send(run.call(chunk), deadline.remaining())
            except HeadstartError as error:
                failures += 1
                delay = capacity_delay(error, failures) if run.is_bulk else None
                if delay is not None:
                    await asyncio.sleep(delay)
                    continue
                if not run.keep_errors:
                    raise relocated(error, chunk) from None
                chunk = without_invalid(chunk, error)
            else:
                run.record(answer)
                return chunk, answer
        return chunk, None

    async def pages(self, page: Callable[[str], Call[Page[Result]]]) -> AsyncIterator[Result]:
        """Yield the items of all pages, requesting a page when it is needed."""
        token = ""
        while True:
            answer = await self.send(page(token))
            for item in answer.items:
                yield item
            token = answer.next_token
            if not token:
                return

    async def all_pages(self, page: Callable[[str], Call[Page[Result]]]) -> list[Result]:
        """Return the items of all pages."""
        return [item async for item in self.pages(page)]

    async def upload(self, opened: Callable[[], Upload[Result]], report: UploadReport | None) -> Result:
        """Open a stream of examples and send it; restart it if no server answers."""
        loop = asyncio.get_running_loop()
        upload = await asyncio.to_thread(opened)

        def relay(count: int, total: int | None) -> None:
            if report is not None:
                loop.call_soon_threadsafe(report, count, total)

        # The settings may differ from those that the channels were made with.
        connection = self._channels.uploads.with_settings(self.settings)

        async def deliver(metadata: Metadata) -> Result:
            return await loop.run_in_executor(
                self._channels.threads, connection.deliver, upload, relay, metadata
            )

        try:
            return await self._authenticated(deliver)
        except asyncio.CancelledError:
            upload.abandoned.set()
            raise

    async def _authenticated(self, send: Callable[[Metadata], Awaitable[Result]]) -> Result:
        """Send with the current token, and again if the server rejects it and it is renewable."""
        tokens = self.settings.tokens
        token = await tokens.get_async()
        try:
            return await send(self.settings.metadata_with(token))
        except Unauthenticated:
            if not tokens.renew(token):
                raise
        return await send(self.settings.metadata_with(await tokens.get_async()))

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(
            cast(RpcFailure, error), self.settings.server, is_closed=self._channels.is_closed
        )


async def _in_thread(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Yield each item from a thread: reading files would block the event loop."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield cast(Item, item)
