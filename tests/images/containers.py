"""Containers that run an image as the documentation says: by docker or podman, or by crun where buildah builds."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from images.builders import image_settings, unpacked

#: Where the image keeps its data.
VOLUME = "/var/lib/headstart"
#: Seconds that a container gets to stop; the server's grace period is 30.
STOP_SECONDS = 40
NO_RUNTIME = "Images built by buildah are run by crun, which is missing (Debian: apt-get install crun)."
ROOT_ONLY = "Images built by buildah are run by crun, which needs root here."


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

    def log(self) -> str:
        """Return what it has written so far."""

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""


def new_volume(tool: str, folder: Path) -> str:
    """Return a new, empty volume; one of buildah's is a folder."""
    if tool == "buildah":
        return str(folder / f"volume-{uuid.uuid4().hex[:8]}")
    name = f"headstart-{uuid.uuid4().hex[:8]}"
    subprocess.run([tool, "volume", "create", name], check=True, capture_output=True)
    return name


def remove_volume(tool: str, volume: str) -> None:
    """Remove a volume with its content."""
    if tool == "buildah":
        shutil.rmtree(volume, ignore_errors=True)
    else:
        subprocess.run([tool, "volume", "rm", "--force", volume], check=False, capture_output=True)


def start(tool: str, run: Run, folder: Path) -> Container:
    """Start a container.

    Args:
        tool: the program that built the image.
        run: how to run it.
        folder: for files of crun.
    """
    return CrunContainer(run, folder) if tool == "buildah" else EngineContainer(tool, run)


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
        self._id = self._call("run", "--detach", *options, run.image).output.strip().splitlines()[-1]

    def address(self, port: int) -> str:
        """Return where a port of the container is reached from outside, as host:port."""
        return self._call("port", self._id, str(port)).output.split()[0]

    def command(self, *command: str) -> Ended:
        """Run a command in the container."""
        done = subprocess.run(
            [self._tool, "exec", self._id, *command], capture_output=True, text=True, check=False
        )
        return Ended(code=done.returncode, output=done.stdout + done.stderr)

    def terminate(self) -> int:
        """Send SIGTERM and wait; returns the exit code, 137 if it had to be killed."""
        self._call("stop", "--time", str(STOP_SECONDS), self._id)
        return int(self._call("inspect", "--format", "{{.State.ExitCode}}", self._id).output)

    def log(self) -> str:
        """Return what it has written so far."""
        done = subprocess.run([self._tool, "logs", self._id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""
        subprocess.run([self._tool, "rm", "--force", self._id], capture_output=True, check=False)

    def _call(self, *arguments: str) -> Ended:
        done = subprocess.run([self._tool, *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return Ended(code=0, output=done.stdout)


class CrunContainer:
    """A container of crun, with a network namespace of its own, on an image of buildah.

    Args:
        run: how to run it.
        folder: for its bundle, its log and its volume.
    """

    _count = 0

    def __init__(self, run: Run, folder: Path) -> None:
        CrunContainer._count += 1
        self._id = f"headstart-{os.getpid()}-{CrunContainer._count}"
        self._bundle = Path(tempfile.mkdtemp(dir=folder, prefix="bundle-"))
        self._log = self._bundle / "log"
        self._network = Network(self._id, CrunContainer._count)
        self._root = unpacked(run.image)
        self._process: subprocess.Popen | None = None
        try:
            root = self._root.__enter__()
            _fill_volume(Path(run.volume), root)
            (self._bundle / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
            document = bundle(run, root, self._bundle, self._network.path)
            (self._bundle / "config.json").write_text(json.dumps(document))
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*CRUN, "run", "--bundle", str(self._bundle), self._id],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        except BaseException:
            self.remove()
            raise

    def address(self, port: int) -> str:
        """Return where a port of the container is reached from outside, as host:port."""
        return f"{self._network.address}:{port}"

    def command(self, *command: str) -> Ended:
        """Run a command in the container."""
        done = subprocess.run([*CRUN, "exec", self._id, *command], capture_output=True, text=True, check=False)
        return Ended(code=done.returncode, output=done.stdout + done.stderr)

    def terminate(self) -> int:
        """Send SIGTERM and wait; returns the exit code, 137 if it had to be killed."""
        assert self._process is not None
        subprocess.run([*CRUN, "kill", self._id, "TERM"], check=True)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            subprocess.run([*CRUN, "kill", self._id, "KILL"], check=True)
            return self._process.wait(STOP_SECONDS)

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""
        subprocess.run([*CRUN, "delete", "--force", self._id], capture_output=True, check=False)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        self._root.__exit__(None, None, None)
        self._network.remove()


CRUN = ("crun", "--cgroup-manager", "disabled")


class Network:
    """A network namespace with one address, which this machine reaches and nobody else.

    Args:
        name: of the namespace.
        number: makes the address unique among containers of one process.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"
        # 198.18.0.0/15 is set aside for tests of networks.
        place = 4 * ((os.getpid() * 16 + number) % 16384)
        prefix = f"198.18.{place // 256}"
        self.address = f"{prefix}.{place % 256 + 2}"
        outside, inside = f"hs{os.getpid() % 100000}o{number}", f"hs{os.getpid() % 100000}i{number}"
        self._outside = outside
        for line in (
            f"ip netns add {name}",
            f"ip link add {outside} type veth peer name {inside} netns {name}",
            f"ip address add {prefix}.{place % 256 + 1}/30 dev {outside}",
            f"ip link set {outside} up",
            f"ip -n {name} address add {self.address}/30 dev {inside}",
            f"ip -n {name} link set {inside} up",
            f"ip -n {name} link set lo up",
        ):
            subprocess.run(line.split(), check=True)

    def remove(self) -> None:
        """Remove the namespace and its address."""
        subprocess.run(["ip", "link", "del", self._outside], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def bundle(run: Run, root: Path, folder: Path, network: str) -> dict:
    """Return the runtime's configuration: what `docker run --read-only --tmpfs /tmp` does, as a document."""
    settings = image_settings("buildah", run.image)
    user, _, group = settings["User"].partition(":")
    variables = [*settings["Env"], *(f"{name}={value}" for name, value in run.environment.items())]
    binds = {VOLUME: (run.volume, "rw"), "/etc/hosts": (str(folder / "hosts"), "ro")}
    binds |= {place: (str(path), "ro") for place, path in run.mounts.items()}
    special = ("nosuid", "noexec", "nodev")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*settings["Entrypoint"], *settings["Cmd"]],
            "env": variables,
            "cwd": settings["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*special, "mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [*special, "mode=1777"]},
            *(
                {"destination": place, "type": "bind", "source": source, "options": ["rbind", mode]}
                for place, (source, mode) in binds.items()
            ),
        ],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                {"type": "network", "path": network},
            ]
        },
    }


def _fill_volume(volume: Path, root: Path) -> None:
    """Make a volume that is not there yet, with the owner and the mode that its place has in the image."""
    if volume.exists():
        return
    place = (root / VOLUME.removeprefix("/")).stat()
    volume.mkdir()
    os.chown(volume, place.st_uid, place.st_gid)
    volume.chmod(place.st_mode & 0o7777)
