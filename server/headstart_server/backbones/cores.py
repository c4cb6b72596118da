"""The processor's cores that this process may use."""

import math
import os
from pathlib import Path

#: Where Linux (cgroup v2) says how much of the processor a container gets: microseconds, of a period of some.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = CPU_QUOTA) -> int:
    """Number of cores: those the process may run on, or the container's share of them where that is less.

    More threads than that only wait for each other, and a container is then held up for whole periods.

    Args:
        quota_file: where the container's share is told.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No such file, or "max": no limit.
        return cores
