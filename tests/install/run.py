"""Checks what each extra promises, in fresh environments with the built distribution: make test-install."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from install.cases import Case, Companion, Images, Skipped, Times
from install.checks import CHECKS
from install.environments import CheckFailed, Distribution, Environment, Python, Resolution, build, pythons
from install.extras import INSTALLED_AS, OWNERS, Declared
from install.versions import VERSIONS, write_versions

ROOT = Path(__file__).parents[2]
#: Where the logs of failed checks are.
LOGS = ROOT / "build" / "test-install"
KINDS = ("wheel", "sdist")
LAST_LINES = 15
#: The table has the last letters of the first and the last line of a failure.
MOST_LETTERS = 200


@dataclass(frozen=True)
class Row:
    """One environment: what is installed, and what came of it.

    Attributes:
        extra: of INSTALLED_AS.
        python: its interpreter.
        kind: `wheel` or `sdist`.
        resolution: of the versions.
        seconds: of the installation.
        size: bytes of the environment.
        times: to the first answer.
        result: `passed`, or why not.
        failed: whether a promise does not hold.
        versions: of some packages, by name.
    """

    extra: str
    python: Python
    kind: str
    resolution: Resolution
    seconds: float | None = None
    size: int = 0
    times: Times | None = None
    result: str = ""
    failed: bool = False
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        extras = INSTALLED_AS[self.extra]
        return f"headstart[{','.join(extras)}]" if extras else "headstart"

    def cells(self) -> list[str]:
        """Return its cells of the table."""
        seconds = [self.seconds, self.times and self.times.cold, self.times and self.times.warm]
        install, cold, warm = ("" if one is None else f"{one:.1f}" for one in seconds)
        size = f"{self.size / 1e6:.0f}" if self.size else ""
        resolution = "newest" if self.resolution.newest else self.resolution.kind
        lines = [line.strip() for line in self.result.replace("|", "/").splitlines()]
        result = " ".join(line[-MOST_LETTERS:] for line in dict.fromkeys([*lines[:1], *lines[-1:]]))
        return [
            *(f"`{self.name}`", self.python.version, self.kind, resolution),
            *(install, size, cold, warm, result),
        ]


class Runner:
    """Checks one environment after another.

    Args:
        folder: takes their files; each environment is removed after its check.
        distribution: what is installed.
        companion: a complete server for checks that need one.
    """

    def __init__(self, folder: Path, distribution: Distribution, companion: Companion) -> None:
        self._folder = folder
        self._distribution = distribution
        self._companion = companion
        self._declared = Declared(distribution.project / "pyproject.toml")
        self._images = Images(folder / "images")

    def check(self, row: Row) -> Row:
        """Install an environment and check it; returns the row with what came of it."""
        name = f"{row.extra}-{row.python.name}-{row.kind}-{row.resolution.kind}"
        environment = Environment(self._folder / name, row.python)
        scratch = environment.work / "scratch"
        scratch.mkdir()
        try:
            self._check_alone(row)
            seconds = environment.install(
                self._distribution, row.kind, INSTALLED_AS[row.extra], row.resolution
            )
            row = replace(row, seconds=seconds, size=environment.size)
            self._check_imports(environment, INSTALLED_AS[row.extra])
            times = CHECKS[row.extra](Case(environment, self._images, self._companion, scratch))
            versions = tuple(environment.script("versions", *VERSIONS).items())
            return replace(row, times=times, result="passed", versions=versions)
        except Skipped as reason:
            return replace(row, result=f"skipped: {reason}")
        except Exception as failure:  # noqa: BLE001 - the other environments are still checked
            environment.keep_log("failure", f"{type(failure).__name__}: {failure}")
            self._keep_logs(environment, name)
            return replace(row, result=f"FAILED: {failure}", failed=True)
        finally:
            environment.remove()

    def _check_alone(self, row: Row) -> None:
        """Check that an extra which adds to the server also installs without it."""
        extras = INSTALLED_AS[row.extra]
        if len(extras) > 1:
            folder = self._folder / f"{row.extra}-alone-{row.python.name}-{row.kind}"
            environment = Environment(folder, row.python)
            try:
                environment.install(self._distribution, row.kind, extras[1:], row.resolution)
                self._check_imports(environment, extras[1:])
            finally:
                environment.remove()

    def _check_imports(self, environment: Environment, extras: Sequence[str]) -> None:
        """Import every module that some extras promise."""
        included = self._declared.extras(extras)
        packages = ["headstart", *(["headstart_server"] if "serving" in included else [])]
        without = [module for module, extra in OWNERS.items() if extra not in included]
        done = environment.script("imports", json.dumps({"packages": packages, "without": without}))
        if done["failed"]:
            raise CheckFailed("Modules cannot be imported: " + "; ".join(done["failed"]))

    def _keep_logs(self, environment: Environment, name: str) -> None:
        kept = LOGS / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for log in sorted(environment.folder.glob("*.log")):
            shutil.copy(log, kept)
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            print(f"  {kept / log.name}", *(f"    {line[:300]}" for line in lines), sep="\n", flush=True)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    heads = ["installed", "Python", "from", "versions", "install s", "MB", "cold s", "warm s", "result"]
    lines = [heads, ["---"] * len(heads), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def chosen_pythons(names: str | None) -> list[Python]:
    """Return the Pythons of some names such as `3.11,3.13`; by default the oldest and the newest.

    Raises:
        LookupError: one of them is missing.
    """
    found = pythons()
    if not found:
        raise LookupError("No supported Python with all of its standard library is on this machine.")
    if names is None:
        return [found[0], found[-1]] if len(found) > 1 else found
    by_name = {each.name: each for each in found}
    missing = [name for name in names.split(",") if name not in by_name]
    if missing:
        raise LookupError(f"Python {', '.join(missing)} is missing. Found: {', '.join(by_name)}.")
    return [by_name[name] for name in names.split(",")]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"extras, with commas between them: {', '.join(INSTALLED_AS)}")
    parser.add_argument("--python", help="releases such as 3.11,3.13; default: the oldest and the newest")
    parser.add_argument("--from", dest="kind", choices=KINDS, help="default: both")
    parser.add_argument("--resolution", choices=("highest", "lowest-direct"), default="highest")
    parser.add_argument("--newest", action="store_true", help="ignore versions that were resolved earlier")
    parser.add_argument("--quick", action="store_true", help="from the wheel only")
    parser.add_argument("--write-versions", type=Path, help="Markdown file that takes the versions that pass")
    parser.add_argument("--project", type=Path, default=ROOT, help="folder of the project to build")
    given = parser.parse_args()
    given.extras = given.only.split(",") if given.only else list(INSTALLED_AS)
    unknown = sorted(set(given.extras) - set(INSTALLED_AS))
    if unknown:
        parser.error(f"--only {','.join(unknown)} is unknown. Choose from {', '.join(INSTALLED_AS)}.")
    return given


def main() -> int:
    """Check all chosen environments; the exit code is 1 if a promise does not hold."""
    given = arguments()
    try:
        found = chosen_pythons(given.python)
    except LookupError as error:
        print(error)
        return 2
    names = " and ".join(f"{each.version} ({each.path})" for each in found)
    print(f"Python {names}" + (", the only supported one on this machine" if len(found) == 1 else ""))
    kinds = [given.kind] if given.kind else ["wheel"] if given.quick else list(KINDS)
    resolution = Resolution(given.resolution, given.newest)
    with tempfile.TemporaryDirectory(prefix="headstart-install-") as name:
        folder = Path(name)
        distribution = build(given.project.resolve(), folder / "dist")
        for file in (distribution.wheel, distribution.sdist):
            print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")
        runner = Runner(folder, distribution, Companion(folder, found[-1], distribution, resolution))
        rows = []
        for planned in (
            Row(extra, python, kind, resolution)
            for extra in given.extras
            for python in found
            for kind in kinds
        ):
            rows.append(runner.check(planned))
            print("  ".join(rows[-1].cells()), flush=True)
    print(f"\n{table(rows)}")
    failed = [row for row in rows if row.failed]
    if failed:
        print(f"\n{len(failed)} of {len(rows)} environments fail. Logs: {LOGS}", file=sys.stderr)
        return 1
    if given.write_versions:
        versions: dict[str, dict[str, str]] = {}
        for row in rows:
            versions.setdefault(row.python.version, {}).update(row.versions)
        write_versions(given.write_versions, versions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
