"""Sends calls over a channel, and raises this package's errors."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import grpc

from headstart.calls.calls import Call, Page
from headstart.errors import HeadstartError, ResourceExhausted, Unauthenticated, Unavailable
from headstart.inputs.prediction_inputs import NamedInput, OpenInputs
from headstart.transport.call_log import logged
from headstart.transport.chunked_calls import Run
from headstart.transport.chunks import CallSize, Chunk, chunks, input_error, relocated, without_invalid
from headstart.transport.retries import Attempts, Deadline, RetryPolicy, capacity_delay
from headstart.transport.settings import ConnectionSettings, Metadata
from headstart.transport.status import (
    RpcFailure,
    deadline_passed,
    error_from_rpc,
    invalid_response,
    reading,
)
from headstart.transport.tokens import TokenSource
from headstart.transport.upload import Upload, UploadReport

Result = TypeVar("Result")
Item = TypeVar("Item")

#: Seconds of the longest timeout of a call, about 30 years; gRPC ends calls with infinite ones immediately.
_LONGEST_TIMEOUT = 1e9


class Wire(Protocol):
    """The channel of a client, and how the client waits.

    Everything else of a client is written once, in coroutines. In a synchronous client they wait by blocking,
    so that they never suspend; in an asynchronous client they run on the caller's event loop.
    """

    @property
    def channel(self) -> Any:
        """The channel of all calls except uploads."""

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""

    def finish(self, work: Awaitable[Result]) -> Result:
        """Return the result of a coroutine; in an asynchronous client, the coroutine."""

    def iterate(self, items: AsyncGenerator[Item, None]) -> Iterator[Item]:
        """Yield the items of a generator; in an asynchronous client, return the generator."""

    async def close(self) -> None:
        """End all calls and close the channel, unless the caller owns it."""

    async def pause(self, seconds: float) -> None:
        """Wait."""

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function that may block, such as one that reads files."""

    async def token(self, tokens: TokenSource) -> str | None:
        """Return the token of the next call."""

    async def answer(self, start: Callable[[], Any]) -> Any:
        """Start a call and return its response."""

    def answers(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Start a call and yield its responses; cancel it at the end."""

    async def deliver(
        self, upload: Upload[Result], report: UploadReport | None, policy: RetryPolicy, metadata: Metadata
    ) -> Result:
        """Send a stream of examples; restart it if no server answers."""


class Exchange:
    """Sends calls with their retries and the current token."""

    def __init__(self, settings: ConnectionSettings, wire: Wire) -> None:
        self.settings = settings
        self.wire = wire

    @property
    def _channel(self) -> Any:
        """The channel of all calls except uploads; an error if the client is closed."""
        self._check_open()
        return self.wire.channel

    def _check_open(self) -> None:
        if self.wire.is_closed:
            raise ValueError("The client is closed. Use it within its `with` block, or create another one.")

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
                await self.wire.pause(attempts.delay_after(error, repeatable=call.may_follow(error)))

    async def _send(self, call: Call[Result], timeout: float | None, metadata: Metadata) -> Result:
        start = _start(self._channel.unary_unary, call, timeout, metadata)
        with logged(call.path):
            try:
                response = await self.wire.answer(start)
            except grpc.RpcError as error:
                raise self._error(error) from None
        with reading(self.settings.server):
            return call.read(response)

    async def receive(self, call: Call[Result], timeout: float | None = None) -> AsyncGenerator[Result, None]:
        """Send a call and yield its results as they arrive; `timeout` in seconds, None: no limit."""
        tokens = self.settings.tokens
        token = await self.wire.token(tokens)
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
                token = await self.wire.token(tokens)
            else:
                return

    async def _receive(
        self, call: Call[Result], timeout: float | None, metadata: Metadata
    ) -> AsyncGenerator[Result, None]:
        start = _start(self._channel.unary_stream, call, timeout, metadata)
        with logged(call.path):
            try:
                async with aclosing(self.wire.answers(start)) as responses:
                    async for response in responses:
                        with reading(self.settings.server):
                            result = call.read(response)
                        yield result
            except grpc.RpcError as error:
                raise self._error(error) from None

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
        opened = await self.wire.in_thread(open_inputs)
        async for chunk, answer in self.stream(run, opened.items, timeout):
            run.collect(chunk, answer)
        return read(opened.is_one)

    async def stream(
        self, run: Run[Result], items: Iterable[NamedInput], timeout: float | None
    ) -> AsyncGenerator[tuple[Chunk, Result | None], None]:
        """Send inputs as `send_all`; yield each portion with its response, None if no input was sent."""
        deadline = Deadline(timeout)
        size = CallSize()
        portions = chunks(items, max_inputs=run.max_inputs, keep_errors=run.keep_errors, size_limit=size)
        while (portion := await self.wire.in_thread(next, portions, None)) is not None:
            waiting = [portion]
            while waiting:
                chunk = waiting.pop(0)
                try:
                    sent = await self._send_chunk(run, chunk, deadline)
                except ResourceExhausted as error:
                    waiting[:0] = size.divide(chunk, error)
                else:
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
                delay = capacity_delay(error, failures, deadline.remaining()) if run.is_bulk else None
                if delay is not None:
                    await self.wire.pause(delay)
                    continue
                cause = input_error(chunk, error)
                if not run.keep_errors:
                    raise relocated(cause, chunk) from None
                chunk = without_invalid(chunk, cause)
            else:
                with reading(self.settings.server):
                    run.record(answer)
                return chunk, answer
        return chunk, None

    async def pages(self, page: Callable[[str], Call[Page[Result]]]) -> AsyncGenerator[Result, None]:
        """Yield the items of all pages, requesting a page when it is needed."""
        token = ""
        while True:
            answer = await self.send(page(token))
            for item in answer.items:
                yield item
            if not answer.next_token:
                return
            if answer.next_token == token:
                raise invalid_response(self.settings.server, "a list has the same page twice")
            token = answer.next_token

    async def all_pages(self, page: Callable[[str], Call[Page[Result]]]) -> list[Result]:
        """Return the items of all pages."""
        return [item async for item in self.pages(page)]

    async def upload(self, opened: Callable[[], Upload[Result]], report: UploadReport | None) -> Result:
        """Open a stream of examples and send it; restart it if no server answers."""
        self._check_open()
        upload = await self.wire.in_thread(opened)
        policy = self.settings.retries
        try:
            return await self._authenticated(
                lambda metadata: self.wire.deliver(upload, report, policy, metadata)
            )
        except ResourceExhausted as error:
            raise await self.wire.in_thread(upload.located, error) from None

    async def _authenticated(self, send: Callable[[Metadata], Awaitable[Result]]) -> Result:
        """Send with the current token, and again if the server rejects it and it is renewable."""
        tokens = self.settings.tokens
        token = await self.wire.token(tokens)
        try:
            return await send(self.settings.metadata_with(token))
        except Unauthenticated:
            if not tokens.renew(token):
                raise
        return await send(self.settings.metadata_with(await self.wire.token(tokens)))

    def _error(self, error: grpc.RpcError) -> HeadstartError:
        return error_from_rpc(cast(RpcFailure, error), self.settings.server, is_closed=self.wire.is_closed)


class Connection:
    """A connection to a server; derived ones share its channel.

    The methods of a synchronous client may be called from many threads. Those of an asynchronous client
    return coroutines and asynchronous iterators.
    """

    def __init__(self, settings: ConnectionSettings, wire: Wire, *, is_derived: bool = False) -> None:
        self.settings = settings
        self.exchange = Exchange(settings, wire)
        self.finish = wire.finish
        self.iterate = wire.iterate
        self._is_derived = is_derived

    def with_settings(self, settings: ConnectionSettings) -> "Connection":
        """Return a connection over the same channel."""
        return Connection(settings, self.exchange.wire, is_derived=True)

    def close(self) -> None:
        """End all calls and close the channel, unless the connection is derived."""
        return self.finish(self._close())

    async def _close(self) -> None:
        if not self._is_derived:
            await self.exchange.wire.close()

    def send(self, call: Call[Result], timeout: float | None = None) -> Result:
        """Send a call as `Exchange.send`."""
        return self.finish(self.exchange.send(call, timeout))

    def send_all(
        self,
        run: Run[Any],
        open_inputs: Callable[[], OpenInputs],
        timeout: float | None,
        read: Callable[[bool], Result],
    ) -> Result:
        """Send inputs as `Exchange.send_all`."""
        return self.finish(self.exchange.send_all(run, open_inputs, timeout, read))

    def pages(self, page: Callable[[str], Call[Page[Result]]]) -> Iterator[Result]:
        """Yield the items of all pages as `Exchange.pages`."""
        return self.iterate(self.exchange.pages(page))

    def all_pages(self, page: Callable[[str], Call[Page[Result]]]) -> list[Result]:
        """Return the items of all pages."""
        return self.finish(self.exchange.all_pages(page))

    def upload(self, opened: Callable[[], Upload[Result]], report: UploadReport | None) -> Result:
        """Send a stream of examples as `Exchange.upload`."""
        return self.finish(self.exchange.upload(opened, report))


def _start(
    multicallable: Callable[..., Any], call: Call[Any], timeout: float | None, metadata: Metadata
) -> Callable[[], Any]:
    """Return the function that starts a call on a channel."""
    method = multicallable(
        call.path,
        request_serializer=type(call.request).SerializeToString,
        response_deserializer=call.response.FromString,
    )
    limit = None if timeout is None or timeout > _LONGEST_TIMEOUT else timeout
    return partial(method, call.request, timeout=limit, metadata=metadata)
