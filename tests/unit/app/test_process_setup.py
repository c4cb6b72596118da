"""The first steps of a process: closed standard streams, and signals of the first process of a container."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from headstart_server.app.start_failure import cause_of
from headstart_server.backbones.contract.runtimes import default_cache
from headstart_server.errors import DatabaseUnavailable

FIRST_PROCESS = """
import os, signal
from headstart_server.app.process_setup import prepare_process
own = os.getpid()
os.getpid = lambda: 1
prepare_process()
os.kill(own, signal.SIGTERM)
"""
CLOSED = """
import os
from headstart_server.app.process_setup import prepare_process
prepare_process()
print("to stdout")
opened = os.open("/dev/null", os.O_RDONLY)
os._exit(0 if opened > 2 else 1)
"""


def run(program: str, shell: str = "") -> "subprocess.CompletedProcess[str]":
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", program]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_a_signal_ends_the_first_process_of_a_container_while_it_starts() -> None:
    # The kernel ignores a signal of this process unless it has a handler.
    assert run(FIRST_PROCESS).returncode == 128 + 15


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_descriptor_of_a_closed_stream(closed: str) -> None:
    assert run(CLOSED, closed).returncode == 0


def test_an_audit_log_for_a_closed_stdout_is_refused() -> None:
    program = "from headstart_server.__main__ import main; main()"
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", program]
    check = subprocess.run(
        [*command, "config", "check", "--audit-log", "-"], check=False, stderr=subprocess.PIPE, text=True
    )
    assert check.returncode == 1
    assert check.stderr.startswith("headstart-server: --audit-log - requires a stdout, which is closed.")


def test_a_health_check_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    program = "from headstart_server.__main__ import main; main()"
    command = [sys.executable, "-c", program, "health", "--ca", str(tmp_path / "ca.crt")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"headstart-server: Cannot read {tmp_path}/ca.crt: No such file")


def test_a_user_without_a_home_needs_a_folder_for_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ValueError, match="--backbone-cache, or set HOME"):
        default_cache()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            OSError(errno.EMFILE, "Too many open files", "/proc/self/stat"),
            "Too many open files. Raise the open",
        ),
        (
            DatabaseUnavailable("database disk image is malformed"),
            "The database does not answer: database disk image is malformed.",
        ),
        (MemoryError(), "The memory is full. Give the server more memory"),
        (RuntimeError("can't start new thread"), "The system allows no more threads. Raise its limits"),
    ],
)
def test_the_cause_of_a_failing_start_is_named(error: BaseException, cause: str) -> None:
    assert (cause_of(error) or "").startswith(cause)
