"""The audit log: one line of JSON for each call, appended to a file and never changed."""

import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from headstart_server.observability.line_writer import LineWriter
from headstart_server.settings.groups import STDOUT


@dataclass(frozen=True, kw_only=True, slots=True)
class OmittedLines:
    """Lines that were not written because their rate exceeded the limit."""

    kind: str
    count: int
    since: float  # the time of the first of them, in seconds since 1970


@dataclass(kw_only=True, slots=True)
class _Second:
    second: int
    taken: int = 0
    left_out: int = 0
    since: float = 0.0


class AuditThrottle:
    """Limit the lines of each kind per second. Not safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        # The kinds are the outcomes of calls, so there are only a few.
        self._seconds: dict[str, _Second] = {}

    def take(self, kind: str, now: float) -> tuple[bool, OmittedLines | None]:
        """Return whether a line may be written at this time, and the omitted lines to report before it."""
        here = self._seconds.setdefault(kind, _Second(second=int(now)))
        omitted = None
        if int(now) != here.second:
            omitted = _omitted(kind, here)
            here.second, here.taken = int(now), 0
        if here.taken < self._most:
            here.taken += 1
            return True, omitted
        if not here.left_out:
            here.since = now
        here.left_out += 1
        return False, omitted

    def left_out(self) -> list[OmittedLines]:
        """Return the omitted lines that were not reported yet."""
        return [
            omitted for kind, here in self._seconds.items() if (omitted := _omitted(kind, here)) is not None
        ]


def _omitted(kind: str, here: _Second) -> OmittedLines | None:
    count, here.left_out = here.left_out, 0
    return OmittedLines(kind=kind, count=count, since=here.since) if count else None


log = structlog.get_logger(__name__)

#: The outcomes of rejected callers; other outcomes, such as an outage, do not mean that a caller is rejected.
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")
#: Lines of each kind per second about unauthenticated callers.
UNAUTHENTICATED_PER_SECOND = 10


class AuditLog:
    """Append lines to a file. Safe to use from many threads.

    Each line is passed to the operating system in one write before its call is answered. So lines survive a
    killed process, but the last ones may be lost in a power failure. Only this user may read the file, and
    the group of an existing file that grants it.

    Args:
        path: the file, which is created if it is missing; `-` means stdout.
        clock: seconds since 1970.
        unauthenticated_rate: lines of each kind per second about unauthenticated callers; 0 for no limit.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        unauthenticated_rate: int = UNAUTHENTICATED_PER_SECOND,
    ) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._throttle = AuditThrottle(unauthenticated_rate) if unauthenticated_rate else None
        self._file = self._opened()
        self._writer = LineWriter(self._file)

    def write_unauthenticated(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append a line about an unidentified caller, unless this second has too many of its kind.

        A separate line counts the omitted ones: before the next line of that kind, or in `flush_omitted`.
        """
        if self._throttle is not None:
            with self._lock:
                is_taken, left_out = self._throttle.take(kind, self._clock())
            self._write_omitted(left_out)
            if not is_taken:
                return
        self.write(fields)

    def flush_omitted(self) -> None:
        """Write the number of lines that were omitted since the last such line."""
        if self._throttle is not None:
            with self._lock:
                left_out = self._throttle.left_out()
            for each in left_out:
                self._write_omitted(each)

    def _write_omitted(self, left_out: OmittedLines | None) -> None:
        if left_out is not None:
            outcome, _, reason = left_out.kind.partition(" ")
            self.write(
                {
                    "principal": None,
                    "subject": None,
                    "tenant": None,
                    "peer": None,
                    "method": None,
                    "models": [],
                    "job_id": None,
                    "request": {},
                    "refused": outcome in _REFUSALS,
                    "outcome": outcome,
                    "reason": reason or None,
                    "seconds": None,
                    "left_out": left_out.count,
                    "since": _moment(left_out.since),
                }
            )

    def write(self, fields: Mapping[str, Any]) -> None:
        """Append a line. If that fails, log it in the server's log, and let the call continue."""
        entry = {"time": _moment(self._clock()), **fields}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            try:
                written = self._writer.write(line)
            except OSError as error:
                log.error("audit_write_failed", error=str(error), **fields)
                return
        if written < len(line):
            log.error("audit_line_truncated", written=written, **fields)

    def reopen(self) -> None:
        """Continue in a new file of the same name, after the old one was moved."""
        try:
            new = self._opened()
        except OSError as error:
            log.error("audit_log_reopen_failed", path=str(self._path), error=str(error))
            return
        with self._lock:
            old, self._file, self._writer = self._file, new, LineWriter(new)
        os.close(old)
        log.info("audit_log_reopened", path=str(self._path))

    def close(self) -> None:
        """Close the file."""
        self.flush_omitted()
        with self._lock:
            os.close(self._file)

    def _opened(self) -> int:
        if self._path == STDOUT:
            return os.dup(sys.stdout.fileno())
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _close_to_others(file, self._path)
        except OSError:
            os.close(file)
            raise
        return file


def _close_to_others(file: int, path: Path) -> None:
    """Remove the rights of other users than the owner and the group, which another program has granted."""
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode) or not mode & stat.S_IRWXO:
        return
    try:
        os.fchmod(file, stat.S_IMODE(mode) & ~stat.S_IRWXO)
    except PermissionError as error:
        raise PermissionError(
            error.errno, "All users may access the audit log. Run chmod o= on it", str(path)
        ) from error


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
