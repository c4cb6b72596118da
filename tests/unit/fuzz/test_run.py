"""The time that a parser's process gets is for its inputs: its imports are no hang."""

import subprocess
import sys
from pathlib import Path

ENGINE = """
import os

IMPORTED_BY = os.getpid()


def feed(name, seconds, number, results, last):
    results.send({"name": name, "imported by": IMPORTED_BY, "fed by": os.getpid()})
"""
PROGRAM = """
from pathlib import Path

from fuzz.run import fed

one, other = (fed("engine", name, 1.0, 0, Path()) for name in ("one", "other"))
assert one["name"] == "one" and other["name"] == "other"
assert one["imported by"] == other["imported by"], "Each process imports the parsers."
assert one["fed by"] != other["fed by"], "The targets share a process."
"""


def test_the_processes_of_all_targets_share_one_import_of_the_parsers(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(ENGINE)
    path = f"{tmp_path}:{Path(__file__).resolve().parents[2]}"
    subprocess.run([sys.executable, "-c", PROGRAM], env={"PYTHONPATH": path}, cwd=tmp_path, check=True)
