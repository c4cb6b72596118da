"""Environments of other programs: made when first needed, and again when their requirements change.

Run as a program: makes them.
"""

import fcntl
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A virtual environment.

    Attributes:
        title: what is in it, for messages.
        folder: the folder.
        requirements: the file of its requirements.
        without_dependencies: wheels that are installed where they can be, without what they require.
    """

    title: str
    folder: Path
    requirements: Path
    without_dependencies: tuple[str, ...] = ()

    def python(self) -> Path:
        """Return its interpreter; make the environment first if need be, which takes half a minute.

        Raises:
            subprocess.CalledProcessError: pip cannot install the requirements, for instance without access to
                PyPI.
        """
        self.folder.mkdir(exist_ok=True)
        done, program = self.folder / ".done", self.folder / "bin" / "python"
        with (self.folder / ".lock").open("w") as lock:
            # Tests run in several processes.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists() or done.read_text() != self.requirements.read_text():
                venv.create(self.folder, with_pip=True)
                subprocess.run([program, *_PIP, "--requirement", self.requirements], check=True)
                for wheel in self.without_dependencies:
                    subprocess.run(
                        [program, *_PIP, "--no-deps", "--only-binary", ":all:", wheel], check=False
                    )
                done.write_text(self.requirements.read_text())
        return program


CLIENTS = Environment(
    title="clients of other servers",
    folder=ROOT / ".venv-clients",
    requirements=Path(__file__).with_name("requirements.txt"),
    # Triton's perf_analyzer is a program for newer systems only; `perf_analyzer` returns its path.
    without_dependencies=("perf-analyzer",),
)
LABEL_STUDIO = Environment(
    title="label-studio",
    folder=ROOT / ".venv-label-studio",
    requirements=Path(__file__).with_name("label-studio.txt"),
)


def python() -> Path:
    """Return the interpreter of the environment of other servers' clients, as `Environment.python`."""
    return CLIENTS.python()


def perf_analyzer() -> Path | None:
    """Triton's perf_analyzer; None on systems that its makers do not build it for."""
    program = python().with_name("perf_analyzer")
    return program if program.exists() else None


if __name__ == "__main__":
    for environment in (CLIENTS, LABEL_STUDIO):
        try:
            sys.stdout.write(f"{environment.python()}\n")
        except subprocess.CalledProcessError:
            sys.stdout.write(f"{environment.title} could not be installed. The tests are skipped.\n")
