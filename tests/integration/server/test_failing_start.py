"""Starts that fail: one line names the cause and the remedy, and the process ends soon after."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from forked import run_headstart
from forked_keras import worker_of
from postgres import HOST as POSTGRES_HOST
from postgres import PostgresServer
from prepared import copy_prepared
from s3 import S3Server
from server_process import (
    HOST,
    START_SECONDS,
    ServerProcess,
    eventually,
    running,
    serve_arguments,
    serve_command,
)

pytestmark = pytest.mark.timeout(240)

#: How a line about the machine or the settings ends.
HINT = " Run 'headstart-server doctor' with the same settings to check this machine."
#: Runs at the start of every Python process that has its folder on PYTHONPATH.
WITHOUT_PACKAGE = "import sys\nsys.modules[{package!r}] = None\n"
UNEXPECTED = """
import socket
def gethostname():
    secret = "hunter" + "2"
    raise RuntimeError("The host has\\nno name.")
socket.gethostname = gethostname
"""


@dataclass(frozen=True)
class Failed:
    """A start that failed.

    Attributes:
        line: the last line of stderr, without `HINT`.
        stderr: all of it.
    """

    line: str
    stderr: str


Fail = Callable[..., Failed]


@pytest.fixture
def fail(tmp_path: Path) -> Fail:
    """Start a server that cannot start."""

    def start(*flags: str, startup: str = "", port: int = 0, data: Path = tmp_path / "data") -> Failed:
        own = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
        if startup:
            (tmp_path / "sitecustomize.py").write_text(startup)
            done = subprocess.run(
                serve_command(data, *flags, port=port),
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
                env=own | {"PYTHONPATH": str(tmp_path)},
            )
        else:
            arguments = serve_arguments(data, *flags, port=port)
            done = run_headstart(*arguments, environment=own, timeout=200, module="headstart_server")
        assert done.returncode == 1, done.stderr
        failed = Failed(done.stderr.splitlines()[-1].removesuffix(HINT), done.stderr)
        assert failed.line.startswith("headstart-server: ")
        return failed

    return start


def has_no_stack(failed: Failed) -> None:
    assert "Traceback" not in failed.stderr
    for line in failed.stderr.splitlines():
        assert '"frames"' not in line
        assert '"exception"' not in line


@pytest.fixture
def taken() -> Iterator[int]:
    """A port in use."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_with_its_flag(fail: Fail, taken: int) -> None:
    for flag in ("--port", "--http-port", "--metrics-port"):
        failed = fail(port=taken) if flag == "--port" else fail(flag, str(taken))
        assert f"Cannot listen on {HOST}:{taken}" in failed.line
        assert f"Choose another {flag}" in failed.line
        has_no_stack(failed)


def test_a_data_folder_that_cannot_be_used_is_named(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = fail(data=tmp_path / "file")
    assert f"Cannot use {tmp_path / 'file'} as the data folder: " in failed.line
    assert "Choose another with --data-dir" in failed.line
    has_no_stack(failed)


def test_a_database_that_cannot_be_used_is_named(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "headstart.sqlite3"
    file.write_bytes(b"no database " * 1000)
    failed = fail()
    assert failed.line == (
        f"headstart-server: Cannot use the database {file}: file is not a database. Correct --database, or "
        "fix the database."
    )
    has_no_stack(failed)
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER)")
        connection.execute("INSERT INTO schema_version VALUES (999)")
        connection.commit()
    failed = fail()
    assert "has schema 999" in failed.line
    has_no_stack(failed)


def test_a_database_that_refuses_the_user_is_named_without_the_password(
    fail: Fail, postgres: PostgresServer
) -> None:
    failed = fail("--database", f"postgresql://stranger:hunter2@{POSTGRES_HOST}:{postgres.port}/nowhere")
    assert 'role "stranger" does not exist' in failed.line
    assert "hunter2" not in failed.stderr
    has_no_stack(failed)


def test_a_bucket_that_does_not_exist_is_named_and_another_one_may_follow(
    fail: Fail, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    for bucket in ("no-such-bucket-1", "no-such-bucket-2"):
        failed = fail("--artifacts", f"s3://{bucket}/x")
        assert failed.line == (
            f"headstart-server: Cannot use --artifacts: there is no bucket s3://{bucket}. Create the bucket, "
            "or correct --artifacts, the credentials or their permissions."
        )
        has_no_stack(failed)


def test_files_that_settings_name_are_named(fail: Fail, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no = [")
    key = ("--tls-key", str(broken))
    for flags, said in (
        (("--access-file", str(broken)), str(broken)),
        (("--tls-cert", str(broken), *key), f"{broken} contains no PEM certificate. Correct --tls-cert."),
        (("--tls-cert", str(tmp_path / "none"), *key), f"Cannot read {tmp_path / 'none'}: No such file"),
    ):
        failed = fail(*flags)
        assert said in failed.line
        has_no_stack(failed)


def test_a_package_of_an_extra_that_is_missing_is_named(fail: Fail) -> None:
    failed = fail("--http-port", "0", startup=WITHOUT_PACKAGE.format(package="uvicorn"))
    assert (
        failed.line
        == "headstart-server: --http-port needs the package uvicorn: pip install 'headstart[http]'."
    )
    has_no_stack(failed)
    failed = fail(startup=WITHOUT_PACKAGE.format(package="prometheus_client"))
    assert "The package prometheus_client is missing." in failed.line
    has_no_stack(failed)


def test_an_unexpected_error_is_one_line_and_its_stack_is_there_on_request(fail: Fail) -> None:
    failed = fail(startup=UNEXPECTED)
    assert failed.line == (
        "headstart-server: RuntimeError: The host has no name. (--log-level debug shows the stack trace.)"
    )
    has_no_stack(failed)
    failed = fail("--log-level", "debug", "--log-format", "text", startup=UNEXPECTED)
    assert failed.line.startswith("headstart-server: RuntimeError")
    assert "Traceback (most recent call last)" in failed.stderr
    assert "hunter2" not in failed.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared default backbone."""
    cache = tmp_path_factory.mktemp("cache")
    copy_prepared("efficientnet-lite0", cache)
    return cache


def test_a_backbone_that_computes_something_else_is_named(fail: Fail, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    (card,) = (tmp_path / "cache").glob("*/card.json")
    values = json.loads(card.read_text())
    for golden in values["golden"].values():
        golden["norm"] *= 2
    card.write_text(json.dumps(values))
    failed = fail("--backbone-cache", str(tmp_path / "cache"))
    assert "efficientnet-lite0" in failed.line
    has_no_stack(failed)
    assert_logged_once(failed)


def test_a_backbone_that_cannot_be_converted_is_named(fail: Fail, tmp_path: Path) -> None:
    flags = ("--backbone-cache", str(tmp_path / "cache"))
    failed = fail(*flags, startup=WITHOUT_PACKAGE.format(package="tensorflow"))
    assert "'efficientnet-lite0'" in failed.line
    assert "needs tensorflow, which this installation lacks." in failed.line
    assert "install 'headstart[server]'" in failed.line
    has_no_stack(failed)
    assert_logged_once(failed)


def assert_logged_once(failed: Failed) -> None:
    entries = [json.loads(line) for line in failed.stderr.splitlines() if line.startswith("{")]
    (entry,) = (entry for entry in entries if entry["event"] == "backbone_load_failed")
    assert entry["error"] in failed.line


@pytest.fixture
def converting(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in the middle of its first conversion."""
    with running(tmp_path / "data", "--backbone-cache", str(tmp_path / "cache")) as server:
        eventually(lambda: child_of(server), START_SECONDS, "the process that converts")
        yield server


def child_of(server: ServerProcess) -> psutil.Process | None:
    return worker_of(server.pid, "prepare_command")


def prepared(server: ServerProcess) -> list[Path]:
    """Return the backbones whose conversion ended."""
    cards = (server.data.parent / "cache").glob("*/card.json")
    return [card.parent for card in cards if card.parent.suffix != ".part"]


def test_a_conversion_that_is_killed_ends_the_start(converting: ServerProcess) -> None:
    child = child_of(converting)
    assert child is not None
    child.kill()
    eventually(lambda: not converting.is_running, START_SECONDS, "the end")
    assert prepared(converting) == []
    line = converting.log.splitlines()[-1]
    assert line.startswith("headstart-server: The process that prepares backbone 'efficientnet-lite0' from ")
    assert "signal 9 (SIGKILL)" in line
    assert "Traceback" not in converting.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_first_conversion_ends_it_soon(
    converting: ServerProcess, number: signal.Signals
) -> None:
    child = child_of(converting)
    assert child is not None
    os.kill(converting.pid, number)
    assert converting.wait(START_SECONDS) == 0
    assert not child.is_running()
    # It did not wait for the end of the conversion.
    assert prepared(converting) == []
