"""What becomes of calls while the database or the bucket is unavailable, or a disk is full."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from headstart_server.errors import ServiceUnavailable

log = structlog.get_logger(__name__)

#: Seconds between two log lines about a disk that stays full.
REPEAT_SECONDS = 60.0
#: Seconds without an error after which a successful write shows that a disk has space again: small writes
#: succeed now and then on a full one.
STEADY_SECONDS = 10.0
#: Seconds between two log lines about outages, or about busy calls.
QUIET_SECONDS = 10.0


class CircuitBreaker:
    """A circuit breaker: while something is away, it lets one call at a time through and fails the others.

    A connection to a host that is gone takes seconds to fail; threads that all wait for that would be missing
    to calls that need none. The start and the end of each outage are logged once.

    Args:
        subject: `database` or `storage`, the start of the names of its log events.
        away: the error of the calls that are not let through.
        clock: seconds that only go up.
    """

    def __init__(
        self, subject: str, away: type[ServiceUnavailable], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._subject = subject
        self._error = away
        self._clock = clock
        self._since: float | None = None
        self._is_logged = False
        self._quiet_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._probe = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the last call found it away."""
        return self._since is not None

    @contextmanager
    def guard(self, *, always: bool = False) -> Iterator[None]:
        """Run a call.

        Args:
            always: whether to run it even while another call finds out whether the outage is over.

        Raises:
            ServiceUnavailable: it, or another one at this moment, finds it away.
        """
        probing = self.is_open and not always
        if probing and not self._probe.acquire(blocking=False):
            raise self._error
        try:
            yield
        except self._error as error:
            self._failed(error)
            raise
        else:
            self._answered()
        finally:
            if probing:
                self._probe.release()

    def _failed(self, error: ServiceUnavailable) -> None:
        with self._lock:
            if error.is_busy:
                # It answers, but not to this call.
                if self._may_log("busy"):
                    log.warning(f"{self._subject}_busy", error=error.detail)
            elif self._since is None:
                self._since = self._clock()
                self._is_logged = self._may_log("away")
                if self._is_logged:
                    log.warning(f"{self._subject}_unavailable", error=error.detail)

    def _answered(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
            if since is not None and self._is_logged:
                log.info(f"{self._subject}_recovered", seconds=round(self._clock() - since, 3))

    def _may_log(self, event: str) -> bool:
        now = self._clock()
        if now < self._quiet_until.get(event, now):
            return False
        self._quiet_until[event] = now + QUIET_SECONDS
        return True


class FullDisks:
    """Logs and counts full disks, by what lies on them. Safe to use from many threads.

    Args:
        clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: When each place was last found full, and when that was last logged; none while it has space.
        self._found: dict[str, float] = {}
        self._logged: dict[str, float] = {}

    def found_full(self, place: str) -> None:
        """Note that a write failed because the disk, or the quota on it, is full."""
        now = self._clock()
        with self._lock:
            self._found[place] = now
            if now - self._logged.get(place, float("-inf")) < REPEAT_SECONDS:
                return
            self._logged[place] = now
        log.error("disk_full", place=place, remedy="Delete versions, or give the disk more space.")

    def wrote(self, place: str) -> None:
        """Note that a write succeeded."""
        # Without the lock: this is called for every write, and hardly ever is a disk full.
        if place not in self._found:
            return
        with self._lock:
            if self._clock() - self._found.get(place, float("inf")) < STEADY_SECONDS:
                return
            self._found.pop(place, None)
            self._logged.pop(place, None)
        log.info("disk_space_available", place=place)

    def is_full(self, place: str) -> bool:
        """Return whether a place was found full and not written to since."""
        return place in self._found

    def states(self, places: tuple[str, ...]) -> Mapping[str, float]:
        """Return 1 for each place that is full, and 0 for the others."""
        return {place: float(self.is_full(place)) for place in places}


#: The disks of this process.
FULL_DISKS = FullDisks()
