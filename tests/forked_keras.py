"""Programs of the server that run Keras, in processes that are forked from one that has imported it.

A server prepares, exports and trains networks in separate processes. Each spends seconds of processor time on
the import of Keras and TensorFlow. The tests therefore have one process that imports them when the first such
program starts, and forks a process for each. A program has the pipes, variables and folder of a child of the
server, and the server gets its exit code. Only its parent is another process: see `worker_of`.
"""

import atexit
import ctypes
import fcntl
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

from headstart_server.backbones.contract.child_process import child_environment, start_child
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.worker import worker_process

#: Variable of servers: the folder with the socket of the process that forks.
FORKED_KERAS = "TESTS_FORKED_KERAS"
PROGRAMS = "headstart_server.backbones.worker."
#: Variables that Python and libraries read at import. A program is forked if the tests have the same ones.
_READ_AT_IMPORT = ("PYTHON", "HOME", "KERAS_", "TF_", "XLA_", "CUDA_", "OMP_", "LD_")
_BYTES = 1 << 17
_PR_SET_NAME = 15


def fork_programs() -> None:
    """Fork the programs that this process starts, and those of servers that it forks."""
    if FORKED_KERAS not in os.environ:
        folder = tempfile.mkdtemp(prefix="keras-")
        os.environ[FORKED_KERAS] = folder
        facts = {"tests": os.getpid(), "environment": child_environment(os.environ)}
        Path(folder, "facts.json").write_text(json.dumps(facts))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    worker_process.start_child = _start  # type: ignore[attr-defined]


def worker_of(server: int, program: str) -> psutil.Process | None:
    """Return the process that runs a program of a server, such as `export_command`; None if it runs none."""
    name = _name(program, server)
    for each in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            is_child = each.ppid() == server and f"{PROGRAMS}{program}" in each.cmdline()
            if is_child or each.name() == name:
                return each
    return None


def _name(program: str, server: int) -> str:
    # Linux keeps 15 characters.
    return f"{program[:6]}-{server}"


class _Forked:
    """A running program, with the methods of `subprocess.Popen` that servers use."""

    def __init__(self, connection: socket.socket, pid: int, pipes: Sequence[IO[bytes]]) -> None:
        self._connection = connection
        self.pid = pid
        self.stdin, self.stdout, self.stderr = pipes
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self.returncode = int(self._connection.recv(_BYTES) or -signal.SIGKILL)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            pipe.close()
        self.wait()
        self._connection.close()


def _start(
    arguments: Sequence[str],
    *,
    stdin: int,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    credentials: Collection[str] = (),
    **more: Any,
) -> Any:
    """Start a program as `start_child` does."""
    pipes = {stdin, stdout, stderr} == {subprocess.PIPE} and not more
    if pipes and arguments[0] == "-m" and arguments[1].startswith(PROGRAMS):
        forked = _fork(arguments[1:], child_environment(os.environ, credentials))
        if forked is not None:
            return forked
    return start_child(arguments, stdin=stdin, stdout=stdout, stderr=stderr, credentials=credentials, **more)


def _fork(arguments: Sequence[str], environment: dict[str, str]) -> _Forked | None:
    (stdin, ours), (out, stdout), (errors, stderr) = (os.pipe() for _ in range(3))
    connection = _connected(Path(os.environ[FORKED_KERAS]))
    program = {
        "arguments": arguments,
        "environment": environment,
        "folder": str(Path.cwd()),
        "name": _name(arguments[0].removeprefix(PROGRAMS), os.getpid()),
    }
    socket.send_fds(connection, [json.dumps(program).encode()], [stdin, stdout, stderr])
    for number in (stdin, stdout, stderr):
        os.close(number)
    pipes = [os.fdopen(ours, "wb", 0), os.fdopen(out, "rb", 0), os.fdopen(errors, "rb", 0)]
    if pid := int(connection.recv(_BYTES)):
        return _Forked(connection, pid, pipes)
    for each in pipes:
        each.close()
    connection.close()
    return None


def _connected(folder: Path) -> socket.socket:
    """Return a connection to the process that forks, which the first one starts."""
    address = str(folder / "socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(address).exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(address)
                listener.listen(64)
                environment = json.loads((folder / "facts.json").read_text())["environment"]
                command = [sys.executable, __file__, str(listener.fileno()), str(folder)]
                subprocess.run(command, pass_fds=[listener.fileno()], env=environment, check=True)
        connection.connect(address)
    return connection


def _serve(listener: socket.socket, folder: Path) -> None:
    """Fork programs until the process of the tests has ended."""
    facts = json.loads((folder / "facts.json").read_text())
    tests = os.pidfd_open(facts["tests"])
    load_openvino()
    load_keras()
    gc.freeze()
    # The imports set variables, too, also in a worker of pytest that has imported Keras.
    ours = _read_at_import(dict(os.environ))
    added = {name: value for name, value in ours.items() if name not in facts["environment"]}
    while True:
        ready, _, _ = select.select([listener, tests], [], [])
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if tests in ready:
            return
        connection, _ = listener.accept()
        with connection:
            content, pipes, _, _ = socket.recv_fds(connection, _BYTES, 3)
            if not content:
                continue
            program = json.loads(content)
            if added | _read_at_import(program["environment"]) != ours:
                connection.send(b"0")
            elif os.fork() == 0:
                listener.close()
                _follow(connection, program, pipes)
            for number in pipes:
                os.close(number)


def _read_at_import(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_IMPORT)}


def _follow(connection: socket.socket, program: dict[str, Any], pipes: Sequence[int]) -> None:
    """Run a program in one more process, and report its number and how it ends."""
    if (pid := os.fork()) == 0:
        connection.close()
        _run(program, pipes)
    for number in pipes:
        os.close(number)
    connection.send(str(pid).encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        connection.send(str(code).encode())
    os._exit(0)


def _run(program: dict[str, Any], pipes: Sequence[int]) -> None:
    for place, number in enumerate(pipes):
        os.dup2(number, place)
        os.close(number)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, program["name"].encode())
    os.chdir(program["folder"])
    os.environ.clear()
    os.environ.update(program["environment"])
    sys.argv, sys.path[0] = program["arguments"], program["folder"]
    code: object = 0
    try:
        runpy.run_module(program["arguments"][0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as at the end of every program
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    # The server that needed it first is not its parent.
    if os.fork() == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nothing, each)
        _serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
