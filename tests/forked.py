"""Python programs in processes that are forked from one that has imported the server already.

A server spends most of its start on imports, and the tests start hundreds of servers. Each worker of the
tests therefore has one process that imports once and forks a process for each start. A program runs as it
would as a command: with its arguments, variables and log, and it ends with its exit code.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from unittest import mock

from forked_keras import FORKED_KERAS, fork_programs

_CONTEXT = multiprocessing.get_context("forkserver")


class ForkedProgram:
    """A running program, with the methods of `subprocess.Popen` that tests use.

    Args:
        module: run as `python -m` runs it; `headstart` stands for the command.
        arguments: of the program.
        environment: all of its variables.
        log: the file that its output is appended to.
        errors: the file for stderr; None for the same.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
    ) -> None:
        start_importing()
        log.touch()
        self._process = _CONTEXT.Process(
            target=_run, args=(module, [*arguments], {**environment}, log, errors or log), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.send_signal(signal.SIGKILL)


def run_headstart(
    *arguments: str, environment: Mapping[str, str], timeout: float = 60.0, module: str = "headstart"
) -> "subprocess.CompletedProcess[str]":
    """Run the command `headstart`, or another module, to its end, and return its exit code and output."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (Path(folder, name) for name in ("output", "errors"))
        program = ForkedProgram(module, arguments, environment, output, errors)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


def start_importing() -> None:
    """Start the process that imports; later calls do nothing."""
    multiprocessing.set_forkserver_preload(["imports_before_forks"])
    path = os.pathsep.join(each for each in sys.path if each)
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
        ensure_running()


def _run(module: str, arguments: list[str], environment: dict[str, str], log: Path, errors: Path) -> None:
    for path, number in ((log, 1), (errors, 2)):
        with path.open("ab") as output:
            os.dup2(output.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    # As from a terminal, also if the tests run under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if FORKED_KERAS in environment:
        fork_programs()
    sys.argv = [module, *arguments]
    if module == "headstart":
        # As the script of this name does, which prints its name in usage messages.
        sys.exit(import_module("headstart.cli").main())
    runpy.run_module(module, run_name="__main__", alter_sys=True)
