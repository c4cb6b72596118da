"""A forked program runs as the command does: arguments, variables, folder, output, exit code and signals."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from forked import ForkedProgram
from server_process import Program, command, eventually

MODULE = """
import json, os, sys, time
seen = {"name": __name__, "arguments": sys.argv[1:], "variables": dict(os.environ), "folder": os.getcwd()}
seen["loaded"] = "headstart_server.app.lifecycle" in sys.modules
print(json.dumps(seen), flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""

Start = Callable[..., Program]


@pytest.fixture(params=[command, ForkedProgram])
def start(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    (tmp_path / "the_program.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    programs: list[Program] = []

    def start(*arguments: str, variables: Mapping[str, str] | None = None) -> Program:
        given = {"PYTHONPATH": str(tmp_path), **(variables or {})}
        programs.append(request.param("the_program", arguments, given, tmp_path / "log"))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
        program.wait(30)


def said(folder: Path) -> dict[str, object]:
    lines = eventually(lambda: (folder / "log").read_text().splitlines() or None, 60.0, "its output")
    return json.loads(lines[-1])


def test_it_gets_its_arguments_variables_and_folder_and_ends_with_its_code(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("before\n")
    program = start("3", variables={"HEADSTART_TRY": "a b"})
    assert program.wait(60) == 3
    assert (program.poll(), program.returncode) == (3, 3)
    seen = said(tmp_path)
    assert seen["name"] == "__main__"
    assert seen["arguments"] == ["3"]
    assert seen["folder"] == str(tmp_path)
    variables = seen["variables"]
    assert isinstance(variables, dict)
    # Python sets it where no locale is set.
    assert variables.keys() - {"LC_CTYPE"} == {"HEADSTART_TRY", "PYTHONPATH"}
    assert (tmp_path / "log").read_text().startswith("before\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_it(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    program = start("wait")
    assert said(tmp_path)["arguments"] == ["wait"]
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    assert program.poll() is None
    assert psutil.Process(program.pid).is_running()
    program.send_signal(number)
    # Python ends with 1 or by the signal after a KeyboardInterrupt.
    assert program.wait(60) in ((1, -number) if number is signal.SIGINT else (-number,))
    program.send_signal(number)


def test_the_process_that_forks_has_imported_the_server_and_has_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "the_program.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    program = ForkedProgram("the_program", ["wait"], {}, tmp_path / "log")
    try:
        assert said(tmp_path)["loaded"]
        parent = psutil.Process(program.pid).parent()
        assert parent is not None
        # A fork would lose other threads.
        assert parent.num_threads() == 1
    finally:
        program.kill()
        program.wait(30)
