"""Builds the images, runs them as documented and prints a table: ``python -m images.run [--base IMAGE]``."""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from images.builders import NO_BASE, NO_BUILDER, ROOT, build, find_builder
from images.checks import ImageChecks
from images.containers import Runtime
from images.crun import hindrance, runtime_of

#: The most MB that an image may add to the base.
LIMITS = {"slim": 700}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The table's row of one image.

    Attributes:
        image: its name.
        megabytes: what it adds to the base.
        seconds: from the start of a container to serving.
        passed: number of checks that held.
        failed: names of the others.
    """

    image: str
    megabytes: float
    seconds: float | None
    passed: int
    failed: tuple[str, ...]


def main() -> int:
    """Test the images that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="make test-images", description="Build images and run them as documented."
    )
    parser.add_argument("--image", action="append", choices=["cpu", "slim"], help="Default: both.")
    parser.add_argument("--base", help="Base image. Default: the one that the Dockerfile pins.")
    options = parser.parse_args()
    tool = find_builder()
    skipped = NO_BUILDER if tool is None else hindrance(tool)
    if tool is None or skipped:
        print(f"test-images skipped. {skipped}")
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runtime = runtime_of(tool, folder)
        try:
            for target in options.image or ["cpu", "slim"]:
                print(f"Building {target} with {tool} ...", flush=True)
                tag = build(tool, target, base=options.base)
                place = folder / target
                place.mkdir()
                rows.append(test(runtime, target, tag, options.base or pinned_base(), place))
        except subprocess.CalledProcessError as error:
            print(
                f"{' '.join(error.cmd[:2])} failed with exit code {error.returncode}. {NO_BASE}",
                file=sys.stderr,
            )
            return 1
        finally:
            runtime.close()
    print(table(rows))
    return 1 if any(row.failed for row in rows) else 0


def test(runtime: Runtime, name: str, tag: str, base: str, folder: Path) -> Row:
    """Run an image as documented; returns its row."""
    print(f"Running {tag} ...", flush=True)
    checks = ImageChecks(runtime, tag, is_slim=name == "slim", folder=folder)
    failed = {}
    try:
        checks.run()
    except (OSError, TimeoutError, AssertionError) as error:
        failed["runs"] = str(error)
        print(f"  FAILED  {error}")
    megabytes = (runtime.size(tag) - runtime.size(base)) / 1e6
    limit = LIMITS.get(name)
    if limit and megabytes > limit:
        failed[f"adds at most {limit} MB"] = f"{megabytes:.0f} MB"
    return Row(
        image=tag,
        megabytes=megabytes,
        seconds=checks.seconds_to_serving,
        passed=len(checks.passed) + (1 if limit and megabytes <= limit else 0),
        failed=(*checks.failed, *failed),
    )


def table(rows: list[Row]) -> str:
    """Return the rows as text."""
    lines = [f"{'image':<20}{'MB above base':>14}{'s to SERVING':>14}{'passed':>8}{'failed':>8}"]
    for row in rows:
        seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
        lines.append(f"{row.image:<20}{row.megabytes:>14.0f}{seconds:>14}{row.passed:>8}{len(row.failed):>8}")
        lines += [f"  failed: {name}" for name in row.failed]
    return "\n".join(lines)


def pinned_base() -> str:
    """Return the base image that the Dockerfile pins."""
    found = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "Expected ARG BASE= in the Dockerfile."
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
