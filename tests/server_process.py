"""A real server in a separate process: the command as users run it, on free ports of the loopback."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

Result = TypeVar("Result")

#: Seconds that a server gets to load and warm its backbone; it takes about 7 alone on two cores.
START_SECONDS = 90.0
#: Seconds for the first start on a machine, which converts the backbone; slow machines need minutes.
FIRST_START_SECONDS = 900.0
#: What "within a second" is on a machine that also runs other tests; benchmarks measure what it is alone.
SECOND = 6.0 if os.environ.get("CI") else 1.0
HOST = "127.0.0.1"
#: Serving processes of every server, to run any test against a server with several.
PROCESSES = os.environ.get("SERVER_PROCESSES", "1")
_MODULE = "headstart_server"


class Program(Protocol):
    """A running program, as far as tests use it."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: signal.Signals, /) -> None: ...
    def kill(self) -> None: ...


def command(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Program:
    """Start a Python module as a command; its output is appended to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=output, stderr=output, env=environment
        )


#: Starts the servers. Benchmarks start the command; tests fork it from a process that has imported it.
start_program: Callable[[str, Sequence[str], Mapping[str, str], Path], Program] = command


#: Ports that this process has handed out: their programs may not listen yet, or may be down for a while.
_taken: set[int] = set()


def free_port() -> int:
    """Return an unused port of the loopback, which nothing else gets before a server listens on it."""
    # Each worker of the tests has its own ports, so that no other one takes a port that is not bound yet.
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # Linux gives connections ports from 32768 on.
    ports = range(10_000, 32_000)[place % workers :: workers]
    while len(_taken) < len(ports):
        # At random, because other runs of the tests may use the same ports.
        port = secrets.choice(ports)
        with closing(socket.socket()) as listener, suppress(OSError):
            listener.bind((HOST, port))
            if port not in _taken:
                _taken.add(port)
                return port
    raise RuntimeError(f"This process has handed out all {len(ports)} ports.")


class ServerProcess:
    """One ``headstart-server serve``.

    Args:
        data: its data folder.
        flags: further flags.
        port: port of the gRPC services; 0 takes a free one.
        settings: environment variables instead of our flags; `flags` are then all arguments.
    """

    def __init__(
        self, data: Path, *flags: str, port: int = 0, settings: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self._log = data.parent / f"{data.name}-{time.monotonic_ns()}.log"
        # A setting of the person who runs the tests must not reach the server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
        arguments = serve_arguments(data, *flags, port=port) if settings is None else flags
        self._process = start_program(_MODULE, arguments, environment | dict(settings or {}), self._log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def rss(self) -> int:
        """Bytes of memory it holds."""
        return psutil.Process(self.pid).memory_info().rss

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def port(self) -> int:
        return _port_of(self.event("listening"))

    @property
    def metrics_port(self) -> int:
        return _port_of(self.event("metrics_listening").removesuffix("/metrics"))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def scrape(self) -> str:
        """Its metrics as text."""
        return _scraped(f"http://{HOST}:{self.metrics_port}/metrics")

    def metrics(self) -> "Samples":
        """Its metrics now."""
        return Samples(_parsed(self.scrape()))

    def event(self, name: str, timeout: float = START_SECONDS) -> str:
        """Wait for a line of the log; returns its address, if it has one."""
        return eventually(lambda: self._find(name), timeout, f"the event {name!r}")["address"]

    def wait_until_serving(self, timeout: float = START_SECONDS) -> None:
        """Wait until the backbone is warm."""
        eventually(lambda: self._find("serving"), timeout, "a warm server")

    def kill(self) -> None:
        """End it at once, as the kernel or a power cut does."""
        self._process.kill()
        self._process.wait(30)

    def terminate(self, timeout: float = 60.0) -> int:
        """Ask it to stop; returns its exit code."""
        self.begin_to_stop()
        return self.wait(timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until it has ended; returns its exit code."""
        return self._process.wait(timeout)

    def begin_to_stop(self) -> None:
        """Ask it to stop, without waiting for it."""
        self._process.send_signal(signal.SIGTERM)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def _find(self, name: str) -> dict[str, str] | None:
        assert self.is_running, f"The server ended with {self._process.returncode}:\n{self.log}"
        for line in self.log.splitlines():
            # TensorFlow's own lines are no JSON, and the last one may be half written.
            if line.startswith("{") and line.endswith("}"):
                entry = json.loads(line)
                if entry["event"] == name:
                    return {"address": "", **entry}
        return None


class Samples:
    """The samples of one scrape.

    Args:
        samples: each with a name, labels and a value.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def value(self, name: str, **labels: str) -> float:
        """The value of a sample with exactly these labels; 0 if it is missing."""
        return self._values.get((name, frozenset(labels.items())), 0.0)


def samples(url: str) -> Samples:
    """The metrics at a URL."""
    return Samples(_parsed(_scraped(url)))


def _scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def _parsed(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def serve_arguments(data: Path, *flags: str, port: int = 0) -> list[str]:
    """The arguments of `headstart-server` that start a server on a data folder."""
    ports = (
        ["--port", str(port)] if "--metrics-port" in flags else ["--port", str(port), "--metrics-port", "0"]
    )
    fixed = ["--host", HOST, "--data-dir", str(data), "--log-format", "json"]
    processes = ["--processes", PROCESSES] if "--processes" not in flags else []
    return ["serve", *fixed, *ports, *processes, *flags]


def serve_command(data: Path, *flags: str, port: int = 0) -> list[str]:
    """The command that starts a server on a data folder."""
    return [sys.executable, "-m", _MODULE, *serve_arguments(data, *flags, port=port)]


@contextmanager
def running(data: Path, *flags: str, port: int = 0) -> Iterator[ServerProcess]:
    """A server that is killed at the end of the block, if it still runs."""
    server = ServerProcess(data, *flags, port=port)
    try:
        yield server
    finally:
        server.kill()


def eventually(find: Callable[[], Result | None], timeout: float, what: str) -> Result:
    """What `find` gives, once that is not None or False; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = find()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"Waited {timeout:g} seconds in vain for {what}."
        time.sleep(0.02)


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
