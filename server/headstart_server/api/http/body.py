"""The body of a request, read as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from headstart_server.errors import DeadlineExceeded, MessageTooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Seconds that the server waits for a body in total, and the bytes that extend this time by a second. A
#: caller that sends fewer is too slow.
IDLE_SECONDS = 30.0
MIN_BYTES_PER_SECOND = 4096
#: The subject of the error for a caller that is too slow.
SLOW_BODY = "request body"
#: Limits for the rest of a rejected body, which is read so that the caller receives the error.
_DRAINED_BYTES = 256 << 20
_DRAIN_SECONDS = 0.5
#: Bytes from which `bytes.join` releases Python's lock.
_BLOCK_BYTES = 1 << 20


class ClientDisconnectedError(asyncio.CancelledError):
    """The caller disconnected before its request was complete; the call ends as cancelled."""


class RequestBody:
    """A body that is read once.

    Args:
        idle_seconds: seconds to wait for the next bytes of the body.
    """

    def __init__(self, receive: Receive, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._receive = receive
        self._idle_seconds = idle_seconds
        self._seconds_left = idle_seconds
        self._whole = asyncio.Event()
        self._is_gone = False
        #: Bytes that have been read.
        self.nbytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has been read."""
        return self._whole.is_set()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the body.

        Raise ClientDisconnectedError if the caller disconnects before the end, and DeadlineExceeded if the
        body arrives too slowly.
        """
        while not self._whole.is_set():
            event = await self._next()
            if event["type"] == "http.disconnect":
                self._is_gone = True
                raise ClientDisconnectedError
            if not event.get("more_body", False):
                self._whole.set()
            if event.get("body"):
                self.nbytes += len(event["body"])
                yield event["body"]

    async def _next(self) -> MutableMapping[str, Any]:
        # Only the time in this method counts, because a slow reader is not the caller's fault.
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            event = await asyncio.wait_for(self._receive(), max(0.0, self._seconds_left))
        except TimeoutError:
            raise DeadlineExceeded(
                f"The body of the request arrives too slowly. Send at least {MIN_BYTES_PER_SECOND} bytes a "
                f"second, with pauses of at most {self._idle_seconds:g} s.",
                metadata={"subject": SLOW_BODY},
            ) from None
        earned = len(event.get("body", b"")) / MIN_BYTES_PER_SECOND
        self._seconds_left = min(self._idle_seconds, self._seconds_left - (clock() - began) + earned)
        return event

    async def disconnected(self) -> None:
        """Wait until the body is complete and the caller has disconnected."""
        await self._whole.wait()
        while not self._is_gone:
            self._is_gone = (await self._receive())["type"] == "http.disconnect"

    async def drain(self) -> None:
        """Read and discard the rest of the body for a moment."""
        left = _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for piece in self.pieces():
                    left -= len(piece)
                    if left < 0:
                        return
        except (TimeoutError, ClientDisconnectedError, DeadlineExceeded):
            return


class PieceBuffer:
    """Collect pieces of bytes, and join many of them without Python's lock."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        # The pieces since the last block, in one buffer: a separate object for each may be much larger.
        self._rest = bytearray()
        self._block_bytes = 0

    def __len__(self) -> int:
        return self._block_bytes + len(self._rest)

    def add(self, piece: bytes) -> None:
        """Add a piece at the end."""
        self._rest += piece
        if len(self._rest) >= _BLOCK_BYTES:
            self._end_block()

    async def joined(self) -> bytes:
        """Return all pieces as one. Nothing may be added afterwards."""
        if not self._blocks:
            return bytes(self._rest)
        self._end_block()
        return await asyncio.to_thread(b"".join, self._blocks)

    def _end_block(self) -> None:
        # `join` releases the lock only for blocks of type `bytes`.
        self._blocks.append(bytes(self._rest))
        self._block_bytes += len(self._rest)
        self._rest.clear()


async def within(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Yield the pieces of a body. Raise MessageTooLarge once they have more than `most` bytes."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > most:
            raise MessageTooLarge(f"The body is too large. Send at most {most} bytes.")
        yield piece


async def read_within(pieces: AsyncIterator[bytes], most: int) -> bytes:
    """Return all pieces of a body as one."""
    found = PieceBuffer()
    async for piece in within(pieces, most):
        found.add(piece)
    return await found.joined()
