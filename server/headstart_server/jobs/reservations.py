"""Memory of work other than jobs, reserved next to the jobs that this process runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headstart_server.jobs.heartbeat import Heartbeat

#: Seconds between two checks whether the claimed jobs leave enough memory.
CHECK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Reservation:
    nbytes: int
    alone: bool


class Reservations:
    """Lets work start only while its estimated memory fits next to claimed jobs and earlier reservations.

    A reservation counts from the moment at which it is requested, so later jobs cannot keep it waiting.

    Args:
        jobs: has the claimed jobs of this process; None without jobs.
        limit: maximum estimated bytes of all work together; None for no limit.
    """

    def __init__(self, jobs: Heartbeat | None = None, limit: int | None = None) -> None:
        self._jobs = jobs
        self._limit = limit
        #: Held while a job is claimed, so that a reservation and a claim do not take the same memory.
        self.claiming = threading.Lock()
        self._changed = threading.Condition(self.claiming)
        self._reserved: list[_Reservation] = []

    @property
    def nbytes(self) -> int:
        """Estimated bytes of the reservations, including those that wait."""
        return sum(each.nbytes for each in list(self._reserved))

    @property
    def used_bytes(self) -> int:
        """Estimated bytes of the claimed jobs and of the reservations."""
        return self.nbytes + (0 if self._jobs is None else self._jobs.used_bytes)

    @property
    def runs_alone(self) -> bool:
        """Whether work must run alone, so that no job may start."""
        return any(each.alone for each in list(self._reserved))

    @contextmanager
    def reserve(self, nbytes: int, checkpoint: Callable[[], None], *, alone: bool = False) -> Iterator[None]:
        """Wait until there is memory for some work, and reserve it during the block.

        Args:
            checkpoint: called while it waits; may raise to stop.
            alone: whether the work must run without jobs and other reservations.
        """
        mine = _Reservation(nbytes, alone)
        with self._changed:
            self._reserved.append(mine)
        try:
            with self._changed:
                while not self._may_start(mine):
                    # Jobs that end do not notify.
                    self._changed.wait(CHECK_SECONDS)
                    checkpoint()
            yield
        finally:
            with self._changed:
                self._reserved.remove(mine)
                self._changed.notify_all()

    def _may_start(self, mine: _Reservation) -> bool:
        earlier = self._reserved[: self._reserved.index(mine)]
        jobs = self._jobs
        if not earlier and (jobs is None or not jobs.claimed_ids):
            return True
        if mine.alone or any(each.alone for each in earlier) or (jobs is not None and jobs.runs_alone):
            return False
        used = sum(each.nbytes for each in earlier) + (0 if jobs is None else jobs.used_bytes)
        return self._limit is None or used + mine.nbytes <= self._limit
