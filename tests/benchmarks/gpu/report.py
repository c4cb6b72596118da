"""The rows of the check, and how they are printed and stored."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

import psutil

_SOFTWARE = ("headstart", "keras", "jax", "tensorflow", "torch", "numpy", "grpcio", "simplejpeg")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One result.

    Attributes:
        measure: what was measured.
        value: the result with its unit.
        goal: the goal; empty for a result without one.
        met: whether the goal is met; None if it is not judged.
        number: the result as a number, for comparisons by programs.
    """

    measure: str
    value: str
    goal: str = ""
    met: bool | None = None
    number: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All results of a run.

    Attributes:
        card: name of the GPU; empty without one.
        is_small: whether small sizes were measured, so that goals are not judged.
    """

    card: str
    is_small: bool
    rows: list[Row] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The measures that failed or missed their goal."""
        return [row.measure for row in self.rows if row.met is False]

    def add(self, part: Callable[[], Iterable[Row]], name: str) -> None:
        """Run one part and print its rows; a failure is a row, and the other parts run on."""
        try:
            for row in part():
                self._append(row)
        except Exception as error:  # noqa: BLE001 - the table has a row for it
            # The end of the text names the cause, where it is the output of a process.
            text = f"failed: {type(error).__name__}: {' '.join(str(error).split())[-300:]}"
            self._append(Row(measure=name, value=text.replace("|", "/"), goal="runs", met=False))

    def _append(self, row: Row) -> None:
        self.rows.append(row)
        print(f"  {row.measure}: {row.value}", flush=True)

    def markdown(self) -> str:
        """The table, with the machine and the software."""
        size = "small sizes, goals are not judged" if self.is_small else "full sizes"
        lines = [
            f"GPU: {self.card or 'none'} ({size})  ",
            f"Machine: {machine()}  ",
            f"Software: {software()}",
        ]
        lines += ["", "| measure | result | goal | met |", "|---|---|---|---|"]
        verdicts = {True: "yes", False: "**no**", None: ""}
        lines += [f"| {row.measure} | {row.value} | {row.goal} | {verdicts[row.met]} |" for row in self.rows]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write gpu-check.md and gpu-check.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu-check.md").write_text(self.markdown())
        values = {
            "card": self.card,
            "is_small": self.is_small,
            "machine": machine(),
            "software": software(),
            "rows": [asdict(row) for row in self.rows],
        }
        (folder / "gpu-check.json").write_text(json.dumps(values, indent=1) + "\n")


def machine() -> str:
    """This machine without its GPU, in a line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = psutil.virtual_memory().total / (1 << 30)
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB"


def software() -> str:
    """The versions that matter, in a line."""
    found = []
    for name in _SOFTWARE:
        try:
            found.append(f"{name} {package_version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join([*found, f"Python {platform.python_version()}"])


def card() -> str:
    """Names of the NVIDIA GPUs with their memory and driver; empty without one."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.splitlines()) if done.returncode == 0 else ""
