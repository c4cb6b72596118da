"""Logs calls and retries to `logging.getLogger("headstart")`, without their content."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LOGGER: Final = logging.getLogger("headstart")
LOGGER.addHandler(logging.NullHandler())


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Log the end of a call at level DEBUG."""
    if not LOGGER.isEnabledFor(logging.DEBUG):
        yield
        return
    started = time.monotonic()
    outcome = "OK"
    try:
        yield
    except BaseException as error:
        outcome = getattr(error, "reason", "") or type(error).__name__
        raise
    finally:
        LOGGER.debug("%s ended after %.3f s: %s", path, time.monotonic() - started, outcome)
