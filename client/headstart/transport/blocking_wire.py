"""The channel of a synchronous client: its coroutines block, and never suspend."""

import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
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

Result = TypeVar("Result")
Item = TypeVar("Item")

#: Stands for the end of the responses.
_END = object()
#: Seconds after which a wait is repeated.
_WAIT_SECONDS = 0.2


class Uninterrupted:
    """Runs functions in another thread, in which no KeyboardInterrupt is raised; None runs them here."""

    def __init__(self, thread: Executor | None) -> None:
        self._thread = thread

    def __call__(self, function: Callable[[], Result]) -> Result:
        """Return the result of a function."""
        if self._thread is None:
            return function()
        work = self._thread.submit(function)
        # A signal that arrives just before a wait begins does not end it.
        while not wait([work], _WAIT_SECONDS).done:
            pass
        return work.result()


@contextmanager
def uninterrupted() -> Iterator[Uninterrupted]:
    """Provide a way to run gRPC's functions for a streaming call; from the main thread, in another thread.

    Python raises KeyboardInterrupt in the main thread only, at any instruction. Raised while gRPC starts a
    streaming call, it leaves an unused call behind; raised just after gRPC has taken the lock of one, it
    leaves the lock taken. Closing the channel then waits forever (seen with grpcio 1.85). In another thread
    neither happens, even if its caller is interrupted. That caller must then end the call.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Uninterrupted(None)
        return
    with ThreadPoolExecutor(1, "headstart-call") as thread:
        yield Uninterrupted(thread)


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
        with uninterrupted() as run:
            responses = run(start)
            following = partial(next, responses, _END)
            try:
                while (response := run(following)) is not _END:
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

        def start() -> Any:
            future = method.future(pipe, metadata=metadata)
            future.add_done_callback(lambda _: pipe.close())
            return future

        with uninterrupted() as run:
            future = run(start)
            try:
                upload.cancellation.covers(future)
                _fill(pipe, upload, report)
                response = run(future.result)
            except grpc.RpcError as error:
                raise error_from_rpc(
                    cast(RpcFailure, error), self._server, is_closed=self.is_closed
                ) from None
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
