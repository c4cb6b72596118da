"""Processor cores available to this process."""

import math
import os
from pathlib import Path

#: The processor quota of a container (Linux cgroup v2): microseconds per period.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = CPU_QUOTA) -> int:
    """Return the number of usable cores: of the process affinity, or of the container's quota if lower.

    More threads only wait for each other, and a container is then throttled for whole periods.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # A missing file, or "max", means no limit.
        return cores
