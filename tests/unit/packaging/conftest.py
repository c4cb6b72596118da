"""What the packaging tests read: the project's root and its Dockerfile."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One image a Dockerfile can build, with what it inherits from the stages it is based on."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        """The arguments of every instruction of this kind, in order."""
        return [arguments for word, arguments in self.instructions if word == keyword]

    def last(self, keyword: str) -> str:
        """The arguments of the instruction of this kind that is in force; empty if there is none."""
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
        else:
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
