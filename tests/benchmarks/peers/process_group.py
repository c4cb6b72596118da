"""A server with all its processes: started together, weighed together, ended together."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

#: Bytes that stay free on the machine: a server that takes more is ended.
MEMORY_FLOOR = 5 << 29
#: Seconds that processes get to end by themselves.
GRACE_SECONDS = 8.0


class ServerEnded(Exception):
    """The server is not there any more; the message says why."""


class ProcessGroup:
    """A command and what it starts.

    Args:
        command: what to run.
        environment: its variables.
        folder: its working folder.
        log: gets what it prints.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, folder: Path, log: Path
    ) -> None:
        self._log = log
        self._ended_for: str | None = None
        self._seen: set[psutil.Process] = set()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=file, env=dict(environment), cwd=folder, start_new_session=True
            )
        self._stopped = threading.Event()
        self._guard = threading.Thread(target=self._guard_memory, name="memory", daemon=True)
        self._guard.start()

    def check(self) -> None:
        """Raise `ServerEnded` if it has ended, or was ended for its memory."""
        if self._ended_for is not None:
            raise ServerEnded(self._ended_for)
        if self._process.poll() is not None:
            last = " / ".join(self.log.strip().splitlines()[-3:])
            raise ServerEnded(f"ended with {self._process.returncode}: {last[-300:]}")

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def memory(self) -> int:
        """Bytes of memory that its processes hold, pages that they share counted once."""
        total = 0
        for process in self._processes():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def cpu_seconds(self) -> float:
        """Seconds of all cores together that its running processes have used."""
        total = 0.0
        for process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def end(self) -> None:
        """End every process of it: politely, then not."""
        self._stopped.set()
        processes = self._processes()
        self._signal(signal.SIGTERM)
        _, left = psutil.wait_procs(processes, GRACE_SECONDS)
        if left:
            self._signal(signal.SIGKILL)
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
        self._process.wait()
        self._guard.join()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _processes(self) -> list[psutil.Process]:
        """All of it, those too whose parent has ended or that left the group."""
        with suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            self._seen |= {root, *root.children(recursive=True)}
        self._seen = {process for process in self._seen if process.is_running()}
        return list(self._seen)

    def _guard_memory(self) -> None:
        while not self._stopped.wait(0.5):
            if psutil.virtual_memory().available < MEMORY_FLOOR:
                self._ended_for = (
                    f"ended because it took the machine's memory: {self.memory() / 2**30:.1f} GiB"
                )
                self._signal(signal.SIGKILL)
                return


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], *, folder: Path
) -> Iterator[ProcessGroup]:
    """A server that is ended at the end of the block, whatever happens in it."""
    group = ProcessGroup(command, environment, folder=folder, log=folder / "log")
    try:
        yield group
    finally:
        group.end()


def wait_until(met, group: ProcessGroup, deadline: float, what: str) -> None:
    """Wait for a condition of a running server.

    Raises:
        ServerEnded: it ended meanwhile.
        TimeoutError: the deadline, on `time.monotonic`, passed.
    """
    while not met():
        group.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {what} in time")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether something listens on this port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
