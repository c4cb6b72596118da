"""Bounds what is written down about callers that nobody knows: they may call as often as they like."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Lines that were not written.

    Attributes:
        kind: what they were about.
        count: how many.
        since: when the first of them would have been, in seconds since 1970.
    """

    kind: str
    count: int
    since: float


@dataclass(kw_only=True, slots=True)
class _Second:
    second: int
    taken: int = 0
    left_out: int = 0
    since: float = 0.0


class Crowd:
    """Takes so many lines of each kind in each second. For one thread.

    Args:
        most: lines of a kind in a second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Kinds are outcomes of calls: there is a handful of them.
        self._seconds: dict[str, _Second] = {}

    def take(self, kind: str, now: float) -> tuple[bool, LeftOut | None]:
        """Whether a line may be written, and what is to be told before it.

        Args:
            kind: what it is about.
            now: the time, in seconds since 1970.
        """
        here = self._seconds.setdefault(kind, _Second(second=int(now)))
        told = None
        if int(now) != here.second:
            told = _told(kind, here)
            here.second, here.taken = int(now), 0
        if here.taken < self._most:
            here.taken += 1
            return True, told
        if not here.left_out:
            here.since = now
        here.left_out += 1
        return False, told

    def left_out(self) -> list[LeftOut]:
        """What was left out and not told yet."""
        return [told for kind, here in self._seconds.items() if (told := _told(kind, here)) is not None]


def _told(kind: str, here: _Second) -> LeftOut | None:
    count, here.left_out = here.left_out, 0
    return LeftOut(kind=kind, count=count, since=here.since) if count else None
