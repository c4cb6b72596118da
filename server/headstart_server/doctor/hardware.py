"""Checks the processor, the GPU, the memory and its limits, and reports the resulting runtime."""

import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from headstart_server.backbones.contract.machine import (
    available_bytes,
    cpu_quota,
    machine_bytes,
    memory_limit,
)
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    has_bfloat16,
    has_gpu,
    keras_backend,
    runtime_settings,
)
from headstart_server.doctor.backbones import parameter_count
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.observability.power import open_gpus
from headstart_server.settings.settings import Settings

#: Processor features that determine the speed of networks, by machine, with Linux's names.
_FEATURES = {
    "x86_64": ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    "aarch64": ("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
}
#: MiB of a server without backbone, caches and calls; 130 were measured.
_SERVER_MIB = 200
#: Below this many MiB of free memory a machine begins to swap, or to kill processes.
_SCARCE_MIB = 128
_MIB = 1 << 20


def check_hardware(config: Settings) -> Iterator[Finding]:
    """Check processor, runtime, GPU and memory."""
    features = cpu_features(Path("/proc/cpuinfo"))
    yield cpu_finding(platform.machine(), features)
    yield quota_finding(len(os.sched_getaffinity(0)), cpu_quota())
    settings = runtime_settings(config.backbones)
    yield runtime_finding(settings, has_bfloat16=has_bfloat16())
    yield gpu_finding(settings.settled().kind)
    yield memory_finding(
        total=machine_bytes("MemTotal"),
        limit=memory_limit(),
        available=available_bytes(),
        need=_memory_need(config, settings.settled().streams),
    )


def cpu_features(cpuinfo: Path) -> frozenset[str]:
    """Return the feature flags of the first processor; empty if they are unknown."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def cpu_finding(machine: str, features: frozenset[str]) -> Finding:
    """Return a finding about whether the processor can run networks fast."""
    known = _FEATURES.get(machine)
    if known is None:
        return failed(
            "CPU",
            f"{machine} is not supported: OpenVINO has no packages for it.",
            "Use a machine with an x86_64 or aarch64 processor.",
            machine=machine,
        )
    present = [name for name in known if name in features]
    fast = f"with {', '.join(present)}" if present else "without fast instructions"
    summary = f"{machine} {fast if features else '(features unknown)'}"
    if machine == "x86_64" and features and "avx2" not in features:
        return warning(
            "CPU",
            f"{summary}. Without AVX2, networks run several times slower.",
            "Use a processor with AVX2 (since 2013), or a virtual machine's CPU type that passes it on.",
            machine=machine,
            features=present,
        )
    return ok("CPU", summary, machine=machine, features=present)


def quota_finding(cores: int, quota: float | None) -> Finding:
    """Return a finding about the number of cores that the server may use."""
    if quota is None or quota >= cores:
        return ok("cores", f"{cores}, without a lower CPU limit", cores=cores, quota=quota)
    summary = f"{cores}, limited to {quota:g} by the control group"
    if quota >= 1:
        return ok("cores", summary, cores=cores, quota=quota)
    return warning(
        "cores",
        f"{summary}: calls pause whenever the quota is used up.",
        "Raise the container's CPU limit to 1 or more.",
        cores=cores,
        quota=quota,
    )


def runtime_finding(settings: RuntimeSettings, *, has_bfloat16: bool) -> Finding:
    """Return a finding with the runtime and precision that result from the settings and this machine."""
    chosen = settings.settled()
    kind, precision = chosen.kind or RuntimeKind.OPENVINO, chosen.precision or Precision.FLOAT32
    details = {"runtime": kind.value, "precision": precision.value, "streams": chosen.streams}
    summary = f"{kind.value} in {precision.value}, {chosen.streams} streams"
    package = "keras" if kind is RuntimeKind.KERAS else "openvino"
    if importlib.util.find_spec(package) is None:
        extra = "gpu" if has_gpu() else "server"
        return failed(
            "runtime",
            f"{summary}, but the package {package} is not installed.",
            f"pip install 'headstart[{extra}]', or choose another --runtime.",
            **details,
        )
    if kind is RuntimeKind.OPENVINO and precision is Precision.BFLOAT16 and not has_bfloat16:
        return warning(
            "runtime",
            f"{summary}, which this processor does not multiply natively.",
            "Use --precision auto or float32.",
            **details,
        )
    return ok("runtime", summary, **details)


def gpu_finding(kind: RuntimeKind | None) -> Finding:
    """Return a finding about whether a GPU is present, and used by a runtime."""
    if not has_gpu():
        return skipped("GPU", "No NVIDIA GPU can be reached; networks run on the CPU.")
    gpus = open_gpus()
    devices = sorted(gpus.memory()) if gpus else []
    details = {"devices": devices}
    if kind is not RuntimeKind.KERAS:
        return warning(
            "GPU",
            "An NVIDIA GPU is present, but --runtime openvino uses the CPU.",
            "Use --runtime auto or keras to run networks on the GPU.",
            **details,
        )
    if (backend := keras_backend()) is None or importlib.util.find_spec(backend) is None:
        return failed(
            "GPU",
            f"An NVIDIA GPU is present, but {backend or 'TensorFlow, JAX or PyTorch'} is not installed.",
            "pip install 'headstart[gpu]', or use --runtime openvino.",
            **details,
        )
    if gpus is None:
        return warning(
            "GPU",
            "An NVIDIA GPU is present, but its driver's library or nvidia-ml-py is missing.",
            "pip install 'headstart[gpu]', and check that nvidia-smi lists the GPU.",
            **details,
        )
    return ok("GPU", f"NVIDIA, {len(devices)} device(s)", **details)


def _memory_need(config: Settings, streams: int) -> tuple[int, int]:
    """Return the bytes that a server needs with empty and with full caches."""
    # Each stream holds a compiled copy of the network, with 4-byte weights, in addition to the network.
    least = _SERVER_MIB * _MIB + 4 * parameter_count(config) * (1 + streams)
    storage = config.storage
    caches = (storage.feature_cache_memory or 0) + (storage.version_cache_memory or 0)
    return least, least + caches + 2 * config.limits.max_message_size


def memory_finding(
    *, total: int | None, limit: int | None, available: int | None, need: tuple[int, int]
) -> Finding:
    """Return a finding about whether the memory suffices for the backbone and the caches.

    Args:
        total: bytes of the machine.
        limit: bytes of the control group.
        available: bytes that are free now.
        need: bytes that a server needs with empty and with full caches.
    """
    usable = min((bytes_ for bytes_ in (total, limit) if bytes_ is not None), default=None)
    details = {
        "total": total,
        "limit": limit,
        "available": available,
        "needed": need[0],
        "with_caches": need[1],
    }
    if usable is None:
        return skipped("memory", "The size of the memory is unknown.")
    source = "of the control group" if limit is not None and usable == limit else "of the machine"
    summary = f"{_mib(usable)} {source}"
    free = f"{_mib(available)} free; " if available is not None else ""
    summary += f", {free}about {_mib(need[1])} needed with full caches"
    remedy = "Raise the memory limit, or lower --feature-cache-memory and --version-cache-memory."
    if usable < need[0]:
        return failed(
            "memory", f"{summary}, {_mib(need[0])} without.", "Give the server more memory.", **details
        )
    if usable < need[1]:
        return warning("memory", f"{summary}.", remedy, **details)
    if available is not None and available < _SCARCE_MIB * _MIB:
        return warning(
            "memory", f"{summary}.", "End other programs, or give the server more memory.", **details
        )
    return ok("memory", summary, **details)


def _mib(bytes_: int) -> str:
    return f"{bytes_ / _MIB:,.0f} MiB"
