"""Builds the images: ``python -m images.build [--target cpu|slim|gpu]... [--base IMAGE] [OPTION...]``."""

import argparse
import subprocess
import sys
import time

from images.builders import NO_BASE, NO_BUILDER, TAGS, build, find_builder


def main() -> int:
    """Build the images that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="make images",
        description="Build the images with docker, podman or buildah. Further options go to the builder.",
    )
    parser.add_argument("--target", action="append", choices=TAGS, help="An image. Default: cpu and slim.")
    parser.add_argument("--base", help="Base image. Default: the one that the Dockerfile pins.")
    options, further = parser.parse_known_args()
    tool = find_builder()
    if tool is None:
        print(NO_BUILDER, file=sys.stderr)
        return 1
    for target in options.target or ["cpu", "slim"]:
        start = time.monotonic()
        try:
            tag = build(tool, target, base=options.base, options=further)
        except subprocess.CalledProcessError as error:
            print(
                f"{tool} could not build {target} (exit code {error.returncode}). {NO_BASE}", file=sys.stderr
            )
            return 1
        print(f"{tag} built by {tool} in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
