"""What becomes of calls while the database, or the bucket, is away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headstart_server.errors import Away


class Outage:
    """Lets one call at a time through while something is away, and fails the others at once.

    A connection to a host that is gone takes seconds to fail; threads that all wait for that would be missing
    to calls that need none.

    Args:
        away: the error that tells of it.
        message: what it says to the calls that are not let through.
    """

    def __init__(self, away: type[Away], message: str) -> None:
        self._error = away
        self._message = message
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
            raise self._error(self._message)
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
