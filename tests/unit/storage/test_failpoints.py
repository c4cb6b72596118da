import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from failpoints import names as failpoint_names
from headstart_server.storage import failpoints
from headstart_server.storage.failpoints import failpoint

_CHILD = """
import os
from headstart_server.storage.failpoints import VARIABLE, arm, failpoint
arm(os.environ[VARIABLE])
with failpoint("one.write"):
    print("written", flush=True)
print("went on", flush=True)
"""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def run(points: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        env={failpoints.VARIABLE: points},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_process_dies_before_or_after_the_write_of_an_armed_name() -> None:
    assert run("one.write:before") == (-signal.SIGKILL, "")
    assert run("other.write:before, one.write:after") == (-signal.SIGKILL, "written\n")
    assert run("other.write:before") == (0, "written\nwent on\n")
    assert run("") == (0, "written\nwent on\n")


def test_what_is_no_failpoint_is_refused() -> None:
    for points in ("one.write", "one.write:during", ":before"):
        with pytest.raises(ValueError, match="Expected NAME:before or NAME:after in HEADSTART_FAILPOINTS"):
            failpoints.arm(points)


def test_without_an_armed_name_every_block_is_the_same() -> None:
    assert failpoint("one.write") is failpoint("other.write")
    failpoints.arm("one.write:before")
    with failpoint("other.write"):
        pass


def test_a_write_that_fails_does_not_kill_at_its_end() -> None:
    failpoints.arm("one.write:after")
    with pytest.raises(OSError, match="full"), failpoint("one.write"):
        raise OSError("full")


def test_every_transaction_of_the_server_has_a_failpoint_of_its_name() -> None:
    assert failpoint_names.unnamed() == []
    assert {"jobs.succeed", "aliases.set", "folder.rename", "bucket.put_file"} <= set(failpoint_names.names())


def test_a_server_that_finds_the_variable_set_arms_it_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "one.write:after")
    with capture_logs() as logged:
        failpoints.arm_from_environment()

    assert failpoint("one.write") is not failpoint("one.write")
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("failpoints_armed", "warning")]
    monkeypatch.delenv(failpoints.VARIABLE)
    with capture_logs() as logged:
        failpoints.arm_from_environment()
    assert logged == []
    assert failpoint("one.write") is failpoint("other.write")
