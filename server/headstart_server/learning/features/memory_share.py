"""Shares of the memory of jobs for other work that takes much of it."""

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from headstart_server.errors import JobMemoryLimit

#: Fraction of the memory of jobs that one kind of other work may use, and the minimum in bytes.
SHARE = 4
LEAST_BYTES = 64 << 20
_GIB = 1 << 30


def share_of(job_bytes: int | None) -> int | None:
    """Return the bytes of one kind of work in a process; None if the memory of jobs is unknown."""
    return None if job_bytes is None else max(job_bytes // SHARE, LEAST_BYTES)


def gib(nbytes: int) -> str:
    """Return a number of bytes in GiB, for messages."""
    return f"{nbytes / _GIB:,.2f} GiB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """Work that does not fit: its bytes, those of the other work, and the limit."""

    estimate: int
    others: int
    limit: int

    def error(self, cause: str, *, owners: str, remedy: str) -> JobMemoryLimit:
        """Return the error: what takes how much, what shares the limit, and what to send instead."""
        shared = f"; others use {gib(self.others)}. Try again later, or send"
        return JobMemoryLimit(
            f"{cause} This server gives {gib(self.limit)} to {owners}, from --job-memory"
            f"{shared if self.estimate <= self.limit else '. Send'} {remedy}.",
            metadata={"limit": str(self.limit), "estimate": str(self.estimate)},
        )


class MemoryShare:
    """The estimated memory of all work of one kind in a process. Safe to use from many threads.

    Work counts until no thread has it any longer, so also while a cancelled call ends.

    Args:
        limit: maximum bytes; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def take(self, work: object, nbytes: int) -> Excess | None:
        """Count all bytes of one piece of work; return None if they fit."""
        with self._lock:
            others = sum(taken for each, taken in self._taken.items() if each is not work)
            if self._limit is None or others + nbytes <= self._limit:
                self._taken[work] = nbytes
                return None
        return Excess(estimate=nbytes, others=others, limit=self._limit)
