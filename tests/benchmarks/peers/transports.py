"""Lean ways to send a request that is ready, and to get the answer as bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

Call = Callable[[bytes], Awaitable[bytes]]

#: Seconds an answer may take.
ANSWER_SECONDS = 60.0


class BadAnswer(Exception):
    """The server answered, but not with success."""


#: What a call raises that is not answered as it should be; a connection that ends is an `EOFError`.
FAILURES = (BadAnswer, EOFError, OSError, grpc.RpcError)


@asynccontextmanager
async def connected(target: str, method: str | None) -> AsyncIterator[Call]:
    """What sends one request and gives its answer; many may be under way at once.

    Args:
        target: host and port.
        method: the full name of a gRPC method, whose calls share a connection; None speaks HTTP, with a
            connection for each request that is under way.
    """
    if method is None:
        connections = _Connections(target)
        try:
            yield connections.call
        finally:
            connections.close()
    else:
        async with grpc.aio.insecure_channel(target) as channel:
            ask = channel.unary_unary(method)

            async def call(request: bytes) -> bytes:
                return await ask(request, timeout=ANSWER_SECONDS)

            yield call


class _Connections:
    """HTTP/1.1 connections that stay open, a request at a time on each."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, request: bytes) -> bytes:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(request)
                status, body = await _read_response(reader)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        if status != 200:
            raise BadAnswer(f"{status}: {body[:200]!r}")
        return body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and the body of a response that states its length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise BadAnswer(f"Expected a response that states its length. Received: {head!r}")
    return int(head.split(None, 2)[1]), await reader.readexactly(int(rest.partition(b"\r\n")[0]))
