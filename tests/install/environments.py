"""Fresh environments with the built distribution, and what runs in them."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv

#: The Pythons that the project supports, oldest first.
SUPPORTED = ((3, 11), (3, 12), (3, 13))
#: Prints the version of an interpreter that has all that the server needs of the standard library.
_PROBE = "import bz2, ctypes, lzma, sqlite3, ssl, sys, venv; print('.'.join(map(str, sys.version_info[:3])))"
#: Programs that a user has besides the environment.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CheckFailed(Exception):
    """A promise that does not hold in an installed environment."""


@dataclass(frozen=True)
class Python:
    """An interpreter on this machine.

    Attributes:
        path: its program.
        release: major and minor number.
        version: with the patch number.
    """

    path: Path
    release: tuple[int, int]
    version: str

    @property
    def name(self) -> str:
        """Return the release as users write it, such as `3.13`."""
        return f"{self.release[0]}.{self.release[1]}"


def pythons() -> list[Python]:
    """Return the supported Pythons of this machine, one for each release, oldest first."""
    on_path = [*(f"python{major}.{minor}" for major, minor in SUPPORTED), "python3"]
    found = [Path(path) for path in map(shutil.which, on_path) if path]
    found += [Path("/usr/bin/python3"), *Path("/usr/bin").glob("python3.1?")]
    # The folders, too: a shim of pyenv on the path runs only the releases that pyenv is set to.
    found += sorted(Path.home().glob(".pyenv/versions/*/bin/python"), reverse=True)
    releases: dict[tuple[int, int], Python] = {}
    for path in found:
        python = _probed(path)
        if python is not None and python.release in SUPPORTED:
            releases.setdefault(python.release, python)
    return [releases[release] for release in sorted(releases)]


def _probed(path: Path) -> Python | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    version = done.stdout.strip()
    major, minor = version.split(".")[:2]
    return Python(path, (int(major), int(minor)), version)


@dataclass(frozen=True)
class Distribution:
    """The built files of a project.

    Attributes:
        project: its folder.
        wheel: its wheel.
        sdist: its source distribution.
    """

    project: Path
    wheel: Path
    sdist: Path

    def file(self, kind: str) -> Path:
        """Return the file of a kind, `wheel` or `sdist`."""
        return self.wheel if kind == "wheel" else self.sdist


def build(project: Path, folder: Path) -> Distribution:
    """Build the source distribution of a project, and from that the wheel."""
    _uv("build", "--quiet", "--out-dir", folder, project)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distribution(project, wheel, sdist)


@dataclass(frozen=True)
class Resolution:
    """Which versions of its requirements an environment gets.

    Attributes:
        kind: `highest` or `lowest-direct`.
        newest: whether to ignore what the package index said earlier.
    """

    kind: str = "highest"
    newest: bool = False


class Environment:
    """An environment with the distribution and some of its extras, and an empty home.

    Args:
        folder: takes everything; must not exist.
        python: its interpreter.
    """

    def __init__(self, folder: Path, python: Python) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.python = python
        self.home = folder / "home"
        self.work = folder / "work"
        self._root = folder / "environment"
        self._logs = itertools.count(1)
        for each in (self.home, self.work):
            each.mkdir()
        _uv("venv", "--quiet", "--python", python.path, self._root)

    def install(
        self, distribution: Distribution, kind: str, extras: Sequence[str], resolution: Resolution
    ) -> float:
        """Install a file of the distribution with some extras; returns the seconds it took."""
        began = time.perf_counter()
        arguments: list[object] = ["--upgrade", "--refresh"] if resolution.newest else []
        if resolution.kind != "highest":
            # uv takes the lowest versions of the requirements of a project, not of a file.
            pins = self.folder / "pins.txt"
            given = [f"--extra={extra}" for extra in extras]
            project = distribution.project / "pyproject.toml"
            _uv(
                *("pip", "compile", "--quiet", project, *given, "--resolution", resolution.kind),
                *("--python", self.program("python"), "--output-file", pins),
            )
            arguments += ["--constraints", pins]
        chosen = f"[{','.join(extras)}]" if extras else ""
        requirement = f"headstart{chosen} @ {distribution.file(kind).as_uri()}"
        _uv("pip", "install", "--quiet", "--python", self.program("python"), *arguments, requirement)
        return time.perf_counter() - began

    def program(self, name: str) -> Path:
        """Return a program of the environment."""
        return self._root / "bin" / name

    @property
    def size(self) -> int:
        """Return the bytes of what is installed."""
        return sum(path.lstat().st_size for path in self._root.rglob("*") if path.is_file())

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables of its programs: none of the harness's except those given."""
        return {
            "PATH": f"{self._root / 'bin'}:{_SYSTEM_PATH}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONNOUSERSITE": "1",
            **(more or {}),
        }

    def run(self, program: str, *arguments: object, timeout: float = 300.0) -> str:
        """Run a program of the environment; returns what it prints.

        Raises:
            CheckFailed: it fails, or takes too long.
        """
        command = [str(self.program(program)), *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=self.variables(),
                cwd=self.work,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{program} {arguments[0]} took more than {timeout:g} s.") from None
        if done.returncode != 0:
            output = done.stdout + done.stderr
            self.keep_log(program, output)
            raise CheckFailed(f"{program} {' '.join(command[1:3])} exits with {done.returncode}:\n{output}")
        return done.stdout

    def script(self, name: str, *arguments: object, timeout: float = 300.0) -> Any:
        """Run a script of tests/install/scripts with the environment's Python; returns its JSON."""
        path = Path(__file__).with_name("scripts") / f"{name}.py"
        return json.loads(self.run("python", "-I", path, *arguments, timeout=timeout).splitlines()[-1])

    def new_log(self, name: str) -> Path:
        """Return the path of a log that is kept if a check fails."""
        return self.folder / f"{next(self._logs)}-{name}.log"

    def keep_log(self, name: str, text: str) -> None:
        """Write a log."""
        self.new_log(name).write_text(text)

    def remove(self) -> None:
        """Remove all except the logs."""
        for each in (self._root, self.home, self.work):
            shutil.rmtree(each, ignore_errors=True)


def _uv(*arguments: object) -> None:
    variables = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    command = [uv.find_uv_bin(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    if done.returncode != 0:
        raise CheckFailed(f"uv {' '.join(command[1:])} fails:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    for one in pythons():
        sys.stdout.write(f"{one.version} {one.path}\n")
