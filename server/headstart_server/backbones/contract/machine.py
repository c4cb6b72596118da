"""Processor cores and memory available to this process."""

import math
import os
from contextlib import suppress
from pathlib import Path

#: The processor quota of a container (Linux cgroup v2): microseconds per period.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
#: Memory limit and use of a container (Linux cgroup v2).
LIMIT = Path("/sys/fs/cgroup/memory.max")
USED = Path("/sys/fs/cgroup/memory.current")
#: Memory of the machine (Linux).
MACHINE = Path("/proc/meminfo")


def available_cores(quota_file: Path = CPU_QUOTA) -> int:
    """Return the number of usable cores: of the process affinity, or of the container's quota if lower.

    With more threads than cores, threads wait for each other, and a container is throttled for whole periods.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # A missing file, or "max", means no limit.
        return cores


def available_bytes(limit: Path = LIMIT, used: Path = USED, machine: Path = MACHINE) -> int | None:
    """Return the available bytes of the machine, or of the container if fewer; None if unknown."""
    found = (machine_bytes("MemAvailable", machine), _of_container(limit, used))
    return min((bytes_ for bytes_ in found if bytes_ is not None), default=None)


def limit_bytes(limit: Path = LIMIT, machine: Path = MACHINE) -> int | None:
    """Return the bytes of memory of the machine, or of the container if they are fewer; None if unknown."""
    found = [machine_bytes("MemTotal", machine)]
    with suppress(OSError, ValueError):
        found.append(int(limit.read_text()))
    return min((bytes_ for bytes_ in found if bytes_ is not None), default=None)


def resident_bytes(process: int) -> int:
    """Return the bytes of memory that a process holds; 0 if the process has ended or this is unknown."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def machine_bytes(entry: str, machine: Path = MACHINE) -> int | None:
    """Return the bytes of an entry of Linux's memory information, such as ``MemTotal``; None if unknown."""
    try:
        for line in machine.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == entry:
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _of_container(limit: Path, used: Path) -> int | None:
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        # A missing file, or "max", means no limit.
        return None
