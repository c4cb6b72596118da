"""The database's time without a query."""

import time
from collections.abc import Callable

from sqlalchemy import Connection

from headstart_server.database.database import Database


class DatabaseClock:
    """Estimates the database's time: its last reading plus the time that has passed since.

    The clock of this machine may be anything: only what passes on it counts. Safe to use from many threads.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._ahead = 0.0

    def set(self, connection: Connection) -> None:
        """Read the database's time.

        Raises:
            DatabaseUnavailable: it does not answer; what was known stays known.
        """
        now = self._database.now(connection)
        # Read after the reply, so that a late reply makes the estimate slow, and nothing ends early.
        self._ahead = now - self._clock()

    def __call__(self) -> float:
        """Seconds since 1970, as the database counts them."""
        return self._clock() + self._ahead
