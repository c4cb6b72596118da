"""What happens to calls while the database is away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headstart_server.errors import DatabaseAway


class Outage:
    """Lets one call at a time through while the database is away, and fails the others at once.

    A connection to a host that is gone takes seconds to fail; threads that all wait for that would be missing
    to calls that need no database.
    """

    def __init__(self) -> None:
        self._away = False
        self._probe = threading.Lock()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a call.

        Raises:
            DatabaseAway: it, or another one at this moment, finds the database away.
        """
        probing = self._away
        if probing and not self._probe.acquire(blocking=False):
            raise DatabaseAway("The database does not answer.")
        try:
            yield
        except DatabaseAway as error:
            self._away = not error.is_busy
            raise
        else:
            self._away = False
        finally:
            if probing:
                self._probe.release()
