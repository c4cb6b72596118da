"""How the documentation runs an image, done by Docker or Podman."""

import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from images.builders import image_settings

#: Where the image keeps its data.
VOLUME = "/var/lib/headstart"
#: Seconds that a container gets to stop; the server's grace period is 30.
STOP_SECONDS = 40
#: Sums the sizes of all files below a root, in one file system.
WALK = """
import os, sys
root = sys.argv[1] if len(sys.argv) > 1 else "/"
device, seen, total = os.lstat(root).st_dev, set(), 0
for folder, folders, files in os.walk(root):
    folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
    for name in files:
        found = os.lstat(os.path.join(folder, name))
        if found.st_ino not in seen:
            seen.add(found.st_ino)
            total += found.st_size
print(total)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How to run an image: a read-only root, a tmpfs at /tmp, and a volume.

    Attributes:
        image: its tag.
        volume: name or folder of the volume.
        environment: variables in addition to those of the image.
        mounts: folders to mount read-only, by their place in the container.
        ports: ports of the container to publish.
    """

    image: str
    volume: str
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    ports: Sequence[int] = (8765, 8080, 9090)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command in a container ended."""

    code: int
    output: str


class Container(Protocol):
    """A running container."""

    def address(self, port: int) -> str:
        """Return where a port of the container is reached from outside, as host:port."""

    def command(self, *command: str) -> Ended:
        """Run a command in the container."""

    def terminate(self) -> int:
        """Send SIGTERM and wait; returns the exit code, 137 if it had to be killed."""

    def is_running(self) -> bool:
        """Return whether it still runs."""

    def log(self) -> str:
        """Return what it has written so far."""

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""


class Runtime(Protocol):
    """Runs the images of one builder, one container at a time."""

    @property
    def host(self) -> str:
        """Where published ports are reached."""

    def start(self, run: Run) -> Container:
        """Start a container."""

    def settings(self, image: str) -> dict[str, Any]:
        """Return how an image wants to be run: Env, Entrypoint, Healthcheck and so on."""

    def size(self, image: str) -> int:
        """Return the bytes of all files of an image."""

    def new_volume(self) -> str:
        """Return a new, empty volume."""

    def remove_volume(self, volume: str) -> None:
        """Remove a volume with its content."""

    def close(self) -> None:
        """Remove what the runtime made."""


class EngineRuntime:
    """Docker or Podman.

    Args:
        tool: docker or podman.
    """

    host = "127.0.0.1"

    def __init__(self, tool: str) -> None:
        self._tool = tool

    def start(self, run: Run) -> Container:
        """Start a container."""
        return EngineContainer(self._tool, run)

    def settings(self, image: str) -> dict[str, Any]:
        """Return how an image wants to be run: Env, Entrypoint, Healthcheck and so on."""
        return image_settings(self._tool, image)

    def size(self, image: str) -> int:
        """Return the bytes of all files of an image."""
        command = ["run", "--rm", "--user", "0", "--entrypoint", "python", image, "-c", WALK]
        return int(output([self._tool, *command]))

    def new_volume(self) -> str:
        """Return a new, empty volume."""
        return output([self._tool, "volume", "create", f"headstart-{uuid.uuid4().hex[:8]}"])

    def remove_volume(self, volume: str) -> None:
        """Remove a volume with its content."""
        subprocess.run([self._tool, "volume", "rm", "--force", volume], check=False, capture_output=True)

    def close(self) -> None:
        """Remove what the runtime made: nothing."""


class EngineContainer:
    """A container of docker or podman.

    Args:
        tool: docker or podman.
        run: how to run it.
    """

    def __init__(self, tool: str, run: Run) -> None:
        self._tool = tool
        options = ["--read-only", "--tmpfs", "/tmp", "--volume", f"{run.volume}:{VOLUME}"]
        for place, folder in run.mounts.items():
            options += ["--volume", f"{folder}:{place}:ro"]
        for name, value in run.environment.items():
            options += ["--env", f"{name}={value}"]
        for port in run.ports:
            options += ["--publish", f"127.0.0.1::{port}"]
        self._id = output([tool, "run", "--detach", *options, run.image]).splitlines()[-1]

    def address(self, port: int) -> str:
        """Return where a port of the container is reached from outside, as host:port."""
        return output([self._tool, "port", self._id, str(port)]).split()[0]

    def command(self, *command: str) -> Ended:
        """Run a command in the container."""
        done = subprocess.run(
            [self._tool, "exec", self._id, *command], capture_output=True, text=True, check=False
        )
        return Ended(code=done.returncode, output=done.stdout + done.stderr)

    def terminate(self) -> int:
        """Send SIGTERM and wait; returns the exit code, 137 if it had to be killed."""
        output([self._tool, "stop", "-t", str(STOP_SECONDS), self._id])
        return int(output([self._tool, "inspect", "--format", "{{.State.ExitCode}}", self._id]))

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return output([self._tool, "inspect", "--format", "{{.State.Running}}", self._id]) == "true"

    def log(self) -> str:
        """Return what it has written so far."""
        done = subprocess.run([self._tool, "logs", self._id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""
        subprocess.run([self._tool, "rm", "--force", self._id], capture_output=True, check=False)


def output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
