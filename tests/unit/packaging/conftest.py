"""What the packaging tests read: the project's root, its Dockerfile and its manifests."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from programs import KUSTOMIZE

ROOT = Path(__file__).resolve().parents[3]

#: A document of a manifest, as YAML gives it.
Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One image a Dockerfile can build, with what it inherits from the stages it is based on."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        """The arguments of every instruction of this kind, in order."""
        return [arguments for word, arguments in self.instructions if word == keyword]

    def last(self, keyword: str) -> str:
        """The arguments of the instruction of this kind that is in force; empty if it is missing."""
        return next(reversed(self.all(keyword)), "")


def read_stages(text: str) -> dict[str, Stage]:
    """Returns the stages by name, in the file's order; a stage's base is the image outside the file."""
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    name = ""
    for line in filter(None, map(str.strip, code.splitlines())):
        keyword, arguments = line.split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = arguments.split()
            stages[name] = stages.get(base) or Stage(base=base, instructions=())
        elif name:
            stage = stages[name]
            stages[name] = Stage(
                base=stage.base, instructions=(*stage.instructions, (keyword, " ".join(arguments.split())))
            )
    return stages


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    return read_stages((ROOT / "Dockerfile").read_text())


@pytest.fixture(scope="session")
def kustomize() -> Callable[[Path], list[Document]]:
    """Builds the kustomization of a folder with kustomize itself, or the one within kubectl."""
    program = KUSTOMIZE.need()
    command = "build" if program.name == "kustomize" else "kustomize"
    return lambda folder: _built([str(program), command, str(folder)])


def _built(command: list[str]) -> list[Document]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The loader in C takes a tenth of the time; not every installation of PyYAML has it.
    return list(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
