"""Sends calls over one asynchronous channel, and turns what fails into this package's errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar, cast

import grpc
from grpc import aio

from headstart.calls import Call, Page
from headstart.channel import channel_options, target_uri
from headstart.chunks import chunks, relocated
from headstart.connection import Connection, UploadReport
from headstart.errors import HeadstartError, Unavailable
from headstart.following import Deadline
from headstart.inputs import Content
from headstart.retries import Backoff, loading_delay
from headstart.runs import Run
from headstart.settings import ConnectionSettings
from headstart.status import RpcFailure, deadline_passed, error_from_rpc
from headstart.upload import Upload

__all__ = ["AsyncConnection"]

Result = TypeVar("Result")
Item = TypeVar("Item")

_MAX_UPLOADS = 16


class AsyncConnection:
    """A channel to a server, for one event loop: the one that is running when it is first used.

    Args:
        settings: how the server is reached.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._is_closed = False

    async def close(self) -> None:
        """Ends all calls and the connection."""
        self._is_closed = True
        await self._channel.close()
        if "_uploads" in self.__dict__:
            self._uploads.close()
            self._threads.shutdown(wait=False)

    async def send(self, call: Call[Result], timeout: float | None = None) -> Result:
        """Sends a call and reads its answer; again, where that does no harm and no server answers.

        Args:
            call: the call.
            timeout: seconds of each try, and of all tries while a backbone is being loaded. None: as the
                settings say.
        """
        backoff = Backoff(self.settings.retries, tries=self.settings.retries.attempts)
        limit = self._timeout(call, timeout)
        deadline = Deadline(limit)
        while True:
            try:
                return await self._send(call, limit)
            except Unavailable as error:
                delay = loading_delay(error, self.settings.retries, deadline.remaining())
                if delay is not None:
                    await asyncio.sleep(delay)
                    limit = deadline.remaining()
                    continue
                if not call.may_follow(error):
                    raise
                await asyncio.sleep(backoff.delay_after(error))

    async def _send(self, call: Call[Result], timeout: float | None) -> Result:
        method = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        try:
            response = await method(
                call.request,
                timeout=timeout,
                metadata=self.settings.metadata,
            )
        except grpc.RpcError as error:
            raise self._error(error) from None
        return call.read(response)

    async def receive(self, call: Call[Result], timeout: float | None = None) -> AsyncGenerator[Result, None]:
        """Sends a call and reads its answers as they come. Timeout in seconds, None: no limit."""
        method = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        responses = method(call.request, timeout=timeout, metadata=self.settings.metadata)
        try:
            async for response in responses:
                yield call.read(response)
        except grpc.RpcError as error:
            raise self._error(error) from None
        finally:
            responses.cancel()

    async def send_all(self, run: Run[Any], contents: Iterable[Content], timeout: float | None) -> None:
        """Sends inputs through as many calls as they need, within so many seconds in all."""
        deadline = Deadline(timeout)
        async for chunk in _in_thread(chunks(contents, max_inputs=run.max_inputs)):
            if deadline.passed:  # gRPC may still send a call with no time left
                raise deadline_passed()
            try:
                run.take(await self.send(run.call(chunk), deadline.remaining()))
            except HeadstartError as error:
                raise relocated(error, chunk.first) from None

    async def pages(self, page: Callable[[str], Call[Page[Result]]]) -> AsyncIterator[Result]:
        """Gives the items of all pages, asking for a page when it is needed."""
        token = ""
        while True:
            answer = await self.send(page(token))
            for item in answer.items:
                yield item
            token = answer.next_token
            if not token:
                return

    async def upload(self, upload: Upload[Result], report: UploadReport | None) -> Result:
        """Sends a stream of examples, again from its beginning as long as no server answers.

        It goes over a synchronous channel, in a thread: a write of `grpc.aio` that fails because the server
        has ended the call replaces the server's status by an internal error (seen with grpcio 1.85).
        """
        loop = asyncio.get_running_loop()

        def relay(count: int, total: int | None) -> None:
            if report is not None:
                loop.call_soon_threadsafe(report, count, total)

        try:
            return await loop.run_in_executor(self._threads, self._uploads.upload, upload, relay)
        except asyncio.CancelledError:
            upload.abandoned.set()
            raise

    @cached_property
    def _uploads(self) -> Connection:
        return Connection(self.settings)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # Its own, so that long uploads do not take the threads that other parts of the program wait for.
        return ThreadPoolExecutor(_MAX_UPLOADS, "headstart-upload")

    @cached_property
    def _channel(self) -> aio.Channel:
        options = channel_options(self.settings.retries)
        target = target_uri(self.settings.server)
        if self.settings.credentials is None:
            return aio.insecure_channel(target, options)
        return aio.secure_channel(target, self.settings.credentials, options)

    def _timeout(self, call: Call[Any], timeout: float | None) -> float | None:
        limit = self.settings.timeout if timeout is None else timeout
        return None if limit is None else limit + call.extra_seconds

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(cast(RpcFailure, error), self.settings.server, is_closed=self._is_closed)


async def _in_thread(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Takes each item in a thread: reading files must not hold up the event loop."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield cast(Item, item)
