"""Measures the data loop and prints a table in Markdown: `make bench-loop ARGS='--only relabel --quick'`.

Exits with 1 if a measurement misses its target or fails.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from loop.measurement import MEASUREMENTS, Measurement, Options, Result
from report import machine, print_table, software


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    names = [each.name for each in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="make bench-loop", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one measurement; repeatable")
    parser.add_argument("--quick", action="store_true", help="measure in short form")
    options = parser.parse_args(arguments)
    print(f"Machine: {machine()}  \nSoftware: {software()}\n", flush=True)
    chosen = [each for each in MEASUREMENTS if not options.only or each.name in options.only]
    rows = [(each, *_measured(each, quick=options.quick)) for each in chosen]
    print_table(
        "The data loop" + (" (short form)" if options.quick else ""),
        ["measurement", "target", "result", "met", "seconds"],
        [
            [each.measure, each.target, result.value, "yes" if result.met else "**no**", f"{seconds:.0f}"]
            for each, result, seconds in rows
        ],
    )
    return 0 if all(result.met for _, result, _ in rows) else 1


def _measured(measurement: Measurement, *, quick: bool) -> tuple[Result, float]:
    """Measure in an empty folder; a failure is a result."""
    if not measurement.exists:
        return Result(value="not measured yet", met=False), 0.0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"headstart-loop-{measurement.name}-") as folder:
        try:
            result = measurement.run(Options(quick=quick, folder=Path(folder)))
        except Exception as error:  # noqa: BLE001 - the other measurements run on
            traceback.print_exc()
            result = Result(value=f"failed: {type(error).__name__}: {str(error)[:200]}", met=False)
    return result, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
