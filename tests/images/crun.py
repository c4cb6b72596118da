"""The documented way to run an image where only Buildah is present: by crun, as root."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from images.builders import image_settings, unpacked
from images.containers import (
    STOP_SECONDS,
    VOLUME,
    WALK,
    Container,
    Ended,
    EngineRuntime,
    Run,
    Runtime,
    output,
)

NO_CRUN = (
    "crun runs images built by buildah. It needs root, crun and ip (Debian: apt-get install crun iproute2)."
)
# crun refuses machines that have both versions of cgroups mounted, and no cgroup is needed here.
_CRUN = 'mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager=disabled "$@"'
CRUN = ("unshare", "--mount", "sh", "-c", _CRUN, "crun")


def runtime_of(tool: str, folder: Path) -> Runtime:
    """Return the runtime for a builder's images.

    Args:
        tool: the builder.
        folder: for files of crun.
    """
    return CrunRuntime(folder) if tool == "buildah" else EngineRuntime(tool)


def hindrance(tool: str) -> str | None:
    """Return why images of a builder cannot be run here; None if they can."""
    if tool != "buildah":
        return None
    missing = [name for name in ("crun", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        return NO_CRUN
    return None


class CrunRuntime:
    """crun on images of buildah, in a network namespace that only this machine reaches.

    Args:
        folder: for bundles, logs and volumes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = Network(f"headstart-{os.getpid()}")
        self.host = self._network.address

    def start(self, run: Run) -> Container:
        """Start a container."""
        return CrunContainer(run, self._folder, self._network)

    def settings(self, image: str) -> dict[str, Any]:
        """Return how an image wants to be run: Env, Entrypoint, Healthcheck and so on."""
        return image_settings("buildah", image)

    def size(self, image: str) -> int:
        """Return the bytes of all files of an image."""
        with unpacked(image) as root:
            return int(output([sys.executable, "-c", WALK, str(root)]))

    def new_volume(self) -> str:
        """Return a new, empty volume: a folder that the first container makes."""
        return str(self._folder / f"volume-{uuid.uuid4().hex[:8]}")

    def remove_volume(self, volume: str) -> None:
        """Remove a volume with its content."""
        shutil.rmtree(volume, ignore_errors=True)

    def close(self) -> None:
        """Remove what the runtime made."""
        self._network.remove()


class CrunContainer:
    """A container of crun on an image of buildah.

    Args:
        run: how to run it.
        folder: for its bundle and its log.
        network: its network namespace.
    """

    def __init__(self, run: Run, folder: Path, network: "Network") -> None:
        self._id = f"headstart-{uuid.uuid4().hex[:8]}"
        self._network = network
        self._bundle = Path(tempfile.mkdtemp(dir=folder, prefix="bundle-"))
        self._log = self._bundle / "log"
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
        done = subprocess.run(
            [*CRUN, "exec", self._id, *command], capture_output=True, text=True, check=False
        )
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

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def remove(self) -> None:
        """Kill it if it still runs, and remove it."""
        subprocess.run([*CRUN, "delete", "--force", self._id], capture_output=True, check=False)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        self._root.__exit__(None, None, None)


class Network:
    """A network namespace with one address that only this machine reaches.

    Args:
        name: of the namespace.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"
        # 198.18.0.0/15 is reserved for tests of networks.
        place = 4 * (os.getpid() % 2**14)
        prefix, last = f"198.18.{place // 256}", place % 256
        self.address = f"{prefix}.{last + 2}"
        self._outside = f"hs{os.getpid()}o"
        inside = f"hs{os.getpid()}i"
        for line in (
            f"ip netns add {name}",
            f"ip link add {self._outside} type veth peer name {inside} netns {name}",
            f"ip address add {prefix}.{last + 1}/30 dev {self._outside}",
            f"ip link set {self._outside} up",
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
