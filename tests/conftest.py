"""Settings of all tests."""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from typer import testing

import server_process
from forked import ForkedProgram
from forked_keras import fork_programs
from headstart_server.backbones.contract.runtimes import default_cache
from postgres import PostgresServer
from programs import not_tested
from s3 import S3Server

# PyTorch from PyPI brings Triton, its compiler for GPUs, which aborts a process that runs TensorFlow as well.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

# Tests start hundreds of processes. Without bytecode each of them would compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Backbones that tests prepare are theirs: one that was quantized outside tests would be preferred in them.
for name, folder in {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "GOCACHE": "go-build"}.items():
    os.environ.setdefault(name, str(default_cache().parent / folder))
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / "build" / "test-cache")

# By default structlog prints the source and the variables of each frame of an error, which takes a second.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback

# A runner of commands builds all of them for each call, which takes longer than most calls.
testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]

server_process.start_program = ForkedProgram
fork_programs()

# Machines are shared: how long an example takes says nothing. In CI the same examples come every time, so
# that a change is blamed for its own faults only.
settings.register_profile(
    "headstart",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("headstart")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, which then never searches the million objects of the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print as the last line which tests were skipped because a program is missing."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in skipped]
    if line := not_tested(reasons):
        reporter.write_line(line)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this run; each takes its own database in it."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str | None:
    """The address of an empty database; None for a file in the test's folder.

    A file unless a module asks for both with `on_both_databases`.
    """
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 for all tests of this run; each takes its own bucket in it."""
    with S3Server() as server:
        yield server
