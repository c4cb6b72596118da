"""What every benchmark prints: the machine, the software, and tables in Markdown."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version as package_version
from pathlib import Path

import psutil


def machine() -> str:
    """This machine, in a line."""
    cores = len(os.sched_getaffinity(0))
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{cores} cores of {model}, {psutil.virtual_memory().total / (1 << 30):.0f} GiB"


def software() -> str:
    """The versions that matter, in a line."""
    names = ("headstart", "openvino", "tensorflow", "keras", "grpcio", "numpy")
    return (
        ", ".join(f"{name} {package_version(name)}" for name in names)
        + f", Python {platform.python_version()}"
    )


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    print(f"**{title}**\n")
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)
