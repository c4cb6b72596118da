"""Rows that are ready to run, kept such that each batch has rows of one shape."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class HasRow(Protocol):
    """What has a row."""

    @property
    def row(self) -> NDArray[np.generic] | None:
        """Its row."""


PendingInput = TypeVar("PendingInput", bound=HasRow)


class ReadyRows(Generic[PendingInput]):
    """First in, first out for each shape of row; pictures have one, texts one for each length.

    Whoever takes rows looks at the one that has waited longest first, so none waits for ever.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[int, ...], deque[tuple[int, PendingInput]]] = {}
        self._came = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PendingInput]:
        """All entries in the order they came in."""
        merged = sorted((place for group in self._groups.values() for place in group), key=_place)
        return (entry for _, entry in merged)

    def append(self, entry: PendingInput) -> None:
        """Add an entry, which has its row."""
        shape = () if entry.row is None else entry.row.shape
        group = self._groups.get(shape)
        if group is None:
            group = self._groups[shape] = deque()
        group.append((self._came, entry))
        self._came += 1
        self._count += 1

    def oldest(self) -> PendingInput:
        """The entry that has waited longest; there must be one."""
        return self.firsts()[0][1]

    def firsts(self) -> list[tuple[tuple[int, ...], PendingInput, int]]:
        """Each shape, its entry that came first, and how many it has; the oldest entry first."""
        groups = list(self._groups.items())
        if len(groups) > 1:
            groups.sort(key=lambda item: _place(item[1][0]))
        return [(shape, group[0][1], len(group)) for shape, group in groups]

    def pop(self, shape: tuple[int, ...]) -> PendingInput | None:
        """Take out the entry of a shape that came first; None if there is none left."""
        group = self._groups.get(shape)
        if not group:
            return None
        entry = group.popleft()[1]
        self._count -= 1
        if not group:
            del self._groups[shape]
        return entry

    def clear(self) -> None:
        """Take out all."""
        self._groups.clear()
        self._count = 0


def _place(numbered: tuple[int, object]) -> int:
    return numbered[0]
