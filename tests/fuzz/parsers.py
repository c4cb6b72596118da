"""Feeds parsers in a separate process, so that one that crashes or hangs takes nothing else with it."""

import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from fuzz.targets import Target, targets

#: Seconds of processor time of one input from which on it counts as a hang.
SLOW_SECONDS = 5.0
#: Inputs of a round.
_ROUND = 200
#: Rounds before memory is looked at first: caches fill up.
_WARM_SECONDS = 0.5


class Feeding:
    """Feeds a target one input at a time, and counts what comes of it.

    Args:
        target: it.
        last: the file that what it is fed last stands in.

    Attributes:
        counts: of inputs, of those that were taken, of crashes and of hangs.
        faults: an example of each kind of crash and hang.
    """

    def __init__(self, target: Target, last: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: dict[str, str] = {}
        self._target = target
        self._file = os.open(last, os.O_CREAT | os.O_WRONLY, 0o600)

    def one(self, given_input: object) -> None:
        """Feed one input."""
        shown = repr(given_input).encode()[:20_000]
        os.pwrite(self._file, shown.ljust(20_000), 0)
        self.counts["inputs"] += 1
        began = time.process_time()
        try:
            self._target.parse(given_input)
            self.counts["taken"] += 1
        except self._target.refusals:
            pass
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            self.counts["crashes"] += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
            self.faults.setdefault(key, f"{error}"[:200] + " <- " + shown[:300].decode())
        if time.process_time() - began > SLOW_SECONDS:
            self.counts["hangs"] += 1
            self.faults.setdefault("slow", shown[:300].decode())

    def result(self, grown: int) -> dict[str, Any]:
        """Return the counts, the faults and the growth of memory.

        Args:
            grown: bytes that memory grew by in the second half.
        """
        return {"counts": dict(self.counts), "faults": self.faults, "grown": grown}


def feed(name: str, seconds: float, number: int, results: Connection, last: Path) -> None:
    """Feed one target for some seconds, and send its counts; what it is fed last stands in a file.

    Args:
        name: of the target.
        seconds: how long.
        number: seeds the inputs.
        results: takes a beat of each round, and in the end the counts.
        last: the file.
    """
    warnings.simplefilter("ignore")
    target = targets()[name]
    feeding = Feeding(target, last)
    process = psutil.Process()
    began, rounds, half = time.monotonic(), 0, 0
    while time.monotonic() - began < seconds:
        _round(target, number * 100_003 + rounds, feeding)
        rounds += 1
        results.send(None)
        if not half and time.monotonic() - began >= max(seconds / 2, _WARM_SECONDS):
            half = process.memory_info().rss
    grown = process.memory_info().rss - half if half else 0
    results.send(feeding.result(grown))


def _round(target: Target, number: int, feeding: Feeding) -> None:
    @seed(number)
    @settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def each(given_input: object) -> None:
        feeding.one(given_input)

    each()


if __name__ == "__main__":
    # One target in this process, to look at a fault: python -m fuzz.parsers NAME [SECONDS].
    class _Printed:
        def send(self, value: object) -> None:
            if value is not None:
                print(json.dumps(value, indent=1))

    feed(sys.argv[1], float((sys.argv[2:] or ["5"])[0]), 1, _Printed(), Path(os.devnull))  # type: ignore[arg-type]
