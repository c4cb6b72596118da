"""What is compared: each server with what it runs, how it is started, and how it is called."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, version
from pathlib import Path

from headstart_server.backbones.contract.runtimes import Precision, has_bfloat16
from peers.protocols import Asking, FormAsking, HeadstartAsking, InferenceAsking, MinimalAsking
from peers.variants import body_path

HERE = Path(__file__).parent
#: What Headstart calls the body of the peers' networks.
BACKBONE = "mobilenet-v2"
ENVIRONMENTS = HERE.parents[2] / ".venv-peers"
#: What runs the peers' networks: Keras as documented, or OpenVINO added by hand, also with networks quantized
#: by hand. Without a hint OpenVINO takes the best precision of the processor for the rest.
KERAS, OPENVINO, INT8 = FLAVORS = ("keras", "openvino", "openvino-int8")
#: Of Headstart and of the minimal server, which run in this environment.
HEADSTART, MINIMAL = "headstart", "minimal"


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
        name: of its program, requirements and environment; see `HEADSTART` and `MINIMAL`.
        flavor: what runs the network; the precision of Headstart.
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
        if self.name in {HEADSTART, MINIMAL} or (ENVIRONMENTS / self.name / ".stamp").exists():
            return None
        reason = ENVIRONMENTS / f"{self.name}.failed"
        if reason.exists():
            return f"not installed: {reason.read_text().strip().splitlines()[-1]}"
        return "not installed: run make bench-peers"

    def version(self) -> str:
        """Of its package, as installed."""
        if self.name == MINIMAL:
            return version(self.package)
        places = [str(place) for place in (ENVIRONMENTS / self.name).glob("lib/python*/site-packages")]
        found = Distribution.discover(name=self.package, path=places)
        return next((one.version for one in found), "not installed")

    def loads(self, job: Job) -> int:
        """Networks that are loaded once it is ready."""
        return 0 if self.name == HEADSTART else len(job.variants) * (job.cores if self.processes else 1)

    def command(self, job: Job) -> list[str]:
        """What starts it."""
        if self.name == HEADSTART:
            data = ["--data-dir", str(job.folder / "data"), "--precision", self.flavor]
            ports = ["--port", str(job.ports[0]), "--metrics-port", "off"]
            backbone = [*declared(job.networks), "--default-backbone", BACKBONE]
            return [sys.executable, "-m", "headstart_server", "serve", *backbone, *data, *ports]
        is_ours = self.name == MINIMAL
        python = sys.executable if is_ours else ENVIRONMENTS / self.name / "bin" / "python"
        return [str(python), str(HERE / "servers" / f"serve_{self.name}.py")]

    def environment(self, job: Job) -> dict[str, str]:
        """Return the variables it is started with, without the settings of the person who measures."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
        if self.name == HEADSTART:
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


def declared(networks: Path) -> list[str]:
    """Return the flags that declare the body of the peers' networks, as anybody's own file, and its cache."""
    path = networks / "backbones.toml"
    path.write_text(
        f"""[backbones.{BACKBONE}]
source = "keras-file:{body_path(networks)}"
scale = {1 / 127.5!r}
mean = [1.0]
license = "Apache-2.0"
description = "MobileNetV2 with random weights, for measuring."
"""
    )
    return ["--backbones-file", str(path), "--backbone-cache", str(networks / "cache")]


def headstarts() -> list[Contender]:
    """Return Headstart in 8 bits, and in the best precision in floating point of this processor."""
    in_floats = Precision.BFLOAT16 if has_bfloat16() else Precision.FLOAT32
    return [
        Contender(
            server="Headstart",
            name=HEADSTART,
            flavor=precision.value,
            protocol="headstart",
            package="headstart",
            processes=False,
        )
        for precision in (Precision.INT8, in_floats)
    ]


#: Name, title, package, protocol, and whether each core gets its own process.
_PEERS = (
    ("pytriton", "Triton (PyTriton)", "nvidia-pytriton", "inference-batched", False),
    ("litserve", "LitServe", "litserve", "form-variant", True),
    ("mlserver", "MLServer", "mlserver", "inference-batched", True),
    ("bentoml", "BentoML", "bentoml", "form-path", True),
    ("kserve", "KServe", "kserve", "inference", False),
)


def peers() -> list[Contender]:
    """Every peer in every flavor, and the server that a person would write by hand."""
    minimal = Contender(
        server="Minimal gRPC server",
        name=MINIMAL,
        flavor=OPENVINO,
        protocol="minimal",
        package="grpcio",
        processes=False,
    )
    return [minimal] + [
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
        "minimal": lambda: MinimalAsking(files),
        "form-variant": lambda: FormAsking(variants, files, field="image", path="/predict"),
        "form-path": lambda: FormAsking(variants, files, field="images", path="/{}"),
    }
    return ways[protocol]()
