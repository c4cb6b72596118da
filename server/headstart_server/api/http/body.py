"""The body of a request, as it comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from headstart_server.errors import DeadlineExceeded, MessageTooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Seconds that a body may be waited for altogether, and the bytes that add a second each: a caller that sends
#: less is too slow.
IDLE_SECONDS = 30.0
MIN_BYTES_PER_SECOND = 4096
#: The subject of the error of such a caller.
SLOW_BODY = "request body"
#: What is still read of a body that is refused, so that its caller gets to read why.
_DRAINED_BYTES = 256 << 20
_DRAIN_SECONDS = 0.5
#: Bytes from which on `bytes.join` releases Python's lock.
_BLOCK_BYTES = 1 << 20


class ClientDisconnectedError(asyncio.CancelledError):
    """The caller left before its request was whole: the call ends as one that was cancelled."""


class RequestBody:
    """A body that is read once.

    Args:
        idle_seconds: time that may be waited for a body that never comes.
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
        """Whether all of it has been read."""
        return self._whole.is_set()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The pieces of the body.

        Raise ClientDisconnectedError if the caller left before the end, and DeadlineExceeded if it comes too
        slowly.
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
        # Only the time spent here counts: a slow reader is not the caller's fault.
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            event = await asyncio.wait_for(self._receive(), max(0.0, self._seconds_left))
        except TimeoutError:
            raise DeadlineExceeded(
                f"The body of the request comes too slowly. Send at least {MIN_BYTES_PER_SECOND} bytes a "
                f"second, with pauses of at most {self._idle_seconds:g} s.",
                metadata={"subject": SLOW_BODY},
            ) from None
        earned = len(event.get("body", b"")) / MIN_BYTES_PER_SECOND
        self._seconds_left = min(self._idle_seconds, self._seconds_left - (clock() - began) + earned)
        return event

    async def gone(self) -> None:
        """Return when the caller leaves, once the body is whole."""
        await self._whole.wait()
        while not self._is_gone:
            self._is_gone = (await self._receive())["type"] == "http.disconnect"

    async def drain(self) -> None:
        """Read on for a moment, and forget it."""
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
    """Gathers pieces of bytes, and joins many without Python's lock."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        # The pieces since the last block: a separate object for each could take many times its size.
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
        """Return all pieces as one; nothing is added afterwards."""
        if not self._blocks:
            return bytes(self._rest)
        self._end_block()
        return await asyncio.to_thread(b"".join, self._blocks)

    def _end_block(self) -> None:
        # `join` releases the lock only for blocks of the type `bytes`.
        self._blocks.append(bytes(self._rest))
        self._block_bytes += len(self._rest)
        self._rest.clear()


async def read_within(pieces: AsyncIterator[bytes], most: int) -> bytes:
    """All pieces of a body as one."""
    found = PieceBuffer()
    async for piece in pieces:
        found.add(piece)
        if len(found) > most:
            raise MessageTooLarge(f"Expected a body of at most {most} bytes. Received: more.")
    return await found.joined()
