"""Sends calls over one synchronous channel, and turns what fails into this package's errors."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message

from headstart.calls import Call, Page
from headstart.channel import channel_options, target_uri
from headstart.chunks import chunks, relocated
from headstart.errors import Cancelled, ErrorDetails, HeadstartError, Unavailable
from headstart.following import Deadline
from headstart.inputs import Content
from headstart.interrupts import uninterrupted
from headstart.pipe import Pipe
from headstart.retries import LOADING_SECONDS, Backoff, loading_delay
from headstart.runs import Run
from headstart.settings import ConnectionSettings
from headstart.status import RpcFailure, deadline_passed, error_from_rpc
from headstart.upload import Upload

__all__ = ["Connection", "UploadReport"]

Result = TypeVar("Result")
UploadReport = Callable[[int, int | None], object]
"""Called with the examples sent so far and how many there are, or None where that is not known beforehand."""


class Connection:
    """A channel to a server. Safe to use from many threads.

    Args:
        settings: how the server is reached.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._is_closed = False
        options = channel_options(settings.retries)
        target = target_uri(settings.server)
        if settings.credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, settings.credentials, options)

    def close(self) -> None:
        """Ends all calls and the connection."""
        self._is_closed = True
        self._channel.close()

    def send(self, call: Call[Result], timeout: float | None = None) -> Result:
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
                return self._send(call, limit)
            except Unavailable as error:
                delay = loading_delay(error, self.settings.retries, deadline.remaining())
                if delay is not None:
                    time.sleep(delay)
                    limit = deadline.remaining()
                    continue
                if not call.may_follow(error):
                    raise
                time.sleep(backoff.delay_after(error))

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        method = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        try:
            response = method(call.request, timeout=timeout, metadata=self.settings.metadata)
        except grpc.RpcError as error:
            raise self._error(error) from None
        return call.read(response)

    def receive(self, call: Call[Result], timeout: float | None = None) -> Generator[Result, None, None]:
        """Sends a call and reads its answers as they come. Timeout in seconds, None: no limit."""
        method = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        start = partial(method, call.request, timeout=timeout, metadata=self.settings.metadata)
        responses = uninterrupted(start)
        try:
            for response in responses:
                yield call.read(response)
        except grpc.RpcError as error:
            raise self._error(error) from None
        finally:
            responses.cancel()

    def send_all(self, run: Run[Any], contents: Iterable[Content], timeout: float | None) -> None:
        """Sends inputs through as many calls as they need, within so many seconds in all."""
        deadline = Deadline(timeout)
        for chunk in chunks(contents, max_inputs=run.max_inputs):
            if deadline.passed:  # gRPC may still send a call with no time left
                raise deadline_passed()
            try:
                run.take(self.send(run.call(chunk), deadline.remaining()))
            except HeadstartError as error:
                raise relocated(error, chunk.first) from None

    def pages(self, page: Callable[[str], Call[Page[Result]]]) -> Iterator[Result]:
        """Gives the items of all pages, asking for a page when it is needed."""
        token = ""
        while True:
            answer = self.send(page(token))
            yield from answer.items
            token = answer.next_token
            if not token:
                return

    def upload(self, upload: Upload[Result], report: UploadReport | None) -> Result:
        """Sends a stream of examples, again from its beginning as long as no server answers."""
        backoff = Backoff(self.settings.retries, tries=self.settings.retries.attempts)
        deadline = Deadline(LOADING_SECONDS)
        while True:
            try:
                return self._upload(upload, report)
            except Unavailable as error:
                delay = loading_delay(error, self.settings.retries, deadline.remaining())
                if delay is not None:
                    upload.abandoned.wait(delay)
                    continue
                upload.abandoned.wait(backoff.delay_after(error))

    def _upload(self, upload: Upload[Result], report: UploadReport | None) -> Result:
        method: Any = self._channel.stream_unary(
            upload.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=upload.response.FromString,
        )
        pipe = Pipe[Message]()
        future = uninterrupted(partial(method.future, pipe, metadata=self.settings.metadata))
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
            # Cancelled before the pipe ends, or the server would take what it has for the whole dataset.
            future.cancel()
            raise
        return upload.read(response)

    def _timeout(self, call: Call[Any], timeout: float | None) -> float | None:
        limit = self.settings.timeout if timeout is None else timeout
        return None if limit is None else limit + call.extra_seconds

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(cast(RpcFailure, error), self.settings.server, is_closed=self._is_closed)


def _fill(pipe: Pipe[Message], upload: Upload[Any], report: UploadReport | None) -> None:
    for part in upload:
        if not pipe.put(part.message):
            return  # the call has ended early; its result says why
        if report is not None:
            report(part.count, upload.source.total)
    pipe.finish()
