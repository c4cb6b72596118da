"""The processes that prepare backbones for this one."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from headstart_server.errors import Draining


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; below 0 the signal that ended it.
        stdout: what it wrote there.
        stderr: what it wrote there.
    """

    code: int
    stdout: str
    stderr: str


class Preparations:
    """Runs programs in processes that end with this one, and at once when it stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, program: Sequence[str], seconds: float) -> Ended:
        """Run Python with some arguments to its end.

        Args:
            program: the arguments; what they run ends with its stdin, see `end_with_stdin`.
            seconds: after which it is ended.

        Raises:
            Draining: the server stops.
            TimeoutError: it took too long.
            OSError: it cannot be started.
        """
        theirs, ours = os.pipe()
        try:
            process = self._started(program, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        with process:
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise TimeoutError(f"It did not end within {seconds:.0f} seconds.") from None
            finally:
                process.kill()
                os.close(ours)
                with self._lock:
                    self._processes.discard(process)
        self._check_open()
        return Ended(code=process.returncode, stdout=stdout, stderr=stderr)

    def stop(self) -> None:
        """End every process at once, and start none any more."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()

    def _started(self, program: Sequence[str], stdin: int) -> "subprocess.Popen[str]":
        with self._lock:
            self._check_open()
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, *program],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._processes.add(process)
            return process

    def _check_open(self) -> None:
        if self._stopped:
            raise Draining("The server is stopping and prepares no backbones. Try again at another replica.")
