"""Named points around durable writes at which a test can kill the process.

A test sets `HEADSTART_FAILPOINTS` to `NAME:before` or `NAME:after`, separated by commas. The server then
kills itself, as `kill -9` does, immediately before or after that write. Without the variable, a failpoint
costs one lookup in an empty set. A server that finds the variable set logs a warning.
"""

import os
import signal
from contextlib import AbstractContextManager, nullcontext

import structlog

log = structlog.get_logger(__name__)

#: The environment variable that arms failpoints.
VARIABLE = "HEADSTART_FAILPOINTS"

_OFF = nullcontext()
_armed: frozenset[str] = frozenset()


def arm(points: str) -> None:
    """Arm failpoints for the rest of the process.

    Args:
        points: as in the environment variable; empty disarms all.

    Raises:
        ValueError: an entry does not end in `:before` or `:after`.
    """
    global _armed  # noqa: PLW0603 - one flag for the process, like the environment that sets it
    entries = [entry.strip() for entry in points.split(",") if entry.strip()]
    for entry in entries:
        name, _, moment = entry.rpartition(":")
        if not name or moment not in ("before", "after"):
            raise ValueError(f"Expected NAME:before or NAME:after in {VARIABLE}. Received: {entry!r}.")
    _armed = frozenset(entries)


def arm_from_environment() -> None:
    """Arm the failpoints of the environment variable and log a warning; ValueError if one is invalid."""
    points = os.environ.get(VARIABLE, "")
    arm(points)
    if points:
        log.warning("failpoints_armed", points=points, remedy=f"Unset {VARIABLE}.")


def failpoint(name: str) -> AbstractContextManager[None]:
    """Return a block around one durable write; it may kill the process at its start or its successful end."""
    return _Armed(name) if _armed else _OFF


class _Armed:
    """A block that kills the process where its name is armed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._pass("before")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._pass("after")

    def _pass(self, moment: str) -> None:
        if f"{self._name}:{moment}" in _armed:
            os.kill(os.getpid(), signal.SIGKILL)
