"""A real server process on loopback, for the demo and the benchmark."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a server may take until it serves.
START_SECONDS = 180.0


class ServerFailedError(RuntimeError):
    """The server ended, or did not serve in time; the message has its last lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalServer:
    """A server that serves.

    Attributes:
        target: its address.
        pid: its process.
        start_seconds: from the start of the process to SERVING.
    """

    target: str
    pid: int
    start_seconds: float


@contextmanager
def local_server(data: Path, *flags: str) -> Iterator[LocalServer]:
    """Run a server on a free port while the block runs, and stop it gracefully.

    Args:
        data: its data folder.
        flags: further flags of ``headstart-server serve``.

    Raises:
        ServerFailedError: it does not come up.
    """
    command = [sys.executable, "-m", "headstart_server", "serve", "--data", str(data), "--port", "0"]
    command += ["--metrics-port", "-1", "--log-format", "json", *flags]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = _Log(process)
    try:
        target = log.wait_for("listening", START_SECONDS)["address"]
        log.wait_for("serving", START_SECONDS)
        yield LocalServer(target=target, pid=process.pid, start_seconds=time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(60)


class _Log:
    """The events a server logs, read as they come so that its pipe never fills."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._events: dict[str, dict[str, str]] = {}
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, event: str, seconds: float) -> dict[str, str]:
        with self._changed:
            self._changed.wait_for(lambda: event in self._events or self._ended, seconds)
            if event in self._events:
                return self._events[event]
        last = "".join(self._lines[-20:])
        raise ServerFailedError(f"The server did not get to '{event}'. Its last lines:\n{last}")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line)
                if line.startswith("{"):
                    fields = json.loads(line)
                    self._events.setdefault(fields["event"], fields)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
