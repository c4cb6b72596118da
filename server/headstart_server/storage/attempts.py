"""Attempts a task on each of many stored items, of which some may be damaged or unreadable."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from headstart_server.errors import DatabaseUnavailable

T = TypeVar("T")
#: Errors by the names of the items that failed.
Errors = dict[str, Exception]

#: Seconds of failed attempts after which the remaining items wait for the next round, because the whole
#: storage may be unavailable: each call to it may take many seconds to fail.
MAX_FAILING_SECONDS = 30.0
#: Maximum items whose failures are remembered.
_MAX_FAILED = 10_000


class Attempts:
    """Attempts a task on each of some items; one that fails does not stop the others. Thread-safe.

    Items that failed in the last round come last in the next one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: set[str] = set()

    def run(self, items: Mapping[str, T], task: Callable[[T], object]) -> Errors:
        """Return the errors of the items that failed, and of those that wait for the next round.

        Raise DatabaseUnavailable immediately, because then all items fail.
        """
        errors: Errors = {}
        seconds = 0.0
        for name in sorted(items, key=self._failed.__contains__):
            if seconds >= MAX_FAILING_SECONDS:
                errors[name] = next(reversed(errors.values()))
                continue
            began = self._clock()
            try:
                task(items[name])
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - the caller raises or logs it
                seconds += self._clock() - began
                errors[name] = error
                self._remember(name)
            else:
                self._failed.discard(name)
        return errors

    def run_all(self, items: Sequence[str], task: Callable[[str], object]) -> None:
        """Attempt the task on each item; raise the first error at the end."""
        raise_first(self.run({name: name for name in items}, task))

    def _remember(self, name: str) -> None:
        if len(self._failed) >= _MAX_FAILED:
            self._failed.clear()
        self._failed.add(name)


def raise_first(errors: Mapping[str, Exception]) -> None:
    """Raise the first error, if there is one."""
    for error in errors.values():
        raise error
