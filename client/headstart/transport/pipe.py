"""A queue from the caller's thread to the thread in which gRPC sends messages."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Pipe"]

Item = TypeVar("Item")


class Pipe(Iterator[Item], Generic[Item]):
    """A short queue with two ends, either of which can close it.

    The caller's thread reads the examples, so that errors are raised there and Ctrl-C works.
    """

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False

    def put(self, item: Item) -> bool:
        """Wait for capacity and add an item; return False if the other end has closed the pipe."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if not self._closed:
                self._items.append(item)
            self._changed.notify_all()
            return not self._closed

    def finish(self) -> None:
        """Mark the end of the items; the reader still receives the queued ones."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop reading; `put` then returns False."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._finished or self._items)
            if self._closed or not self._items:
                raise StopIteration
            item = self._items.popleft()
            self._changed.notify_all()
            return item
