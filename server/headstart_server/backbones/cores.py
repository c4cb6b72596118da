"""Processor cores available to this process."""

import math
import os
from pathlib import Path

#: Where Linux (cgroup v2) says how much of the processor a container gets: microseconds, of a period of some.
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
        # No such file, or "max": no limit.
        return cores
