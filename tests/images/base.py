"""A base image without a registry: ``python -m images.base [--tag NAME] [--mirror URL]``, as root.

Debian 13 with its Python 3.13, made with debootstrap. It replaces the Dockerfile's base image where Docker
Hub cannot be reached. Use it for tests, and publish images on the base that the Dockerfile pins only.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from images.builders import NO_BUILDER, find_builder, import_root

PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"


def main() -> int:
    """Make the base image; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="make base-image", description="Make a base image with debootstrap."
    )
    parser.add_argument("--tag", default="localhost/headstart-base", help="Name of the image.")
    parser.add_argument("--mirror", default="", help="Debian mirror; default: that of debootstrap.")
    options = parser.parse_args()
    tool, debootstrap = find_builder(), shutil.which("debootstrap")
    if tool is None or debootstrap is None or os.geteuid() != 0:
        print(
            f"Run it as root with debootstrap installed (Debian: apt-get install debootstrap). {NO_BUILDER}"
            if tool is None
            else "Run it as root with debootstrap installed (Debian: apt-get install debootstrap).",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        mirror = [options.mirror] if options.mirror else []
        subprocess.run(
            [debootstrap, "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root), *mirror],
            check=True,
            stdout=sys.stderr,
        )
        prepare(root)
        import_root(tool, root, options.tag)
    print(f"{options.tag} is ready: make images ARGS='--base {options.tag}'")
    return 0


def prepare(root: Path) -> None:
    """Make Debian's Python look like that of the official image: `python`, and a pip that installs."""
    (root / "usr/bin/python").symlink_to("python3")
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    for rest in (root / "var/cache/apt/archives").glob("*.deb"):
        rest.unlink()


if __name__ == "__main__":
    sys.exit(main())
