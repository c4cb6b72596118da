"""The time limit of the message of a call."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from headstart_server.errors import DeadlineExceeded

T = TypeVar("T")


class MessageTimeouts:
    """Limit the time that calls wait for their message, with one timer for all of them.

    A timer for each call, as `asyncio.timeout` has, takes as long as parsing a small message.

    Args:
        seconds: the time limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends, because all have the same time limit.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, message: Awaitable[T]) -> T:
        """Return the message of the current task's call.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is None:
            raise RuntimeError("A call runs in a task of the event loop.")
        self._ends[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._cancel_late, loop)
        try:
            return await message
        except asyncio.CancelledError:
            # The caller may have left at the same time.
            if task in self._late and not task.uncancel():
                raise DeadlineExceeded(
                    f"The message of the call did not come within {self._seconds:g} s."
                ) from None
            raise
        finally:
            self._ends.pop(task, None)
            self._late.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._timer = loop.time(), None
        for task, end in list(self._ends.items()):
            if end > now:
                self._timer = loop.call_at(end, self._cancel_late, loop)
                return
            del self._ends[task]
            self._late.add(task)
            task.cancel()
