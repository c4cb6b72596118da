"""One load on one server, from a separate process: ``python -m peers.load``, its task as JSON on its input.

Prints throughput, latencies and what went wrong, as JSON.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.contenders import asking_of
from peers.protocols import Asking
from peers.transports import FAILURES, connected


async def measure(
    asking: Asking, target: str, variants: Sequence[str], *, callers: int, seconds: float, images: int
) -> dict[str, Any]:
    """Ask for one image a call, always so many calls at once, of a variant drawn at random for each.

    Calls count that end within the time, which begins after a short warm-up. No two callers ask alike.
    """
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    answered = 0
    numbers = itertools.count()
    begin = time.perf_counter() + min(1.0, seconds / 2)
    end = begin + seconds

    async def call_repeatedly(draw: random.Random) -> None:
        nonlocal answered
        while (started := time.perf_counter()) < end:
            try:
                await call(asking.request(draw.choice(variants), next(numbers) % images))
            except FAILURES as error:
                failures[f"{type(error).__name__}: {error}"[:200]] += 1
                await asyncio.sleep(0.01)
                continue
            answered += 1
            finished = time.perf_counter()
            if begin <= finished <= end:
                latencies.append(finished - started)

    used = time.process_time()
    async with connected(target, asking.method) as call:
        await asyncio.gather(*(call_repeatedly(random.Random(place)) for place in range(callers)))
    return {
        "per_second": len(latencies) / seconds,
        "p50_ms": _percentile(latencies, 50),
        "p99_ms": _percentile(latencies, 99),
        "answered": answered,
        "failures": dict(failures),
        "caller_cpu_seconds": time.process_time() - used,
    }


def _percentile(latencies: Sequence[float], share: float) -> float | None:
    return float(np.percentile(latencies, share)) * 1e3 if latencies else None


def main() -> None:
    """Measure and print."""
    task = json.load(sys.stdin)
    files = [path.read_bytes() for path in sorted(Path(task["images"]).glob("*.jpg"))]
    asking = asking_of(task["protocol"], task["variants"], files)
    measured = asyncio.run(
        measure(
            asking,
            task["target"],
            task["variants"],
            callers=task["callers"],
            seconds=task["seconds"],
            images=len(files),
        )
    )
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
