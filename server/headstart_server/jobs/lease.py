"""For how long a claim of a job holds without news of its owner."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """How claims are kept up.

    Attributes:
        seconds: after which a job whose owner was silent is taken over. A process that is busy can be late by
            a second, and a database that restarts by some.
        beat: seconds between two renewals; a cancel asked for at another replica is heard at the next one.
    """

    seconds: float = 10.0
    beat: float = 1.0


class Contact:
    """How long this process has been in touch with the database without a gap.

    After an outage longer than a lease, or a sleep of this process, every owner looks dead, though most are
    not: they need a moment to renew their leases. So nobody is taken over before a lease's time in touch.

    Args:
        lease: the lease of all replicas.
        clock: seconds that only go up.
    """

    def __init__(self, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._gap = max(lease.seconds / 2, lease.beat)
        self._last = self._since = float("-inf")

    def made(self) -> None:
        """The database has just answered."""
        now = self._clock()
        if now - self._last > self._gap:
            self._since = now
        self._last = now

    @property
    def is_steady(self) -> bool:
        """Whether the silence of an owner would be its own."""
        now = self._clock()
        return now - self._last <= self._gap and now - self._since >= self._lease.seconds
