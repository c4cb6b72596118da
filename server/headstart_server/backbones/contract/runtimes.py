"""Choice of the runtime, its precision and its streams on this machine."""

import importlib.util
import os
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from headstart_server.backbones.contract.machine import available_cores
from headstart_server.settings.job_groups import BackbonesGroup

#: Concurrent batches on a GPU: on an H100, three reach 92 % of the device's own rate, and one reaches 53 %.
GPU_STREAMS = 3
#: Backends of Keras, the default first.
KERAS_BACKENDS = ("tensorflow", "jax", "torch")

#: Instructions that multiply bfloat16 or 8-bit integers, as Linux names them.
_BFLOAT16, _INT8 = ("avx512_bf16", "amx_bf16"), ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


class RuntimeKind(Enum):
    """Runtime of networks."""

    KERAS = "keras"
    OPENVINO = "openvino"


class Precision(Enum):
    """Precision of computations."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeSettings:
    """Settings of the execution of networks."""

    # runtime; None chooses Keras where it is installed and there is a GPU or no OpenVINO, else OpenVINO
    kind: RuntimeKind | None = None
    # None chooses bfloat16 where the device multiplies it natively, else float32. Keras on a CPU chooses
    # float32. `INT8` and None also prefer quantized backbones; see `Catalog.preferred`
    precision: Precision | None = None
    streams: int = 0  # concurrent batches; 0 means one per core, and with Keras one, on a GPU three
    cache: Path = Path(".headstart-backbones")  # folder of converted networks, each created at first use
    # read-only folder of networks converted in advance, which is searched first; None without one
    shipped: Path | None = None

    def settled(self) -> "RuntimeSettings":
        """Return these settings with every choice made for this machine."""
        kind = self.kind
        if kind is None:
            has_keras, has_openvino = map(importlib.util.find_spec, ("keras", "openvino"))
            prefers_keras = has_keras and keras_backend() and (has_gpu() or not has_openvino)
            kind = RuntimeKind.KERAS if prefers_keras else RuntimeKind.OPENVINO
        keras, gpu = kind is RuntimeKind.KERAS, has_gpu()
        precision = self.precision
        if precision in (None, Precision.INT8):
            fast = gpu if keras else has_bfloat16()
            precision = Precision.BFLOAT16 if fast else Precision.FLOAT32
        chosen = (GPU_STREAMS if gpu else 1) if keras else available_cores()
        return replace(self, kind=kind, precision=precision, streams=self.streams or chosen)


def runtime_settings(backbones: BackbonesGroup) -> RuntimeSettings:
    """Return the runtime settings of a server's configuration."""
    return RuntimeSettings(
        kind=None if backbones.runtime == "auto" else RuntimeKind(backbones.runtime),
        precision=None if backbones.precision == "auto" else Precision(backbones.precision),
        cache=backbones.backbone_cache or default_cache(),
        shipped=backbones.prepared_backbones,
    )


def keras_backend() -> str | None:
    """Return the backend of Keras: ``KERAS_BACKEND``, or the first that is installed; None without one."""
    installed = (name for name in KERAS_BACKENDS if importlib.util.find_spec(name) is not None)
    return os.environ.get("KERAS_BACKEND") or next(installed, None)


def default_cache() -> Path:
    """Return ``headstart`` in the user's cache folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"
    except RuntimeError:
        raise ValueError(
            "This user has no home folder for backbones. Name a folder with --backbone-cache, or set HOME."
        ) from None


def has_gpu() -> bool:
    """Return whether this process has access to an NVIDIA GPU."""
    return Path("/dev/nvidiactl").exists()


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 natively."""
    return not _words().isdisjoint(_BFLOAT16)


def processor() -> str:
    """Return the kind of this processor: its instructions that determine the fastest precision."""
    return " ".join(sorted(_words() & {*_BFLOAT16, *_INT8, "avx2", "avx512f"}))


def _words() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return set()
