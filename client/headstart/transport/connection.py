"""Sends calls over a synchronous channel, and raises this package's errors."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message

from headstart.calls.calls import Call, Page
from headstart.errors import Cancelled, ErrorDetails, HeadstartError, Unauthenticated, Unavailable
from headstart.inputs.prediction_inputs import NamedInput, OpenInputs
from headstart.transport.call_log import LOGGER, logged
from headstart.transport.channel import channel_options, target_uri
from headstart.transport.chunked_calls import Run
from headstart.transport.chunks import Chunk, chunks, relocated, without_invalid
from headstart.transport.retries import (
    LOADING_SECONDS,
    Attempts,
    Backoff,
    Deadline,
    capacity_delay,
    loading_delay,
)
from headstart.transport.settings import ConnectionSettings, Metadata
from headstart.transport.status import RpcFailure, deadline_passed, error_from_rpc
from headstart.transport.upload import Pipe, Upload

Started = TypeVar("Started")
Result = TypeVar("Result")
UploadReport = Callable[[int, int | None], object]
"""A callback with the number of sent examples and their total, None if it is unknown."""


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


class SharedChannel:
    """A channel that several connections share."""

    def __init__(self, channel: grpc.Channel, *, is_owned: bool = True) -> None:
        self.channel = channel
        self.is_closed = False
        self._is_owned = is_owned

    def close(self) -> None:
        """End all calls and close the channel, unless the caller owns it."""
        self.is_closed = True
        if self._is_owned:
            self.channel.close()


class Connection:
    """A connection to a server. Safe to use from many threads; derived ones share its channel."""

    def __init__(
        self, settings: ConnectionSettings, shared: SharedChannel | None = None, *, is_derived: bool = False
    ) -> None:
        self.settings = settings
        self._is_derived = is_derived
        self._shared = shared or SharedChannel(_open_channel(settings))

    def close(self) -> None:
        """End all calls and close the channel, unless the connection is derived."""
        if not self._is_derived:
            self._shared.close()

    def with_settings(self, settings: ConnectionSettings) -> "Connection":
        """Return a connection over the same channel."""
        return Connection(settings, self._shared, is_derived=True)

    def send(self, call: Call[Result], timeout: float | None = None) -> Result:
        """Send a call and return its result; retry it if it is idempotent and no server answers.

        `timeout` is in seconds for all attempts; None: the timeout of the settings.
        """
        limit = self.settings.seconds_of(call, timeout)
        attempts = Attempts(call.path, self.settings.retries, limit)
        return self._authenticated(lambda metadata: self._persist(call, attempts, metadata))

    def _persist(self, call: Call[Result], attempts: Attempts, metadata: Metadata) -> Result:
        while True:
            try:
                return self._send(call, attempts.remaining(), metadata)
            except Unavailable as error:
                time.sleep(attempts.delay_after(error, repeatable=call.may_follow(error)))

    def _send(self, call: Call[Result], timeout: float | None, metadata: Metadata) -> Result:
        method = self._shared.channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        with logged(call.path):
            try:
                response = method(call.request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                raise self._error(error) from None
        return call.read(response)

    def receive(self, call: Call[Result], timeout: float | None = None) -> Generator[Result, None, None]:
        """Send a call and yield its results as they arrive; `timeout` in seconds, None: no limit."""
        token = self.settings.tokens.get()
        for is_last in (False, True):
            is_answered = False
            try:
                with closing(self._receive(call, timeout, self.settings.metadata_with(token))) as results:
                    for result in results:
                        is_answered = True
                        yield result
            except Unauthenticated:
                if is_last or is_answered or not self.settings.tokens.renew(token):
                    raise
                token = self.settings.tokens.get()
            else:
                return

    def _receive(
        self, call: Call[Result], timeout: float | None, metadata: Metadata
    ) -> Generator[Result, None, None]:
        method = self._shared.channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        responses = uninterrupted(partial(method, call.request, timeout=timeout, metadata=metadata))
        with logged(call.path):
            try:
                for response in responses:
                    yield call.read(response)
            except grpc.RpcError as error:
                raise self._error(error) from None
            finally:
                responses.cancel()

    def send_all(
        self,
        run: Run[Any],
        open_inputs: Callable[[], OpenInputs],
        timeout: float | None,
        read: Callable[[bool], Result],
    ) -> Result:
        """Send inputs in as many calls as needed, within `timeout` seconds.

        `read` makes the result, with whether there is a single input.
        """
        opened = open_inputs()
        for chunk, answer in self.stream(run, opened.items, timeout):
            run.collect(chunk, answer)
        return read(opened.is_one)

    def stream(
        self, run: Run[Result], items: Iterable[NamedInput], timeout: float | None
    ) -> Iterator[tuple[Chunk, Result | None]]:
        """Send inputs as `send_all`; yield each portion with its response, None if no input was sent."""
        deadline = Deadline(timeout)
        for chunk in chunks(items, max_inputs=run.max_inputs, keep_errors=run.keep_errors):
            sent = self._send_chunk(run, chunk, deadline)
            yield sent

    def _send_chunk(self, run: Run[Result], chunk: Chunk, deadline: Deadline) -> tuple[Chunk, Result | None]:
        failures = 0
        while chunk.inputs:
            if deadline.passed:  # gRPC may still send a call with no time left
                raise deadline_passed()
            try:
                answer = self.send(run.call(chunk), deadline.remaining())
            except HeadstartError as error:
                failures += 1
                delay = capacity_delay(error, failures) if run.is_bulk else None
                if delay is not None:
                    time.sleep(delay)
                    continue
                if not run.keep_errors:
                    raise relocated(error, chunk) from None
                chunk = without_invalid(chunk, error)
            else:
                run.record(answer)
                return chunk, answer
        return chunk, None

    def pages(self, page: Callable[[str], Call[Page[Result]]]) -> Iterator[Result]:
        """Yield the items of all pages, requesting a page when it is needed."""
        token = ""
        while True:
            answer = self.send(page(token))
            yield from answer.items
            token = answer.next_token
            if not token:
                return

    def all_pages(self, page: Callable[[str], Call[Page[Result]]]) -> list[Result]:
        """Return the items of all pages."""
        return list(self.pages(page))

    def upload(self, opened: Callable[[], Upload[Result]], report: UploadReport | None) -> Result:
        """Open a stream of examples and send it; restart it if no server answers."""
        upload = opened()
        return self._authenticated(lambda metadata: self.deliver(upload, report, metadata))

    def deliver(self, upload: Upload[Result], report: UploadReport | None, metadata: Metadata) -> Result:
        """Send a stream of examples as `upload`, with this metadata."""
        backoff = Backoff(self.settings.retries, tries=self.settings.retries.attempts)
        deadline = Deadline(LOADING_SECONDS)
        while True:
            try:
                with logged(upload.path):
                    return self._upload(upload, report, metadata)
            except Unavailable as error:
                delay = loading_delay(error, self.settings.retries, deadline.remaining())
                if delay is None:
                    delay = backoff.delay_after(error)
                LOGGER.info("%s is sent again in %.2f s: %s", upload.path, delay, error)
                upload.abandoned.wait(delay)

    def _upload(self, upload: Upload[Result], report: UploadReport | None, metadata: Metadata) -> Result:
        method: Any = self._shared.channel.stream_unary(
            upload.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=upload.response.FromString,
        )
        pipe = Pipe[Message]()
        future = uninterrupted(partial(method.future, pipe, metadata=metadata))
        future.add_done_callback(lambda _: pipe.close())
        try:
            _fill(pipe, upload, report)
            response = future.result()
        except grpc.RpcError as error:
            raise self._error(error) from None
        except grpc.FutureCancelledError:
            details = ErrorDetails(code=grpc.StatusCode.CANCELLED, message="The client was closed.")
            raise Cancelled(details) from None
        except BaseException:
            # Cancel before the pipe ends, or the server would accept a partial dataset as complete.
            future.cancel()
            raise
        return upload.read(response)

    def _authenticated(self, send: Callable[[Metadata], Result]) -> Result:
        """Send with the current token, and again if the server rejects it and it is renewable."""
        tokens = self.settings.tokens
        token = tokens.get()
        try:
            return send(self.settings.metadata_with(token))
        except Unauthenticated:
            if not tokens.renew(token):
                raise
        return send(self.settings.metadata_with(tokens.get()))

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(cast(RpcFailure, error), self.settings.server, is_closed=self._shared.is_closed)


def _open_channel(settings: ConnectionSettings) -> grpc.Channel:
    target, options = target_uri(settings.server), channel_options()
    if settings.credentials is None:
        channel = grpc.insecure_channel(target, options)
    else:
        channel = grpc.secure_channel(target, settings.credentials, options)
    return grpc.intercept_channel(channel, *settings.interceptors) if settings.interceptors else channel


def _fill(pipe: Pipe[Message], upload: Upload[Any], report: UploadReport | None) -> None:
    for part in upload:
        if not pipe.put(part.message):
            return  # the call has ended early; its result says why
        if report is not None:
            report(part.count, upload.source.total)
    pipe.finish()
