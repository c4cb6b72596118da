"""The calls of a stopping server: new calls are held and then rejected, running calls are ended in time."""

import asyncio
from typing import Any

from headstart_server.errors import Draining as DrainingError


class CallDrain:
    """Hold, reject and end calls while the server stops.

    Attributes:
        held: number of new calls that have been held.
    """

    def __init__(self) -> None:
        self.held = 0
        self._rejecting: asyncio.Event | None = None
        self._running: set[asyncio.Task[Any] | None] = set()
        self._ended: set[asyncio.Task[Any] | None] = set()

    def hold_new_calls(self) -> None:
        """Let new calls wait for `reject_new_calls`; only health checks are answered."""
        self._rejecting = asyncio.Event()

    def reject_new_calls(self) -> None:
        """Reject the held calls, and all further ones, with `Draining`."""
        self._rejecting = self._rejecting or asyncio.Event()
        self._rejecting.set()

    def end_calls(self) -> None:
        """End the running calls with `Draining`: gRPC would end them without a reason."""
        for task in self._running:
            self._ended.add(task)
            if task is not None:
                task.cancel()

    @property
    def is_draining(self) -> bool:
        """Whether new calls are held or rejected."""
        return self._rejecting is not None

    async def reject(self) -> None:
        """Hold a new call until it is rejected."""
        if self._rejecting is not None:
            self.held += 1
            await self._rejecting.wait()
        raise draining_error(begun=False)

    def add(self, task: asyncio.Task[Any] | None) -> None:
        """Count a running call."""
        self._running.add(task)

    def remove(self, task: asyncio.Task[Any] | None) -> bool:
        """Stop counting a call; return whether `end_calls` ended it."""
        self._running.discard(task)
        if task in self._ended:
            self._ended.discard(task)
            return True
        return False


def draining_error(*, begun: bool) -> DrainingError:
    """Return the error, with whether the call's work has begun: if not, the caller may retry it."""
    return DrainingError(
        "The server is stopping. Try again at another replica, or in a moment.",
        metadata={"begun": "true" if begun else "false"},
    )
