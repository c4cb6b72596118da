"""A server of an installed environment: the command as users run it."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from install.environments import CheckFailed, Environment

#: Seconds that a server gets to convert its backbone and to load it, on a machine that does other things too.
START_SECONDS = 240.0


class InstalledServer:
    """One `headstart-server serve` on free ports of the loopback.

    Args:
        environment: that it is installed in.
        data: its data folder.
        flags: further flags.
        variables: further environment variables.
    """

    def __init__(
        self, environment: Environment, data: Path, *flags: object, variables: Mapping[str, str] | None = None
    ) -> None:
        self._environment = environment
        self._log = environment.new_log("server")
        command = [
            *(environment.program("headstart-server"), "serve", "--data-dir", data, "--port", "0"),
            *("--metrics-port", "off", "--log-format", "json", *flags),
        ]
        self.began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*map(str, command)],
                stdout=log,
                stderr=log,
                env=environment.variables(variables),
                cwd=environment.work,
            )

    @property
    def target(self) -> str:
        return self._event("listening")["address"]

    @property
    def http(self) -> str:
        """Return the URL of its HTTP port."""
        return f"http://{self._event('http_listening')['address']}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_serving(self) -> None:
        """Wait until its default backbone is loaded, and let the command check its health."""
        self._event("serving")
        self._environment.run("headstart-server", "health", "--target", self.target)

    def stop(self) -> None:
        """Stop it with SIGTERM, as a service manager does."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(60)
        except subprocess.TimeoutExpired:
            raise CheckFailed("The server still runs a minute after SIGTERM.") from None
        if code != 0:
            raise CheckFailed(f"The server exits with {code} after SIGTERM:\n{self.log}")

    def failure(self, timeout: float = 60.0) -> list[str]:
        """Wait until it fails to start; returns the lines that it prints, except those of its log."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CheckFailed(
                f"The server should fail to start, and still runs after {timeout:g} s."
            ) from None
        if code == 0:
            raise CheckFailed(f"The server should fail to start, and exits with 0:\n{self.log}")
        return [line for line in self.log.splitlines() if line.strip() and not line.startswith("{")]

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait(30)

    def _event(self, name: str) -> dict[str, str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in self.log.splitlines():
                if line.startswith("{") and line.endswith("}"):
                    entry: dict[str, str] = json.loads(line)
                    if entry["event"] == name:
                        return entry
            if self._process.poll() is not None:
                raise CheckFailed(f"The server ends with {self._process.returncode}:\n{self.log}")
            time.sleep(0.05)
        raise CheckFailed(f"The server logs no event {name!r} within {START_SECONDS:g} s:\n{self.log}")


@contextmanager
def serving(
    environment: Environment, data: Path, *flags: object, variables: Mapping[str, str] | None = None
) -> Iterator[InstalledServer]:
    """Serve during the block, and stop at its end."""
    server = InstalledServer(environment, data, *flags, variables=variables)
    try:
        server.wait_until_serving()
        yield server
        server.stop()
    finally:
        server.kill()
