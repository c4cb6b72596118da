"""Which runtime executes networks on this machine, how precisely, and how many batches at once."""

import importlib.util
import os
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from headstart_server.backbones.cores import available_cores
from headstart_server.settings.job_groups import BackbonesGroup

#: Batches in flight on a GPU: measured on an H100, three reach 92 % of the device's own rate and one 53 %.
GPU_STREAMS = 3


class RuntimeKind(Enum):
    """What executes a network."""

    KERAS = "keras"
    OPENVINO = "openvino"


class Precision(Enum):
    """What a network computes in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeSettings:
    """How networks are executed.

    Attributes:
        kind: the runtime; None chooses Keras where it is installed and there is a GPU or no OpenVINO, else
            OpenVINO.
        precision: what it computes in; None chooses bfloat16 where the device multiplies it, else float32.
            Keras on a CPU chooses float32.
        streams: batches that run at once; 0 takes one per core, with Keras one, on a GPU three.
        cache: folder of converted networks; each is made when it is first needed.
        shipped: folder of networks that were converted ahead, which is looked into first and never written;
            None for none.
    """

    kind: RuntimeKind | None = None
    precision: Precision | None = None
    streams: int = 0
    cache: Path = Path(".headstart-backbones")
    shipped: Path | None = None

    def settled(self) -> "RuntimeSettings":
        """These settings with every choice made for this machine."""
        kind = self.kind
        if kind is None:
            has_keras, has_openvino = map(importlib.util.find_spec, ("keras", "openvino"))
            prefers_keras = has_keras and (has_gpu() or not has_openvino)
            kind = RuntimeKind.KERAS if prefers_keras else RuntimeKind.OPENVINO
        keras, gpu = kind is RuntimeKind.KERAS, has_gpu()
        precision = self.precision
        if precision is None:
            fast = gpu if keras else has_bfloat16()
            precision = Precision.BFLOAT16 if fast else Precision.FLOAT32
        chosen = (GPU_STREAMS if gpu else 1) if keras else available_cores()
        return replace(self, kind=kind, precision=precision, streams=self.streams or chosen)


def runtime_settings(backbones: BackbonesGroup) -> RuntimeSettings:
    """Return what a server's settings say of how networks are executed."""
    return RuntimeSettings(
        kind=None if backbones.runtime == "auto" else RuntimeKind(backbones.runtime),
        precision=None if backbones.precision == "auto" else Precision(backbones.precision),
        cache=backbones.backbone_cache or default_cache(),
        shipped=backbones.prepared_backbones,
    )


def default_cache() -> Path:
    """``headstart`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be reached from this process."""
    return Path("/dev/nvidiactl").exists()


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
