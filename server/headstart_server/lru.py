"""A cache under a limit that evicts the least recently used entries."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Entries under a limit. Not thread-safe: the owner locks it.

    Args:
        limit: maximum sum of the sizes; the newest entry stays regardless of its size.
        size: returns the size of a value, which must not change; by default each value counts as 1.
    """

    def __init__(self, limit: int, size: Callable[[V], int] = lambda _: 1) -> None:
        self.limit = limit
        self._size_of = size
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Sum of the sizes."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        """Iterate over a copy of the keys, the least recently used first."""
        return iter(list(self._entries))

    def get(self, key: K) -> V | None:
        """Return a value and mark it as used; None if it is missing."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def peek(self, key: K) -> V | None:
        """Return a value without marking it as used; None if it is missing."""
        return self._entries.get(key)

    def add(self, key: K, value: V) -> list[tuple[K, V]]:
        """Store a value as the most recently used, and return the evicted entries."""
        self.pop(key)
        self._entries[key] = value
        self._size += self._size_of(value)
        evicted = []
        while self._size > self.limit and len(self._entries) > 1:
            old_key, old = self._entries.popitem(last=False)
            self._size -= self._size_of(old)
            evicted.append((old_key, old))
        return evicted

    def pop(self, key: K) -> V | None:
        """Remove and return a value; None if it is missing."""
        value = self._entries.pop(key, None)
        if value is not None:
            self._size -= self._size_of(value)
        return value
