"""Feeds parsers and a real server with damage and nonsense, and prints what came of it: `make fuzz`.

It ends with 1 if anything crashed, hung or leaked. A number seeds all inputs: the same number, the same ones.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

#: The module of each engine, which imports what it feeds.
ENGINES = {"hypothesis": "fuzz.parsers", "atheris": "fuzz.coverage"}
#: Seconds without a sign of life, after which a parser hangs.
SILENT_SECONDS = 60.0
#: Bytes that memory may grow by in the second half of the time, beyond which it is a leak.
LEAK_BYTES = 48 << 20
#: What part of the time the server gets, and the most expensive requests.
SERVER_SHARE, COST_SHARE = 0.3, 0.2
#: Bytes of these requests.
COST_BYTES = 8 << 20
_COLUMNS = ("inputs", "taken", "crashes", "hangs")


def main() -> None:
    """Run, print a table, and end with 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to feed in all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seeds the inputs")
    parser.add_argument("--only", help="names of targets that contain this, and no server")
    parser.add_argument(
        "--engine",
        choices=tuple(ENGINES),
        default="hypothesis",
        help="atheris looks for what reaches new lines of the parsers, and feeds no server",
    )
    options = parser.parse_args()
    # Here: the process of each target imports this file as well, and needs none of them.
    from cost.run import measured
    from fuzz import server
    from fuzz.targets import targets

    print(f"seed {options.seed}, {options.engine}")
    names = [name for name in targets() if options.only is None or options.only in name]
    has_server = options.only is None and options.engine == "hypothesis"
    share = 1 - SERVER_SHARE - COST_SHARE if has_server else 1.0
    print(f"{'target':<26}" + "".join(f"{column:>10}" for column in _COLUMNS) + f"{'grown MiB':>11}")
    results, costs = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            seconds = options.seconds * share / len(names)
            result = fed(ENGINES[options.engine], name, seconds, options.seed, Path(folder))
            results[name] = _print(name, result)
        if has_server:
            result = server.feed(options.seconds * SERVER_SHARE, options.seed, Path(folder))
            results["a real server"] = _print("a real server", result)
            costs = measured(COST_BYTES, options.seconds * COST_SHARE)
    total = {
        column: sum(result["counts"].get(column, 0) for result in results.values()) for column in _COLUMNS
    }
    leaks = sum(result["grown"] > LEAK_BYTES for result in results.values())
    print(
        "total: " + ", ".join(f"{count:,} {column}" for column, count in total.items()) + f", {leaks} leaks"
    )
    for name, result in results.items():
        for fault, example in result["faults"].items():
            print(f"  {name}: {fault}: {example}")
    for finding in costs:
        print(f"  cost: {finding}")
    sys.exit(bool(total["crashes"] or total["hangs"] or leaks or costs))


def fed(engine: str, name: str, seconds: float, number: int, folder: Path) -> dict[str, Any]:
    """Feed a target in a separate process, and return its counts.

    Args:
        engine: the module that feeds.
        name: of the target.
        seconds: how long.
        number: seeds the inputs.
        folder: takes the last input.
    """
    # Forked from a process that has imported the parsers: with atheris on a busy machine their import takes a
    # minute, and would look like a hang.
    multiprocessing.set_forkserver_preload([engine])
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    last = folder / "last"
    process = context.Process(target=_feed, args=(engine, name, seconds, number, theirs, last))
    process.start()
    theirs.close()
    found: dict[str, Any] | None = None
    how = "ended"
    try:
        while found is None:
            if not ours.poll(SILENT_SECONDS):
                how = "hung"
                break
            found = ours.recv()
    except EOFError:
        pass
    finally:
        if how == "hung":
            process.kill()
        process.join()
    if found is not None:
        return found
    fault = f"the process {how}, exit code {process.exitcode}"
    example = last.read_text(errors="replace").strip()[:500] if last.exists() else ""
    kind = "hangs" if how == "hung" else "crashes"
    return {"counts": {kind: 1}, "faults": {fault: example}, "grown": 0}


def _feed(engine: str, *arguments: Any) -> None:
    import_module(engine).feed(*arguments)


def _print(name: str, result: Mapping[str, Any]) -> Mapping[str, Any]:
    cells = "".join(f"{result['counts'].get(column, 0):>10,}" for column in _COLUMNS)
    print(f"{name:<26}{cells}{result['grown'] / (1 << 20):>11.1f}", flush=True)
    return result


if __name__ == "__main__":
    main()
