"""Python programs in worker processes, which are watched and killed when no longer needed."""

import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from headstart_server.backbones.contract.child_process import start_child
from headstart_server.errors import Draining

#: Seconds between two calls of the checkpoint.
CHECK_SECONDS = 0.1
#: Seconds without a line after which the watcher of a preparation is called.
QUIET_SECONDS = 5.0
#: Maximum bytes of stdout and of stderr that are kept, from the end.
OUTPUT_BYTES = 8 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramExit:
    """Exit of a process: `code`, negative for a signal, and the last `OUTPUT_BYTES` of stdout and stderr."""

    code: int
    stdout: str
    stderr: str


def run_program(
    program: Sequence[str],
    *,
    checkpoint: Callable[[int], None],
    on_line: Callable[[str], None] = lambda _: None,
    seconds: float = inf,
    credentials: Collection[str] = (),
) -> ProgramExit:
    """Run Python with arguments to its end; the process is killed when this raises.

    Args:
        program: arguments of a program that exits with its stdin, see `end_with_stdin`.
        checkpoint: called with the process ID every `CHECK_SECONDS`; may raise to stop.
        on_line: receives each complete line of stdout.

    Raises:
        TimeoutError: the time limit was exceeded.
        OSError: the process cannot be started.
    """
    late = time.monotonic() + seconds

    def check() -> None:
        checkpoint(process.pid)
        if time.monotonic() >= late:
            raise TimeoutError(f"The process did not end within {seconds:.0f} seconds.")

    pipe = subprocess.PIPE
    with start_child(program, stdin=pipe, stdout=pipe, stderr=pipe, credentials=credentials) as process:
        try:
            stdout, stderr = _follow(process, check, on_line)
            code = _exit_code(process, check)
        finally:
            process.kill()
    return ProgramExit(code=code, stdout=stdout, stderr=stderr)


class Preparations:
    """Run programs that prepare backbones, until stopped."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def run(
        self,
        program: Sequence[str],
        seconds: float,
        watch: Callable[[str], None] = lambda _: None,
        *,
        credentials: Collection[str] = (),
    ) -> ProgramExit:
        """Run a program as `run_program` does.

        Args:
            watch: receives each line of stdout, and an empty text after some seconds without one.

        Raises:
            Draining: the server is stopping.
            TimeoutError: the time limit was exceeded.
            OSError: the process cannot be started.
        """
        heard = time.monotonic()

        def on_line(line: str) -> None:
            nonlocal heard
            heard = time.monotonic()
            watch(line)

        def checkpoint(_: int = 0) -> None:
            self._check_open()
            if time.monotonic() - heard >= QUIET_SECONDS:
                on_line("")

        self._check_open()
        ended = run_program(
            program, checkpoint=checkpoint, on_line=on_line, seconds=seconds, credentials=credentials
        )
        self._check_open()
        return ended

    def stop(self) -> None:
        """Kill every process within `CHECK_SECONDS`, and start no more."""
        self._stopped.set()

    def _check_open(self) -> None:
        if self._stopped.is_set():
            raise Draining(
                "The server is stopping and does not prepare backbones. Try again at another replica."
            )


class _Output:
    """The end of a process's output in a pipe, and its complete lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._line = b""
        self._end = b""

    def add(self, content: bytes) -> None:
        self._end = (self._end + content)[-OUTPUT_BYTES:]
        *lines, self._line = (self._line + content).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace") + "\n")

    def text(self) -> str:
        return self._end.decode(errors="replace")


def _follow(process: Any, check: Callable[[], None], on_line: Callable[[str], None]) -> tuple[str, str]:
    """Read stdout and stderr to their ends, or to the end of the process."""
    stdout, stderr = _Output(on_line), _Output(lambda _: None)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, stdout)
        selector.register(process.stderr, selectors.EVENT_READ, stderr)
        while selector.get_map():
            check()
            ready = selector.select(CHECK_SECONDS)
            if not ready and process.poll() is not None:
                # A child of the process may keep the pipe open.
                break
            for key, _ in ready:
                content = os.read(key.fd, 1 << 16)
                key.data.add(content)
                if not content:
                    selector.unregister(key.fileobj)
    return stdout.text(), stderr.text()


def _exit_code(process: Any, check: Callable[[], None]) -> int:
    while True:
        try:
            return int(process.wait(CHECK_SECONDS))
        except subprocess.TimeoutExpired:
            check()
