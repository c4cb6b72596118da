"""Shares of the memory of jobs for other work that takes much of it."""

import threading
from weakref import WeakKeyDictionary

#: Fraction of the memory of jobs that one kind of other work may use, and the minimum in bytes.
SHARE = 4
LEAST_BYTES = 64 << 20


def share_of(job_bytes: int | None) -> int | None:
    """Return the bytes of one kind of work in a process; None if the memory of jobs is unknown."""
    return None if job_bytes is None else max(job_bytes // SHARE, LEAST_BYTES)


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

    def take(self, work: object, nbytes: int) -> tuple[int, int] | None:
        """Count all bytes of one piece of work.

        Returns:
            None if they fit; otherwise the limit, and the bytes of the others.
        """
        with self._lock:
            others = sum(taken for each, taken in self._taken.items() if each is not work)
            if self._limit is None or others + nbytes <= self._limit:
                self._taken[work] = nbytes
                return None
        return self._limit, others
