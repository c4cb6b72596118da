"""Sends calls over one asynchronous channel, and turns what fails into this package's errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, TypeVar, cast

import grpc
from grpc import aio

from headstart.calls import Call, Page
from headstart.channel import channel_options, target_uri
from headstart.chunks import chunks, relocated
from headstart.connection import UploadReport
from headstart.errors import HeadstartError, Unavailable
from headstart.following import Deadline
from headstart.inputs import Content
from headstart.retries import Backoff
from headstart.runs import Run
from headstart.settings import ConnectionSettings
from headstart.status import RpcFailure, error_from_rpc
from headstart.upload import Upload
from headstart.v1 import fine_tuning_service_pb2 as pb

__all__ = ["AsyncConnection"]

Result = TypeVar("Result")
Item = TypeVar("Item")


class AsyncConnection:
    """A channel to a server, for one event loop: the one that is running when it is first used.

    Args:
        settings: how the server is reached.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings

    async def close(self) -> None:
        """Ends all calls and the connection."""
        await self._channel.close()

    async def send(self, call: Call[Result], timeout: float | None = None) -> Result:
        """Sends a call and reads its answer.

        Args:
            call: the call.
            timeout: seconds. None: as the settings say.
        """
        method = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        try:
            response = await method(
                call.request,
                timeout=self._timeout(call, timeout),
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
        async for chunk in _threaded(chunks(contents)):
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

    async def upload(self, upload: Upload, report: UploadReport | None) -> pb.FineTuneResponse:
        """Sends a fine-tune's stream, again from its beginning as long as no server answers."""
        backoff = Backoff(self.settings.retries, tries=self.settings.retries.attempts)
        while True:
            try:
                return await self._upload(upload, report)
            except Unavailable as error:
                await asyncio.sleep(backoff.delay_after(error))

    async def _upload(self, upload: Upload, report: UploadReport | None) -> pb.FineTuneResponse:
        method = self._channel.stream_unary(
            "/headstart.v1.FineTuningService/FineTune",
            request_serializer=pb.FineTuneRequest.SerializeToString,
            response_deserializer=pb.FineTuneResponse.FromString,
        )
        call = method(metadata=self.settings.metadata)
        try:
            async for part in _threaded(iter(upload)):
                if not await _written(call, part.message):
                    break  # the call has ended early; its result says why
                if report is not None:
                    report(part.count, upload.source.total)
            else:
                await call.done_writing()
            return await call
        except grpc.RpcError as error:
            raise self._error(error) from None
        finally:
            # Does nothing to a call that has ended. Any other is given up before it could be taken for
            # complete.
            call.cancel()

    @cached_property
    def _channel(self) -> aio.Channel:
        options = channel_options(self.settings.retries)
        target = target_uri(self.settings.target)
        if self.settings.credentials is None:
            return aio.insecure_channel(target, options)
        return aio.secure_channel(target, self.settings.credentials, options)

    def _timeout(self, call: Call[Any], timeout: float | None) -> float | None:
        limit = self.settings.timeout if timeout is None else timeout
        return None if limit is None else limit + call.extra_seconds

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(cast(RpcFailure, error), self.settings.target)


async def _written(call: Any, message: pb.FineTuneRequest) -> bool:
    try:
        await call.write(message)
    except (grpc.RpcError, asyncio.InvalidStateError):
        return False
    return True


async def _threaded(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Takes each item in a thread: reading files must not hold up the event loop."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield cast(Item, item)
