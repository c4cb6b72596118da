"""The channel of a synchronous client: its coroutines block, and never suspend."""

import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message

from headstart.errors import Cancelled, ErrorDetails, Unavailable
from headstart.transport.call_log import LOGGER, logged
from headstart.transport.channel import channel_options, target_uri
from headstart.transport.retries import LOADING_SECONDS, Backoff, Deadline, RetryPolicy, loading_delay
from headstart.transport.settings import ConnectionSettings, Metadata
from headstart.transport.status import RpcFailure, error_from_rpc, reading
from headstart.transport.tokens import TokenSource
from headstart.transport.upload import Pipe, Upload, UploadReport

Started = TypeVar("Started")
Result = TypeVar("Result")
Item = TypeVar("Item")


def uninterrupted(start: Callable[[], Started]) -> Started:
    """Start a streaming call; from the main thread, start it in a new thread.

    Python raises KeyboardInterrupt in the main thread only, at any instruction. Raised while gRPC starts a
    streaming call, it leaves an unused call behind, and closing the channel waits for it forever (seen with
    grpcio 1.85). A call that starts in another thread is handled, even if its caller is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        return start()
    with ThreadPoolExecutor(1, "headstart-start") as thread:
        return thread.submit(start).result()


class BlockingWire:
    """The channel of a client, which several connections share; see `Wire`.

    A channel of the caller is never closed here.
    """

    def __init__(self, settings: ConnectionSettings, channel: grpc.Channel | None = None) -> None:
        self.channel = _open_channel(settings) if channel is None else channel
        self.is_closed = False
        self._server = settings.server
        self._is_owned = channel is None

    def finish(self, work: Awaitable[Result]) -> Result:
        """Run a coroutine to its end and return its result."""
        try:
            next(work.__await__())
        except StopIteration as ended:
            return cast(Result, ended.value)
        raise AssertionError("a coroutine of the synchronous client suspended")

    def iterate(self, items: AsyncGenerator[Item, None]) -> Iterator[Item]:
        """Yield the items of an asynchronous generator."""
        try:
            while True:
                try:
                    item = self.finish(items.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.finish(items.aclose())

    async def close(self) -> None:
        """End all calls and close the channel, unless the caller owns it."""
        self.is_closed = True
        if self._is_owned:
            self.channel.close()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function that may block."""
        return function(*arguments)

    async def token(self, tokens: TokenSource) -> str | None:
        """Return the token of the next call."""
        return tokens.get()

    async def answer(self, start: Callable[[], Any]) -> Any:
        """Start a call and return its response."""
        return start()

    async def answers(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Start a call and yield its responses."""
        responses = uninterrupted(start)
        try:
            for response in responses:
                yield response
        finally:
            responses.cancel()

    async def deliver(
        self, upload: Upload[Result], report: UploadReport | None, policy: RetryPolicy, metadata: Metadata
    ) -> Result:
        """Send a stream of examples; restart it if no server answers."""
        return self.send_stream(upload, report, policy, metadata)

    def send_stream(
        self, upload: Upload[Result], report: UploadReport | None, policy: RetryPolicy, metadata: Metadata
    ) -> Result:
        """Send a stream of examples as `deliver`; callable from any thread."""
        backoff = Backoff(policy, tries=policy.attempts)
        deadline = Deadline(LOADING_SECONDS)
        while True:
            upload.cancellation.check()
            try:
                with logged(upload.path):
                    return self._send_stream(upload, report, metadata)
            except Unavailable as error:
                delay = loading_delay(error, policy, deadline.remaining())
                if delay is None:
                    delay = backoff.delay_after(error)
                LOGGER.info("%s is sent again in %.2f s: %s", upload.path, delay, error)
                upload.cancellation.pause(delay)

    def _send_stream(self, upload: Upload[Result], report: UploadReport | None, metadata: Metadata) -> Result:
        method: Any = self.channel.stream_unary(
            upload.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=upload.response.FromString,
        )
        pipe = Pipe[Message]()
        future = uninterrupted(partial(method.future, pipe, metadata=metadata))
        future.add_done_callback(lambda _: pipe.close())
        try:
            upload.cancellation.covers(future)
            _fill(pipe, upload, report)
            response = future.result()
        except grpc.RpcError as error:
            raise error_from_rpc(cast(RpcFailure, error), self._server, is_closed=self.is_closed) from None
        except grpc.FutureCancelledError:
            upload.cancellation.check()
            details = ErrorDetails(code=grpc.StatusCode.CANCELLED, message="The client was closed.")
            raise Cancelled(details) from None
        except BaseException:
            # Cancel before the pipe ends, or the server would accept a partial dataset as complete.
            future.cancel()
            raise
        with reading(self._server):
            return upload.read(response)


def _open_channel(settings: ConnectionSettings) -> grpc.Channel:
    target, options = target_uri(settings.server), channel_options(settings.server)
    if settings.credentials is None:
        channel = grpc.insecure_channel(target, options)
    else:
        channel = grpc.secure_channel(target, settings.credentials, options)
    return grpc.intercept_channel(channel, *settings.interceptors) if settings.interceptors else channel


def _fill(pipe: Pipe[Message], upload: Upload[Any], report: UploadReport | None) -> None:
    """Send the parts; the last report, whose numbers are equal, comes just before the end of the stream."""
    count, total = 0, upload.source.total
    for part in upload:
        if not pipe.put(part.message):
            return  # the call has ended early; its result says why
        count = part.count
        if report is not None and count != total:
            report(count, total)
    if not pipe.drain():
        return
    upload.cancellation.check()
    if report is not None:
        report(count, count)
    pipe.finish()
