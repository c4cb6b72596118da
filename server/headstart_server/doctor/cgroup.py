"""Reads the limits of this process's control group, as containers and systemd set them."""

from collections.abc import Iterator
from pathlib import Path

#: Where the groups are mounted, and where the group of this process is named.
ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return the bytes of memory that this process's groups may use together; None without a limit."""
    found = [_number(path) for path in _files(root, own, "memory.max")]
    found.append(_number(root / "memory" / "memory.limit_in_bytes"))
    # Version 1 writes "no limit" as a huge number.
    return min((bytes_ for bytes_ in found if bytes_ is not None and bytes_ < 1 << 60), default=None)


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return the number of cores that this process's groups may use on average; None without a limit."""
    found = []
    for path in _files(root, own, "cpu.max"):
        quota, period = _numbers(path)
        if quota and period:
            found.append(quota / period)
    quota, period = _number(root / "cpu" / "cpu.cfs_quota_us"), _number(root / "cpu" / "cpu.cfs_period_us")
    if quota and period and quota > 0:
        found.append(quota / period)
    return min(found, default=None)


def _files(root: Path, own: Path, name: str) -> Iterator[Path]:
    """Yield the files of this name of this process's group and of the groups above it."""
    yield root / name
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::/") and ".." not in line:
            group = line.removeprefix("0::/")
            while group:
                yield root / group / name
                group = group.rpartition("/")[0]


def _numbers(path: Path) -> tuple[int | None, int | None]:
    try:
        quota, period = path.read_text().split()
        return int(quota), int(period)
    except (OSError, ValueError):
        # The file is missing, or holds "max".
        return None, None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
