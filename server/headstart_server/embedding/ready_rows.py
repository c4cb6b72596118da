"""Rows that are ready to run, grouped by shape."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class HasRow(Protocol):
    """Item with a row."""

    @property
    def row(self) -> NDArray[np.generic] | None:
        """The row."""


PendingInput = TypeVar("PendingInput", bound=HasRow)


class ReadyRows(Generic[PendingInput]):
    """First-in-first-out queue per shape; images have one shape, texts one per length.

    The caller takes the shape of the oldest row first, so that every row is taken eventually.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[int, ...], deque[tuple[int, PendingInput]]] = {}
        self._came = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PendingInput]:
        """Iterate over all items in order of arrival."""
        merged = sorted((place for group in self._groups.values() for place in group), key=_place)
        return (entry for _, entry in merged)

    def append(self, entry: PendingInput) -> None:
        """Add an item that has its row."""
        shape = () if entry.row is None else entry.row.shape
        group = self._groups.get(shape)
        if group is None:
            group = self._groups[shape] = deque()
        group.append((self._came, entry))
        self._came += 1
        self._count += 1

    def oldest(self) -> PendingInput:
        """Return the oldest item of a non-empty queue."""
        return self.firsts()[0][1]

    def firsts(self) -> list[tuple[tuple[int, ...], PendingInput, int]]:
        """Yield each shape with its oldest item and its count; the oldest item first."""
        groups = list(self._groups.items())
        if len(groups) > 1:
            groups.sort(key=lambda item: _place(item[1][0]))
        return [(shape, group[0][1], len(group)) for shape, group in groups]

    def pop(self, shape: tuple[int, ...]) -> PendingInput | None:
        """Remove and return the oldest item of a shape; None if it has no more."""
        group = self._groups.get(shape)
        if not group:
            return None
        entry = group.popleft()[1]
        self._count -= 1
        if not group:
            del self._groups[shape]
        return entry

    def clear(self) -> None:
        """Remove all items."""
        self._groups.clear()
        self._count = 0


def _place(numbered: tuple[int, object]) -> int:
    return numbered[0]
