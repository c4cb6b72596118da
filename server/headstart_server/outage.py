"""What becomes of calls while the database or the bucket is unavailable, or a disk is full."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from headstart_server.errors import Away

log = structlog.get_logger(__name__)

#: Seconds between two log lines about a disk that stays full.
REPEAT_SECONDS = 60.0
#: Seconds without an error after which a successful write shows that a disk has space again: small writes
#: succeed now and then on a full one.
STEADY_SECONDS = 10.0


class Outage:
    """Lets one call at a time through while something is away, and fails the others at once.

    A connection to a host that is gone takes seconds to fail; threads that all wait for that would be missing
    to calls that need none.

    Args:
        away: the error of the calls that are not let through.
    """

    def __init__(self, away: type[Away]) -> None:
        self._error = away
        self._away = False
        self._probe = threading.Lock()

    @property
    def is_away(self) -> bool:
        """Whether the last call found it away."""
        return self._away

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a call.

        Raises:
            Away: it, or another one at this moment, finds it away.
        """
        probing = self._away
        if probing and not self._probe.acquire(blocking=False):
            raise self._error
        try:
            yield
        except Away as error:
            self._away = not error.is_busy
            raise
        else:
            self._away = False
        finally:
            if probing:
                self._probe.release()


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
        log.info("disk_has_space", place=place)

    def is_full(self, place: str) -> bool:
        """Return whether a place was found full and not written to since."""
        return place in self._found

    def states(self, places: tuple[str, ...]) -> Mapping[str, float]:
        """Return 1 for each place that is full, and 0 for the others."""
        return {place: float(self.is_full(place)) for place in places}


#: The disks of this process.
FULL_DISKS = FullDisks()
