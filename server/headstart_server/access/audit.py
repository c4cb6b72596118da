"""The audit log: one line of JSON for each call, added to a file and never changed."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class AuditLog:
    """Adds lines to a file. Safe to use from many threads.

    A line is handed to the operating system in one piece before its call is answered: it outlives the
    process, even one that is killed, but the last lines may be lost when the machine loses power. Only this
    user may read it.

    Args:
        path: the file; made if it is not there.
        clock: seconds since 1970.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._file = self._opened()

    def write(self, fields: Mapping[str, Any]) -> None:
        """Add a line; one that cannot be added is told to the server's log, and the call goes on."""
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        entry = {"time": moment.replace("+00:00", "Z"), **fields}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as error:
                log.error("audit_line_lost", why=str(error), **fields)
                return
        if written < len(line):
            log.error("audit_line_cut", written=written, **fields)

    def reopen(self) -> None:
        """Go on in a new file of the same name, after the old one was moved away."""
        try:
            new = self._opened()
        except OSError as error:
            log.error("audit_log_not_reopened", path=str(self._path), why=str(error))
            return
        with self._lock:
            old, self._file = self._file, new
        os.close(old)
        log.info("audit_log_reopened", path=str(self._path))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            os.close(self._file)

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
