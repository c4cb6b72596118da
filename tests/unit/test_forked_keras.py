"""A forked program of the server gets what a child process gets, and ends as one does."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import forked_keras
from forked_keras import worker_of
from headstart_server.backbones.worker import worker_process
from server_process import eventually

#: Prints what it got, and ends with its argument, or when stdin ends.
PROGRAM = """
import json, os, sys
seen = {"name": __name__, "arguments": sys.argv[1:], "variables": dict(os.environ), "folder": os.getcwd()}
seen["loaded"] = "tensorflow" in sys.modules
print(json.dumps(seen), flush=True)
print("an error", file=sys.stderr)
if sys.argv[1] == "wait":
    while os.read(0, 1):
        pass
    sys.exit(7)
sys.exit(int(sys.argv[1]))
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a program that is forked, in the current folder."""
    (tmp_path / "the_command.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forked_keras, "PROGRAMS", "the_")
    return "the_command"


def start(module: str, argument: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return worker_process.start_child(["-m", module, argument], stdin=pipe, stdout=pipe, stderr=pipe)


def test_it_has_imported_keras_and_gets_its_arguments_variables_and_folder(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", "a b")
    monkeypatch.setenv("SECRET", "not inherited")
    # As after an import of Keras in this process.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with start(module, "3") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = json.loads(process.stdout.read())
        assert process.stderr.read() == b"an error\n"
        assert process.wait(60) == 3
    assert (process.poll(), process.returncode) == (3, 3)
    assert seen["loaded"]
    assert (seen["name"], seen["arguments"], seen["folder"]) == ("__main__", ["3"], str(tmp_path))
    assert seen["variables"]["HF_HOME"] == "a b"
    assert "SECRET" not in seen["variables"]


def test_it_is_found_and_killed(module: str) -> None:
    with start(module, "wait") as process:
        found = eventually(lambda: worker_of(os.getpid(), "command"), 60.0, "the program")
        assert found.pid == process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        process.kill()
    assert worker_of(os.getpid(), "command") is None


def test_it_reads_the_end_of_stdin(module: str) -> None:
    with start(module, "wait") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 7


def test_one_whose_variables_matter_at_import_is_started_as_a_command(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with start(module, "0") as process:
        assert process.stdout is not None
        assert not json.loads(process.stdout.read())["loaded"]
        assert worker_of(os.getpid(), "command") is None
        assert process.wait(60) == 0
