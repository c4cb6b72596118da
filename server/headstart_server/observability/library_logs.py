"""Log records of libraries, as events of this server's log.

Unauthenticated clients can cause some of them, such as a line for each request that is not HTTP. So the same
record is written once in a while, with the number of omitted repetitions.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog

from headstart_server.lru import LruCache

log = structlog.get_logger(__name__)

#: Seconds between two records of the same text of the same logger.
QUIET_SECONDS = 10.0
#: Texts that are remembered.
_MOST_KNOWN = 256


class LibraryLogs(logging.Handler):
    """Write records of the standard library's loggers to the structured log."""

    def __init__(
        self, quiet_seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        #: When a text was last written, and how many of it were left out since.
        self._known: LruCache[tuple[str, str], tuple[float, int]] = LruCache(_MOST_KNOWN)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the same one was written a moment ago."""
        key = (record.name, str(record.msg)[:200])
        now = self._clock()
        written, omitted = self._known.get(key) or (float("-inf"), 0)
        if now - written < self._quiet_seconds:
            self._known.add(key, (written, omitted + 1))
            return
        self._known.add(key, (now, 0))
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a record whose arguments do not fit its text
            message = str(record.msg)
        fields: dict[str, Any] = {"logger": record.name, "message": message}
        if omitted:
            fields["repeated"] = omitted
        log.log(record.levelno, "library_log", exc_info=record.exc_info or None, **fields)
