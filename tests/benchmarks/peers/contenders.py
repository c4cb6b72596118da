"""What is compared: each server with what it runs, how it is started, and how it is called."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from peers.protocols import Asking, FormAsking, HeadstartAsking, InferenceAsking
from peers.variants import body_path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[2] / ".venv-peers"
FLAVORS = ("keras", "openvino")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a server is started for.

    Attributes:
        variants: their names.
        networks: folder of the peers' networks and of the body.
        folder: an empty folder for what the server writes; Headstart's holds the published versions already.
        cores: of this machine.
        ports: free ones; the first is to be served on.
    """

    variants: Sequence[str]
    networks: Path
    folder: Path
    cores: int
    ports: Sequence[int]

    @property
    def loaded(self) -> Path:
        """Where a peer leaves a file for each network that a process of it has loaded."""
        return self.folder / "loaded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A peer, or Headstart.

    Attributes:
        server: its name in the tables.
        name: of its program, requirements and environment; "headstart" for ours.
        flavor: what runs the network.
        protocol: how it is called.
        package: what PyPI calls it.
        processes: whether each core gets a process that loads every network; else one process loads them.
    """

    server: str
    name: str
    flavor: str
    protocol: str
    package: str
    processes: bool

    @property
    def title(self) -> str:
        """Its name and what runs the network."""
        return f"{self.server}, {self.flavor}"

    def missing(self) -> str | None:
        """Why it cannot be started; None if it can."""
        if self.name == "headstart" or (ENVIRONMENTS / self.name / ".stamp").exists():
            return None
        reason = ENVIRONMENTS / f"{self.name}.failed"
        if reason.exists():
            return f"not installed: {reason.read_text().strip().splitlines()[-1]}"
        return "not installed: run make bench-peers"

    def version(self) -> str:
        """Of its package, as installed."""
        places = [str(place) for place in (ENVIRONMENTS / self.name).glob("lib/python*/site-packages")]
        found = Distribution.discover(name=self.package, path=places)
        return next((one.version for one in found), "not installed")

    def loads(self, job: Job) -> int:
        """Networks that are loaded once it is ready."""
        return 0 if self.name == "headstart" else len(job.variants) * (job.cores if self.processes else 1)

    def command(self, job: Job) -> list[str]:
        """What starts it."""
        if self.name == "headstart":
            declared = ["--backbones-file", str(_declaration(job)), "--default-backbone", "mobilenet-v2"]
            places = ["--backbone-cache", str(job.networks / "cache"), "--data-dir", str(job.folder / "data")]
            ports = ["--port", str(job.ports[0]), "--metrics-port", "off"]
            return [sys.executable, "-m", "headstart_server", "serve", *declared, *places, *ports]
        python = ENVIRONMENTS / self.name / "bin" / "python"
        return [str(python), str(HERE / "servers" / f"serve_{self.name}.py")]

    def environment(self, job: Job) -> dict[str, str]:
        """Return the variables it is started with, without the settings of the person who measures."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
        if self.name == "headstart":
            return kept
        kept.pop("PYTHONPATH", None)
        settings = {
            "flavor": self.flavor,
            "networks": str(job.networks),
            "variants": list(job.variants),
            "port": job.ports[0],
            "spare_ports": list(job.ports[1:]),
            "workers": job.cores,
            "loaded": str(job.loaded),
            "work": str(job.folder),
        }
        return kept | {
            "PEER": json.dumps(settings),
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }


def _declaration(job: Job) -> Path:
    """The body that the peers' networks have, declared as anybody's own file is."""
    path = job.networks / "backbones.toml"
    path.write_text(
        f"""[backbones.mobilenet-v2]
source = "keras-file:{body_path(job.networks)}"
scale = {1 / 127.5!r}
mean = [1.0]
license = "Apache-2.0"
description = "MobileNetV2 with random weights, for measuring."
"""
    )
    return path


HEADSTART = Contender(
    server="Headstart",
    name="headstart",
    flavor="openvino",
    protocol="headstart",
    package="headstart",
    processes=False,
)

#: Name, title, package, protocol, and whether each core gets its own process.
_PEERS = (
    ("pytriton", "Triton (PyTriton)", "nvidia-pytriton", "inference-batched", False),
    ("litserve", "LitServe", "litserve", "form-variant", True),
    ("mlserver", "MLServer", "mlserver", "inference-batched", True),
    ("bentoml", "BentoML", "bentoml", "form-path", True),
    ("kserve", "KServe", "kserve", "inference", False),
)


def peers() -> list[Contender]:
    """Every peer in every flavor."""
    return [
        Contender(
            server=title, name=name, flavor=flavor, protocol=protocol, package=package, processes=processes
        )
        for name, title, package, protocol, processes in _PEERS
        for flavor in FLAVORS
    ]


def asking_of(protocol: str, variants: Sequence[str], files: Sequence[bytes]) -> Asking:
    """Return how a server of this protocol is called."""
    ways: Mapping[str, object] = {
        "headstart": lambda: HeadstartAsking(variants, files),
        "inference": lambda: InferenceAsking(variants, files, [1]),
        "inference-batched": lambda: InferenceAsking(variants, files, [1, 1]),
        "form-variant": lambda: FormAsking(variants, files, field="image", path="/predict"),
        "form-path": lambda: FormAsking(variants, files, field="images", path="/{}"),
    }
    return ways[protocol]()
