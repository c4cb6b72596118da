"""Parts of long lists, each for one statement: databases bound the values of a statement, and its time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of a size; the last one may be shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
