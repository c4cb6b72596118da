"""Circuit breaker for the database and the bucket, and the state of full disks."""

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
    """Lets one call at a time through while a service is unavailable, and fails the others.

    A connection to an unreachable host takes seconds to fail; threads that wait for it could not serve
    calls that do not need it. The start and the end of each outage are logged once.

    Args:
        subject: `database` or `storage`, the prefix of the log events.
        error: class of the errors that open the breaker and that rejected calls raise.
    """

    def __init__(
        self, subject: str, error: type[ServiceUnavailable], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._subject = subject
        self._error = error
        self._clock = clock
        self._since: float | None = None
        self._is_logged = False
        self._quiet_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._probe = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the last call failed."""
        return self._since is not None

    @contextmanager
    def guard(self, *, always: bool = False) -> Iterator[None]:
        """Run a call within the block; with `always` even while another call probes the service.

        Raise ServiceUnavailable if this call or the probe found the service unavailable.
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
                # It answers, but rejected this call.
                if self._may_log("busy"):
                    log.warning(f"{self._subject}_busy", error=error.detail)
            elif self._since is None:
                self._since = self._clock()
                self._is_logged = self._may_log("unavailable")
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
    """Logs and counts full disks by their content. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: Times at which each place was last full, and at which that was last logged; absent if it has space.
        self._found: dict[str, float] = {}
        self._logged: dict[str, float] = {}

    def found_full(self, place: str) -> None:
        """Record that a write failed because the disk, or its quota, is full."""
        now = self._clock()
        with self._lock:
            self._found[place] = now
            if now - self._logged.get(place, float("-inf")) < REPEAT_SECONDS:
                return
            self._logged[place] = now
        log.error("disk_full", place=place, remedy="Delete versions, or give the disk more space.")

    def wrote(self, place: str) -> None:
        """Record that a write succeeded."""
        # Without the lock: this is called for every write, and a disk is rarely full.
        if place not in self._found:
            return
        with self._lock:
            if self._clock() - self._found.get(place, float("inf")) < STEADY_SECONDS:
                return
            self._found.pop(place, None)
            self._logged.pop(place, None)
        log.info("disk_space_available", place=place)

    def is_full(self, place: str) -> bool:
        """Return whether a disk was full at the last write."""
        return place in self._found

    def states(self, places: tuple[str, ...]) -> Mapping[str, float]:
        """Return 1 for each place that is full, and 0 for the others."""
        return {place: float(self.is_full(place)) for place in places}


#: The disks of this process.
FULL_DISKS = FullDisks()
