"""A record of calls and their results, which checkers.py verifies once the run is over."""

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

#: A result that never came, or an effect that may still come.
NEVER = math.inf


class Outcome(StrEnum):
    """Whether a call took effect."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One call of one client.

    Attributes:
        kind: the method, such as `SetAlias`.
        key: the model or job that it concerns.
        server: the replica that was called.
        sent: the parts of the request that a checker needs.
        result: the parts of the response that a checker needs, or the reason of a failure.
        outcome: whether it took effect; a failed call certainly had no effect.
        called: seconds when the call began.
        returned: seconds when the response arrived.
    """

    kind: str
    key: str
    server: str
    sent: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    outcome: Outcome = Outcome.OK
    called: float
    returned: float = NEVER

    @property
    def is_ok(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A time in which a server could not learn of changes.

    Attributes:
        start: seconds.
        end: seconds.
        server: the server concerned; None for all of them.
    """

    start: float
    end: float
    server: str | None = None


class History:
    """Collects operations and disturbances of all threads.

    Args:
        now: returns the seconds of one clock for all clients.
        promised_seconds: after which every replica knows of a change, unless it is disturbed.
    """

    def __init__(self, now: Callable[[], float], promised_seconds: float = 1.0) -> None:
        self.now = now
        self.promised_seconds = promised_seconds
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._windows: list[Window] = []

    def add(self, operation: Operation) -> None:
        """Add a finished operation."""
        with self._lock:
            self._operations.append(operation)

    @contextmanager
    def disturbance(self, server: str | None = None, recovery_seconds: float = 0.0) -> Iterator[None]:
        """Record that servers cannot learn of changes inside this block and shortly after it."""
        start = self.now()
        try:
            yield
        finally:
            self.add_window(Window(start=start, end=self.now() + recovery_seconds, server=server))

    def add_window(self, window: Window) -> None:
        """Add a time in which servers cannot learn of changes."""
        with self._lock:
            self._windows.append(window)

    def of(self, *kinds: str) -> list[Operation]:
        """Return the operations of these kinds by the time of the call; all without kinds."""
        with self._lock:
            found = [op for op in self._operations if not kinds or op.kind in kinds]
        return sorted(found, key=lambda op: op.called)

    def windows(self, server: str) -> list[tuple[float, float]]:
        """Return the disturbances of a server, merged and by time."""
        with self._lock:
            found = sorted((w.start, w.end) for w in self._windows if w.server in (None, server))
        merged: list[tuple[float, float]] = []
        for start, end in found:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((start, end))
        return merged

    def save(self, path: Path) -> None:
        """Write one JSON line for each operation and disturbance."""
        with self._lock:
            entries = itertools.chain(self._operations, self._windows)
            lines = [json.dumps(asdict(entry), default=str, sort_keys=True) for entry in entries]
        path.write_text("\n".join(lines) + "\n")
