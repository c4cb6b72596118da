"""The database's time where it must not be asked."""

import time
from collections.abc import Callable

from sqlalchemy import Connection

from headstart_server.database.database import Database


class DatabaseClock:
    """Tells the database's time from memory: what it was when it was last asked, and what has passed since.

    The clock of this machine may be anything: only what passes on it counts. Safe to use from many threads.

    Args:
        database: whose time it is.
        clock: seconds that only go up.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._ahead = 0.0

    def set(self, connection: Connection) -> None:
        """Ask the database.

        Raises:
            DatabaseUnavailable: it does not answer; what was known stays known.
        """
        now = self._database.now(connection)
        # Asked after the answer, so that one that came late makes it slow and not fast: nothing ends early.
        self._ahead = now - self._clock()

    def __call__(self) -> float:
        """Seconds since 1970, as the database counts them."""
        return self._clock() + self._ahead
