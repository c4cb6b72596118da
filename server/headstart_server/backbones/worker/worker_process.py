"""Child processes that prepare backbones."""

import os
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from headstart_server.backbones.contract.child_process import start_child
from headstart_server.errors import Draining

#: Seconds without a line after which the watcher of a process is called.
QUIET_SECONDS = 5.0
#: Number of kept lines of stderr, the last ones.
MAX_ERROR_LINES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Exit of a process: `code`, below 0 a signal; `stdout`; and the last lines of `stderr`."""

    code: int
    stdout: str
    stderr: str


class Preparations:
    """Runs programs in processes that end with this one, and immediately when it stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self,
        program: Sequence[str],
        seconds: float,
        watch: Callable[[str], None] = lambda _: None,
        *,
        credentials: Collection[str] = (),
    ) -> Ended:
        """Run Python with arguments to its end.

        Args:
            program: arguments of a program that exits with its stdin, see `end_with_stdin`.
            seconds: time limit.
            watch: receives each line of stdout, and an empty text after some seconds without one.
            credentials: as in `start_child`.

        Raises:
            Draining: the server is stopping.
            TimeoutError: the time limit was exceeded.
            OSError: the process cannot be started.
        """
        theirs, ours = os.pipe()
        try:
            process = self._started(program, theirs, credentials)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        with process:
            try:
                stdout, stderr = _followed(process, seconds, watch)
            finally:
                process.kill()
                os.close(ours)
                with self._lock:
                    self._processes.discard(process)
        self._check_open()
        return Ended(code=process.returncode, stdout=stdout, stderr=stderr)

    def stop(self) -> None:
        """Kill every process, and start no more."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()

    def _started(
        self, program: Sequence[str], stdin: int, credentials: Collection[str]
    ) -> "subprocess.Popen[str]":
        with self._lock:
            self._check_open()
            process = start_child(
                program,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                credentials=credentials,
                text=True,
                errors="replace",
            )
            self._processes.add(process)
            return process

    def _check_open(self) -> None:
        if self._stopped:
            raise Draining("The server is stopping and prepares no backbones. Try again at another replica.")


def _followed(process: Any, seconds: float, watch: Callable[[str], None]) -> tuple[str, str]:
    """Return stdout and the end of stderr once a process exits; raise `TimeoutError` after `seconds`."""
    deadline = time.monotonic() + seconds
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    errors: deque[str] = deque(maxlen=MAX_ERROR_LINES)
    reader = _reading(process.stdout, lines.put)
    error_reader = _reading(process.stderr, errors.append)
    stdout: list[str] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"It did not end within {seconds:.0f} seconds.")
        try:
            line = lines.get(timeout=min(left, QUIET_SECONDS))
        except queue.Empty:
            watch("")
            continue
        if not line:
            break
        stdout.append(line)
        watch(line)
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"It did not end within {seconds:.0f} seconds.") from None
    reader.join()
    error_reader.join()
    return "".join(stdout), "".join(errors)


def _reading(pipe: Any, take: Callable[[str], None]) -> threading.Thread:
    """Start a thread that passes on the lines of a pipe, and an empty one at its end."""

    def read() -> None:
        for line in pipe:
            take(line)
        take("")

    thread = threading.Thread(target=read, name="prepare-output", daemon=True)
    thread.start()
    return thread
