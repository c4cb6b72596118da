"""Calls that wait in the event loop for a backbone that is being loaded."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headstart_server.errors import Loading

#: Default maximum number of waiting calls, and bytes of their messages.
MAX_CALLS = 256
MAX_BYTES = 128 << 20


class Waiters:
    """Calls that wait for a backbone, bounded to keep capacity for calls on loaded backbones.

    Args:
        max_calls: maximum number of waiting calls.
        max_bytes: maximum bytes of their messages.
    """

    def __init__(self, max_calls: int = MAX_CALLS, max_bytes: int = MAX_BYTES) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._calls = 0
        self._bytes = 0
        self._futures: dict[str, set[asyncio.Future[None]]] = {}

    @contextmanager
    def place(self, nbytes: int, loading: Loading) -> Iterator[None]:
        """Count one waiting call within the block; raise `Loading` if too many calls or bytes wait."""
        with self._lock:
            if self._calls >= self._max_calls or self._bytes + nbytes > self._max_bytes:
                state, advice, delay = loading.message.partition(" Try again")
                raise Loading(
                    f"{state} The maximum number of calls already waits for backbones.{advice}{delay}",
                    metadata=loading.metadata,
                    retry_after=loading.retry_after,
                )
            self._calls += 1
            self._bytes += nbytes
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._bytes -= nbytes

    @contextmanager
    def end_of_loading(self, backbone: str) -> Iterator["asyncio.Future[None]"]:
        """Yield a future that completes when the next loading of a backbone succeeds or fails."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._futures.setdefault(backbone, set()).add(future)
        try:
            yield future
        finally:
            with self._lock:
                futures = self._futures.get(backbone, set())
                futures.discard(future)
                if not futures:
                    self._futures.pop(backbone, None)

    def wake(self, backbone: str) -> None:
        """Wake the calls that wait for a backbone; callable from any thread."""
        with self._lock:
            futures = self._futures.pop(backbone, set())
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for future in futures:
            by_loop.setdefault(future.get_loop(), []).append(future)
        for loop, ready in by_loop.items():
            loop.call_soon_threadsafe(_finish, ready)

    def wake_all(self) -> None:
        """Wake all waiting calls."""
        with self._lock:
            backbones = list(self._futures)
        for backbone in backbones:
            self.wake(backbone)


def _finish(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
