"""Tests that need a program of the system: without it they are skipped and counted, and fail in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from programs import CLIENTS, NGINX, POSTGRESQL, Requirement, not_tested

TESTS_FOLDER = Path(__file__).parents[2]
#: Put in front of the settings of all tests.
WITHOUT_NGINX = """
import programs
object.__setattr__(programs.NGINX, "executables", ())
"""
TESTS = """
import pytest
from programs import NGINX

@pytest.fixture(scope="session")
def program():
    return NGINX.need()

def test_that_needs_it():
    NGINX.need()

@pytest.mark.parametrize("number", range(3))
def test_whose_fixture_needs_it(program, number):
    pass

def test_that_does_not():
    pass
"""
#: Fails for each package as apt-get does.
INSTALL_NOTHING = """
import programs
programs.PROGRAMS = (programs.Requirement(title="nothing", package="some nothing", executables=("nothing",)),)
programs.INSTALL = 'for package; do echo "E: Unable to locate package $package" >&2; done; exit 100'
raise SystemExit(programs.main())
"""


def run_python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**kept, "PYTHONPATH": str(TESTS_FOLDER), **environment},
    )


def run_tests(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tests that need nginx with the settings of all tests, on a machine without nginx."""
    (folder / "conftest.py").write_text(WITHOUT_NGINX + (TESTS_FOLDER / "conftest.py").read_text())
    (folder / "test_nginx.py").write_text(TESTS)
    return run_python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, **environment)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_missing_program_skips_its_tests_and_the_last_line_counts_them(tmp_path: Path, workers: str):
    done = run_tests(tmp_path, "-n", workers)

    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == "Not tested: nginx (4 tests). To enable them: apt-get install nginx"


def test_a_missing_program_is_a_failure_in_ci(tmp_path: Path):
    done = run_tests(tmp_path, CI="true")

    assert done.returncode == 1, done.stdout + done.stderr
    assert NGINX.reason in done.stdout
    assert "Not tested" not in done.stdout


def test_the_last_line_names_each_package_once_and_other_remedies_with_their_purpose():
    line = not_tested([POSTGRESQL.reason, CLIENTS.reason, NGINX.reason, POSTGRESQL.reason, "another"])

    assert line == (
        "Not tested: PostgreSQL (2 tests), clients of other servers (1 test), nginx (1 test). "
        "To enable them: apt-get install nginx postgresql; connect to PyPI (clients of other servers)"
    )
    assert not_tested(["another"]) == ""


def test_a_program_is_found_next_to_python_without_a_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    found = Requirement(title="pytest", executables=("no-such-program", "pytest")).find()
    assert found == Path(sys.executable).with_name("pytest")
    assert Requirement(title="another", executables=("no-such-program",)).find() is None


# Root always may.
@pytest.mark.parametrize("may_install", [True] if os.geteuid() == 0 else [True, False])
def test_a_package_that_cannot_be_installed_is_named_and_no_failure(tmp_path: Path, may_install: bool):
    scripts = {"apt-get": "exit 1", "sudo": 'shift; exec "$@"' if may_install else "exit 1"}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = run_python(tmp_path, "-c", INSTALL_NOTHING, PATH=f"{tmp_path}:/usr/bin:/bin")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == may_install * [
        "Installing system packages for the tests: nothing some",
        "Not installed: nothing. The tests that need them are skipped. E: Unable to locate package some",
    ]
