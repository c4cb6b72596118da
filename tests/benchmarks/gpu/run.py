"""Installs the wheels of the bundle next to this file and runs the check: ``python3 run.py [--out DIR]``.

Python's packages stay as they are. Nothing is downloaded, and nothing is written outside of this folder.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Install if necessary, and check; return the exit code."""
    site = HERE / f"site-{sys.version_info.major}.{sys.version_info.minor}"
    if not (site / ".done").exists():
        wheels = HERE / "wheels"
        (pip,) = wheels.glob("pip-*.whl")
        names = sorted({wheel.name.split("-")[0] for wheel in wheels.glob("*.whl")} - {"pip"})
        print(f"Installing {len(names)} wheels into {site}", flush=True)
        # Without dependencies: those that are missing in the bundle are on this machine.
        install = [
            sys.executable,
            f"{pip}/pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-cache-dir",
        ]
        install += ["--isolated", "--disable-pip-version-check", "--find-links", str(wheels)]
        done = subprocess.run([*install, "--upgrade", "--target", str(site), *names], check=False)
        if done.returncode:
            version = ".".join(map(str, sys.version_info[:2]))
            print(
                f"Make the bundle for Python {version}: make gpu-bundle ARGS='--python {version}'",
                file=sys.stderr,
            )
            return 2
        (site / ".done").touch()
    paths = [str(site), str(HERE / "check"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "KERAS_HOME": str(HERE / "keras")}
    arguments = ["--out", str(HERE), *sys.argv[1:]]
    return subprocess.run([sys.executable, "-m", "gpu", *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
