"""README's two commands, in bare Debian systems and as a new user: `make test-fresh`."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fresh import host
from fresh.container import RELEASES, USER, Container, Debian

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "build" / "fresh"
COMMANDS = ("demo", "test")
PROGRAMS = ("debootstrap", "unshare", "chroot", "setpriv", "tar", "git")
#: Bytes for one system with the packages of `make test`, PyTorch with its CUDA libraries among them.
DISK = 20 * 2**30
#: Seconds for one command.
PATIENCE = 3 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a command ended.

    Attributes:
        summary: the lines of its output that say what was tested.
    """

    system: str
    python: str
    account: str
    command: str
    seconds: float
    code: int
    summary: Sequence[str]

    def __str__(self) -> str:
        state = "passed" if self.code == 0 else f"FAILED ({self.code})"
        row = f"{self.system:<10} {self.python:<8} {self.account:<9} {self.command:<10}"
        lines = [f"{row} {self.seconds:7.0f} s  {state}", *(f"{'':>12}{line}" for line in self.summary)]
        return "\n".join(lines)


def read_summary(log: str) -> list[str]:
    """Return the lines of a log that say what was tested and what was not."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    counts = re.findall(r"^=+ (\d+ \w+\b[^=\n]* in [\d.]+s[^=\n]*?) =+$", plain, re.MULTILINE)
    rest = re.findall(r"^(?:Not tested|Not installed): .*$|accuracy [\d.]+%.*$", plain, re.MULTILINE)
    return [*counts[-1:], *rest]


def find_obstacle() -> str:
    """Return why containers cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "Only root may make containers. Run it as root: sudo make test-fresh"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"Missing: {', '.join(missing)}. Install them: apt-get install debootstrap git util-linux"
    free = shutil.disk_usage(FOLDER).free
    if free < DISK:
        return f"A container needs {DISK / 2**30:.0f} GiB. {FOLDER} has {free / 2**30:.0f} GiB free."
    return ""


def run_in(debian: Debian, options: argparse.Namespace) -> list[Result]:
    """Run the commands in a new system of this release."""
    container = Container(debian, FOLDER, options.mirror)
    account = "root" if options.root else USER
    results = []
    try:
        container.check_out(PROJECT, account=account)
        for target in options.command or COMMANDS:
            command = ["make", target]
            if target == "test" and options.tests:
                command.append(f"ARGS={options.tests}")
            log = FOLDER / f"{debian.suite}-{account}-{target}.log"
            print(
                f"Debian {debian.number}: {shlex.join(command)} as {account}; see {log.relative_to(PROJECT)}",
                flush=True,
            )
            begun = time.monotonic()
            code = container.run(*command, account=account, log=log, seconds=PATIENCE)
            text = log.read_text(errors="replace")
            if code:
                print("\n".join(text.splitlines()[-40:]), flush=True)
            results.append(
                Result(
                    system=f"Debian {debian.number}",
                    python=container.python_version(),
                    account=account,
                    command=f"make {target}",
                    seconds=time.monotonic() - begun,
                    code=code,
                    summary=read_summary(text),
                )
            )
    finally:
        if not options.keep:
            container.close()
    return results


def main() -> int:
    """Run all; exit with 1 if a command failed, and with 2 where containers cannot be made."""
    parser = argparse.ArgumentParser(prog="make test-fresh", description=__doc__)
    parser.add_argument("--only", choices=RELEASES, help="this release of Debian alone")
    parser.add_argument("--command", choices=COMMANDS, action="append", help="this command alone")
    parser.add_argument("--tests", default="", metavar="ARGS", help="arguments of pytest for make test")
    parser.add_argument("--root", action="store_true", help="run as root, who may install system packages")
    parser.add_argument("--keep", action="store_true", help="leave the containers in build/fresh")
    parser.add_argument("--mirror", default=host.debian_mirror(), help="address of the Debian packages")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for debian in [RELEASES[options.only]] if options.only else RELEASES.values():
        if reason := find_obstacle():
            print(reason, file=sys.stderr)
            return 2
        try:
            results += run_in(debian, options)
        except subprocess.CalledProcessError as error:
            print(f"Debian {debian.number}: {shlex.join(error.cmd)} failed; see {FOLDER}", file=sys.stderr)
            return 2
    print("\n".join(map(str, results)))
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
