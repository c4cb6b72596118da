"""The channels of an asynchronous client."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import grpc
from grpc import aio

from headstart.transport.blocking_wire import BlockingWire
from headstart.transport.channel import channel_options, target_uri
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import ConnectionSettings, Metadata
from headstart.transport.tokens import TokenSource
from headstart.transport.upload import Upload, UploadReport

Result = TypeVar("Result")
Item = TypeVar("Item")

_MAX_UPLOADS = 16


class AsyncWire:
    """The channels of a client, which several connections share; see `Wire`. They open at their first use.

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
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first call; channels of grpc.aio need it

    @property
    def channel(self) -> Any:
        """The channel of all calls except uploads; an error on another event loop than the first one."""
        self._check_loop()
        return self._own_channel if self._caller_channel is None else self._caller_channel

    @cached_property
    def _own_channel(self) -> aio.Channel:
        settings = self._settings
        target, options = target_uri(settings.server), channel_options(settings.server)
        interceptors = [each for each in settings.interceptors if isinstance(each, aio.ClientInterceptor)]
        if settings.credentials is None:
            return aio.insecure_channel(target, options, interceptors=interceptors)
        return aio.secure_channel(target, settings.credentials, options, interceptors=interceptors)

    @cached_property
    def uploads(self) -> BlockingWire:
        """The channel of uploads; an error if the caller passed a channel, but none for uploads."""
        if self._caller_upload_channel is not None:
            return BlockingWire(self._settings, self._caller_upload_channel)
        if self._caller_channel is not None:
            raise ValueError(
                "Uploads require a synchronous channel. Pass AsyncClient.from_channel(..., "
                "upload_channel=grpc.insecure_channel(...))"
            )
        others = [each for each in self._settings.interceptors if not isinstance(each, aio.ClientInterceptor)]
        return BlockingWire(replace(self._settings, interceptors=tuple(others)))

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """The threads of uploads, so that long ones do not occupy the program's default threads."""
        return ThreadPoolExecutor(_MAX_UPLOADS, "headstart-upload")

    def finish(self, work: Awaitable[Result]) -> Any:
        """Return a coroutine, which the caller awaits."""
        return work

    def iterate(self, items: AsyncGenerator[Item, None]) -> Any:
        """Return an asynchronous generator."""
        return items

    async def close(self) -> None:
        """End all calls and close the channels, except the caller's."""
        self.is_closed = True
        channel = self.__dict__.pop("_own_channel", None)
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.close()  # on another event loop, it is closed when it is deleted
        if "uploads" in self.__dict__:
            await self.uploads.close()
        if "threads" in self.__dict__:
            self.threads.shutdown(wait=False)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function that may block, such as one that reads files, in a thread."""
        return await asyncio.to_thread(function, *arguments)

    async def token(self, tokens: TokenSource) -> str | None:
        """Return the token of the next call."""
        return await tokens.get_async()

    async def answer(self, start: Callable[[], Any]) -> Any:
        """Start a call and return its response."""
        return await start()

    async def answers(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Start a call and yield its responses."""
        responses = start()
        try:
            async for response in responses:
                yield response
        finally:
            responses.cancel()

    async def deliver(
        self, upload: Upload[Result], report: UploadReport | None, policy: RetryPolicy, metadata: Metadata
    ) -> Result:
        """Send a stream of examples in a thread; restart it if no server answers."""
        self._check_loop()
        loop = asyncio.get_running_loop()

        def relay(count: int, total: int | None) -> None:
            if report is not None:
                loop.call_soon_threadsafe(report, count, total)

        send = self.uploads.send_stream
        try:
            return await loop.run_in_executor(self.threads, send, upload, relay, policy, metadata)
        except (asyncio.CancelledError, GeneratorExit):  # the latter if the event loop ends
            upload.cancellation.request()
            raise

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ValueError(
                "The client belongs to the event loop of its first call. Create another AsyncClient within "
                "each asyncio.run"
            )
