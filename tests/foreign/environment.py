"""The environment of other servers' clients: made when first needed, and again when its list changes.

Run as a program: makes it.
"""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
_LIST = Path(__file__).with_name("requirements.txt")
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2")


def python() -> Path:
    """Return its interpreter; make the environment first if need be, which takes half a minute.

    Raises:
        subprocess.CalledProcessError: pip cannot install the clients, for instance without access to PyPI.
    """
    FOLDER.mkdir(exist_ok=True)
    done, program = FOLDER / ".done", FOLDER / "bin" / "python"
    with (FOLDER / ".lock").open("w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != _LIST.read_text():
            venv.create(FOLDER, with_pip=True)
            subprocess.run([program, *_PIP, "--requirement", _LIST], check=True)
            # Triton's perf_analyzer is a program for newer systems only; `perf_analyzer` returns its path.
            subprocess.run(
                [program, *_PIP, "--no-deps", "--only-binary", ":all:", "perf-analyzer"], check=False
            )
            done.write_text(_LIST.read_text())
    return program


def perf_analyzer() -> Path | None:
    """Triton's perf_analyzer; None on systems that its makers do not build it for."""
    program = python().with_name("perf_analyzer")
    return program if program.exists() else None


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{python()}\n")
    except subprocess.CalledProcessError:
        sys.stdout.write("The clients of other servers could not be installed. Their tests are skipped.\n")
