"""The locks that all replicas of a database share, and statements in parts."""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of a size; the last one may be shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


class Lock(Enum):
    """Locks that one transaction at a time may hold; the number identifies the lock in PostgreSQL."""

    SCHEMA = 1
    QUEUE = 2
    CLEANING = 3
    WEBHOOKS = 4
