"""Energy counters of the processor (RAPL) and of NVIDIA GPUs (NVML), and an estimate without RAPL."""

import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from headstart_server.observability import metrics
from headstart_server.observability.energy import WATTS_PER_CORE, EnergyCounter, EnergySource
from headstart_server.observability.metrics import Metric, Read

log = structlog.get_logger(__name__)

POWERCAP = Path("/sys/class/powercap")


def processor_seconds() -> float:
    """Return the processor seconds of this process and its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def busy_seconds() -> float | None:
    """Return the seconds that all processors of the machine were busy; None if unreadable."""
    try:
        # proc(5): user nice system idle iowait irq softirq steal, in ticks.
        fields = Path("/proc/stat").read_bytes().split(b"\n", 1)[0].split()[1:9]
        ticks = [int(field) for field in fields]
    except (OSError, ValueError):
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


class EstimatedCounter:
    """An estimate, processor time times a constant, without GPUs."""

    source = EnergySource.CPU_TIME

    def __init__(
        self, watts_per_core: float = WATTS_PER_CORE, own: Callable[[], float] = processor_seconds
    ) -> None:
        self._watts, self._own = watts_per_core, own
        self._last = own()

    def read_joules(self) -> float:
        """Return the joules since the last read."""
        now = self._own()
        took, self._last = max(0.0, now - self._last), now
        return took * self._watts


class RaplCounter:
    """The counters of packages and memory, multiplied by this process's fraction of the busy time.

    Idle watts are divided in the same way. Zones are folders of Linux's powercap.

    Raises:
        OSError: a zone cannot be read; by default only root can.
        ValueError: a zone contains no number.
    """

    source = EnergySource.RAPL

    def __init__(
        self,
        zones: Sequence[Path],
        *,
        own: Callable[[], float] = processor_seconds,
        busy: Callable[[], float | None] = busy_seconds,
    ) -> None:
        self._own, self._busy = own, busy
        self._ranges = {zone: _microjoules(zone / "max_energy_range_uj") for zone in zones}
        self._zones = {zone: _microjoules(zone / "energy_uj") for zone in zones}
        self._seconds = (own(), busy() or 0.0)

    def read_joules(self) -> float:
        """Return the joules of this process since the last read."""
        own, busy = self._own(), self._busy()
        used, all_used = own - self._seconds[0], (busy or 0.0) - self._seconds[1]
        if busy is None or all_used <= 0:
            # The machine's time has coarse ticks: the next read includes what was used.
            return 0.0
        try:
            micro = self._microjoules()
        except (OSError, ValueError) as error:
            # Work continues when a counter disappears; its joules are missing.
            log.warning("rapl_read_failed", error=str(error))
            return 0.0
        self._seconds = (own, busy)
        return micro * 1e-6 * min(1.0, max(0.0, used / all_used))

    def _microjoules(self) -> int:
        micro = 0
        for zone, before in self._zones.items():
            now = _microjoules(zone / "energy_uj")
            # A full counter begins at 0 again.
            micro += now - before if now >= before else now - before + self._ranges[zone]
            self._zones[zone] = now
        return micro


class Gpus:
    """NVIDIA's devices, read by an initialized `pynvml`: energy, utilization and memory of all processes."""

    source = EnergySource.NVML

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = {
            f"gpu{index}": nvml.nvmlDeviceGetHandleByIndex(index)
            for index in range(nvml.nvmlDeviceGetCount())
        }
        self._last = self._millijoules()

    @property
    def have_energy(self) -> bool:
        """Whether the devices count joules; devices older than Volta do not."""
        return bool(self._last)

    def read_joules(self) -> float:
        """Return the joules since the last read."""
        now = self._millijoules()
        took = sum(max(0, now[name] - before) for name, before in self._last.items() if name in now)
        self._last = self._last | now
        return took * 1e-3

    def use(self) -> dict[str, float]:
        """Return the fraction of the last second in which each device was busy."""
        rates = self._each(self._nvml.nvmlDeviceGetUtilizationRates)
        return {name: rate.gpu / 100 for name, rate in rates.items()}

    def memory_used(self) -> dict[str, float]:
        """Return the bytes of memory in use, by device."""
        return {name: info.used for name, info in self._each(self._nvml.nvmlDeviceGetMemoryInfo).items()}

    def memory(self) -> dict[str, float]:
        """Return the bytes of memory, by device."""
        return {name: info.total for name, info in self._each(self._nvml.nvmlDeviceGetMemoryInfo).items()}

    def _millijoules(self) -> dict[str, int]:
        return self._each(self._nvml.nvmlDeviceGetTotalEnergyConsumption)

    def _each(self, read: Callable[[Any], Any]) -> dict[str, Any]:
        found = {}
        for name, handle in self._handles.items():
            try:
                found[name] = read(handle)
            except self._nvml.NVMLError:
                # The device does not support it, or has just failed: the scrape continues without it.
                continue
        return found


def open_gpus() -> Gpus | None:
    """Return the GPUs of this machine; None without GPUs, their driver or the NVML package."""
    try:
        import pynvml  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        gpus = Gpus(pynvml)
    except pynvml.NVMLError:
        return None
    return gpus if gpus.use() or gpus.memory() else None


def counters(gpus: Gpus | None, *, watts_per_core: float, powercap: Path = POWERCAP) -> list[EnergyCounter]:
    """Return the counters of this machine: the processor, measured or estimated, and GPUs."""
    found: list[EnergyCounter] = [_processor(watts_per_core, powercap)]
    if gpus is not None and gpus.have_energy:
        found.append(gpus)
    log.debug("energy_sources_found", sources=[counter.source.value for counter in found])
    return found


def rapl_zones(powercap: Path = POWERCAP) -> list[Path]:
    """Return the zones of packages and of separate memory, without the parts of a package."""
    names = {path.parent: _text(path) for path in sorted(powercap.glob("intel-rapl:*/name"))}
    return [zone for zone, name in names.items() if name.startswith("package") or name == "dram"]


def _processor(watts_per_core: float, powercap: Path) -> EnergyCounter:
    zones = rapl_zones(powercap)
    if zones and busy_seconds() is not None:
        try:
            return RaplCounter(zones)
        except (OSError, ValueError) as error:
            log.info("rapl_read_failed", error=str(error))
    return EstimatedCounter(watts_per_core)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _microjoules(path: Path) -> int:
    return int(path.read_text())


def gpu_gauges(gpus: Gpus) -> Mapping[Metric, Read]:
    """Return the metrics of GPUs, each with the function that reads it."""
    return {
        metrics.GPU_UTILIZATION: gpus.use,
        metrics.GPU_MEMORY_USED: gpus.memory_used,
        metrics.GPU_MEMORY: gpus.memory,
    }
