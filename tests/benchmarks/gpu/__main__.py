"""Checks Headstart on this machine's NVIDIA GPU, and prints a table in Markdown: `make gpu-check`.

Without a GPU every part runs on the CPU at small size, and goals are not judged. Exits with 1 if a part
fails or a judged goal is missed.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

BACKBONE = "efficientnet-lite0"
#: Backends of Keras, the fastest on GPUs first.
BACKENDS = ("jax", "tensorflow", "torch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build"), help="folder of gpu-check.md and gpu-check.json"
    )
    parser.add_argument("--small", action="store_true", help="small sizes on a GPU, too")
    parser.add_argument(
        "--only", action="append", choices=("runtime", "rates", "solver", "serving"), default=[]
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, help="backend of Keras; default: the first that is installed"
    )
    options = parser.parse_args(arguments)
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    backend = options.backend or os.environ.get("KERAS_BACKEND") or next(iter(installed), None)
    if backend not in installed:
        print(
            f"Keras needs {backend or 'one of ' + ', '.join(BACKENDS)}, which is not installed. Install JAX "
            "with CUDA: pip install 'jax[cuda13]'.",
            file=sys.stderr,
        )
        return 2
    os.environ["KERAS_BACKEND"] = backend
    # JAX reserves most of the memory of a GPU, once in each process.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    warnings.simplefilter("ignore")
    return _check(options.out, options.only, small=options.small)


def _check(out: Path, only: Sequence[str], *, small: bool) -> int:
    from gpu import engine, serving, solver
    from gpu.report import Report, card, machine, software
    from gpu.sizes import FULL, SMALL, Options
    from headstart_server.backbones.contract.runtimes import has_gpu
    from headstart_server.backbones.runtimes import keras_runtime

    is_small = small or not has_gpu()
    if is_small:
        # A start runs the largest batch, which takes a CPU seconds.
        keras_runtime.MAX_BATCH = 8
    report = Report(card=card(), is_small=is_small)
    print(f"GPU: {report.card or 'none'}\nMachine: {machine()}\nSoftware: {software()}\n", flush=True)
    parts = {
        "runtime": engine.runtime,
        "rates": engine.rates,
        "solver": solver.solver,
        "serving": serving.serving,
    }
    with tempfile.TemporaryDirectory(prefix="headstart-gpu-check-") as folder:
        options = Options(
            sizes=SMALL if is_small else FULL, judged=not is_small, folder=Path(folder), backbone=BACKBONE
        )
        for name, part in parts.items():
            if not only or name in only:
                report.add(lambda part=part: part(options), name)
    report.write(out)
    print(f"\n{report.markdown()}\nAlso in {out}/gpu-check.md and {out}/gpu-check.json.")
    if report.problems:
        print(f"Failed or missed: {'; '.join(report.problems)}.", file=sys.stderr)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
