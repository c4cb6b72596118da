"""One server process that is killed, paused, stopped and started again on the same port."""

import json
import os
import signal
import socket
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import server_process
from server_process import Program, Samples, free_port, samples

HOST = "127.0.0.1"


class Replica:
    """A server with its port and data folder.

    Args:
        folder: of its data and its log.
        settings: further ones, as in variables.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.folder = folder
        self._log = folder / "log"
        self._settings = {
            "port": self.port,
            "metrics_port": "off",
            "data_dir": str(folder / "data"),
            "log_format": "json",
            **settings,
        }
        self._process: Program | None = None

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def metrics_port(self) -> object:
        """Where its metrics are; "off" for nowhere."""
        return self._settings["metrics_port"]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def listens(self) -> bool:
        """Return whether it accepts connections."""
        with closing(socket.socket()) as connection:
            connection.settimeout(1)
            return connection.connect_ex((HOST, self.port)) == 0

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_running:
            return
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        settings = json.dumps(self._settings)
        self._process = server_process.start_program("chaos.serve", [settings], environment, self._log)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of its log that tell of an event."""
        # Others than its own write there, too.
        lines = (json.loads(line) for line in self.log.splitlines() if line[:1] == "{" and line[-1:] == "}")
        return [line for line in lines if line["event"] == name]

    def metrics(self) -> Samples:
        """Its metrics now; it needs a `metrics_port` in its settings."""
        return samples(f"http://{HOST}:{self._settings['metrics_port']}/metrics")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for its end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
