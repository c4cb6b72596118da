"""Processor cores and memory available to this process, within the limits of its control groups (Linux)."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Mount point of the control groups, and the file that names the group of this process.
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
#: Memory of the machine.
MACHINE = Path("/proc/meminfo")
#: Version 1 writes "no limit" as a number above this one.
_NO_LIMIT = 1 << 60


def available_cores(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Return the number of usable cores: of the process affinity, or of the control groups if fewer.

    With more threads than cores, threads wait for each other, and a container is throttled for whole periods.
    """
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(groups, own)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(groups: Path = GROUPS, own: Path = OWN_GROUP) -> float | None:
    """Return the CPU limit of this process's control groups in cores; None without a limit."""
    found = []
    for folder in _folders(groups, own):
        quota, period = _numbers(folder / "cpu.max")
        if quota and period:
            found.append(quota / period)
    (quota,) = _numbers(groups / "cpu" / "cpu.cfs_quota_us", 1)
    (period,) = _numbers(groups / "cpu" / "cpu.cfs_period_us", 1)
    if quota and period and quota > 0:
        found.append(quota / period)
    return min(found, default=None)


def available_bytes(groups: Path = GROUPS, own: Path = OWN_GROUP, machine: Path = MACHINE) -> int | None:
    """Return the available bytes of the machine, or of the control groups if fewer; None if unknown."""
    left = [max(0, limit - used) for limit, used in _memory(groups, own) if used is not None]
    return _least(machine_bytes("MemAvailable", machine), *left)


def limit_bytes(groups: Path = GROUPS, own: Path = OWN_GROUP, machine: Path = MACHINE) -> int | None:
    """Return the bytes of memory of the machine, or of the control groups if fewer; None if unknown."""
    return _least(machine_bytes("MemTotal", machine), memory_limit(groups, own))


def memory_limit(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int | None:
    """Return the memory limit of this process's control groups in bytes; None without a limit."""
    return _least(*(limit for limit, _ in _memory(groups, own)))


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


def _least(*found: int | None) -> int | None:
    return min((nbytes for nbytes in found if nbytes is not None), default=None)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and its parent groups."""
    yield groups
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::/") and ".." not in line:
            group = line.removeprefix("0::/")
            while group:
                yield groups / group
                group = group.rpartition("/")[0]


def _memory(groups: Path, own: Path) -> Iterator[tuple[int, int | None]]:
    """Yield each limit of memory, with the bytes in use if they are known."""
    files = [(folder / "memory.max", folder / "memory.current") for folder in _folders(groups, own)]
    version_1 = groups / "memory"
    files.append((version_1 / "memory.limit_in_bytes", version_1 / "memory.usage_in_bytes"))
    for limit_file, used_file in files:
        (limit,), (used,) = _numbers(limit_file, 1), _numbers(used_file, 1)
        if limit is not None and limit < _NO_LIMIT:
            yield limit, used


def _numbers(path: Path, count: int = 2) -> tuple[int | None, ...]:
    """Return the numbers in a file; None for each if it is missing, or contains "max"."""
    try:
        found = tuple(map(int, path.read_text().split()))
    except (OSError, ValueError):
        found = ()
    return found if len(found) == count else (None,) * count
