"""A private server of the command: a process on a free port, with data in a temporary folder."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

__all__ = ["PrivateServer"]

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 15.0
_PR_SET_PDEATHSIG = 1
#: Modules of the extra `http`.
_HTTP_MODULES = ("uvicorn", "h11", "python_multipart")


class PrivateServer:
    """A server that runs during its `with` block.

    It ignores the user's settings, except for the backbone cache, which it shares. `folder` is an empty
    folder for its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("headstart_server") is None:
            raise ValueError("This command requires the server: pip install 'headstart[server]'")
        self._log = folder / "server.log"
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_http = all(find_spec(name) for name in _HTTP_MODULES)

    def __enter__(self) -> "PrivateServer":
        arguments = ["serve", "--host", _HOST, "--port", "0", "--metrics-port", "off"]
        arguments += ["--data-dir", str(self._data), "--log-format", "json"]
        arguments += ["--http-port", "0"] if self._has_http else []
        shared = ("HEADSTART_BACKBONE_CACHE", "HEADSTART_PREPARED_BACKBONES")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HEADSTART_") or name in shared
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "headstart_server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches only the command, which then stops the server
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def address(self) -> str:
        """Wait until the server accepts connections; return its address."""
        return self._address_of("listening")

    def console(self) -> str | None:
        """Wait for the web console; return its URL, or None if the extra `http` is not installed."""
        return f"http://{self._address_of('http_listening')}" if self._has_http else None

    def _address_of(self, event: str) -> str:
        while True:
            address = self._logged(event)
            if address:
                return address
            self.check()
            time.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Raise the last line of the server's log if the server has ended."""
        if self._running().poll() is not None:
            lines = self._log.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "")
            raise ValueError(f"The server ended with {self._running().returncode}: {last}")

    def _logged(self, event: str) -> str:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                entry = json.loads(line)
                if entry.get("event") == event:
                    return str(entry["address"])
        return ""

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("The server is not started.")
        return self._process


def _end_with_parent() -> None:
    """Let the kernel stop the server when this command is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
