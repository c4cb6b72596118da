"""The processes that prepare backbones: how they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fakes import PATIENCE
from headstart_server.backbones.worker.worker_process import Preparations, run_program
from headstart_server.errors import Draining

#: Writes its number to a file, and then lives on until its stdin ends.
PATIENT = """
import os, sys, time
from headstart_server.backbones.contract.child_process import end_with_stdin
end_with_stdin()
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
#: Has such a program run.
SERVER = """
import sys
from headstart_server.backbones.worker.worker_process import Preparations
Preparations().run(["-c", sys.argv[1], sys.argv[2]], 600)
"""


def number_in(file: Path) -> int:
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(file.read_text())


def wait_until_gone(number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        # No one may be there to ask how the child of a killed process ended.
        if "State:\tZ" in Path(f"/proc/{number}/status").read_text():
            return
        time.sleep(0.01)
    pytest.fail("It lives on.")


def test_what_a_program_says_and_how_it_ends_is_reported() -> None:
    ended = Preparations().run(["-c", "import sys; print('out'); sys.exit('of luck')"], PATIENCE)
    assert (ended.code, ended.stdout, ended.stderr) == (1, "out\n", "of luck\n")
    assert Preparations().run(["-c", "import os; os.kill(os.getpid(), 9)"], PATIENCE).code == -9


def test_lines_are_handed_over_as_they_come_and_silence_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headstart_server.backbones.worker.worker_process.QUIET_SECONDS", 0.05)
    go_on = tmp_path / "go on"
    program = (
        "import os, time; print('one', flush=True)\n"
        f"while not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n"
        "print('two')"
    )
    seen: list[str] = []

    def see(line: str) -> None:
        seen.append(line)
        if not line and "one\n" in seen:
            go_on.touch()

    ended = Preparations().run(["-c", program], PATIENCE, see)
    assert ended.stdout == "one\ntwo\n"
    assert [line for line in seen if line] == ["one\n", "two\n"]
    assert "" in seen[seen.index("one\n") : seen.index("two\n")]


def test_of_much_that_a_program_says_on_stderr_the_end_is_kept() -> None:
    program = "import sys; sys.stderr.write('line\\n' * 200_000 + 'last\\n')"
    ended = Preparations().run(["-c", program], PATIENCE)
    assert ended.stderr.splitlines()[-1] == "last"
    assert len(ended.stderr) < 10_000


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError):
        Preparations().run(["-c", "import time; time.sleep(600)"], 0.2)


def test_a_stop_ends_what_runs_at_once_and_nothing_is_begun_then(tmp_path: Path) -> None:
    preparations, raised = Preparations(), []

    def run() -> None:
        try:
            preparations.run(["-c", PATIENT, str(tmp_path / "number")], 600)
        except Draining as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    number = number_in(tmp_path / "number")
    preparations.stop()
    thread.join(PATIENCE)
    assert len(raised) == 1
    wait_until_gone(number)
    with pytest.raises(Draining):
        preparations.run(["-c", ""], PATIENCE)


def test_what_runs_ends_with_the_server_even_if_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, PATIENT, str(tmp_path / "number")]
    with subprocess.Popen(command) as server:
        number = number_in(tmp_path / "number")
        server.send_signal(signal.SIGKILL)
    wait_until_gone(number)


class _StopError(Exception):
    pass


def test_a_checkpoint_that_raises_kills_the_process_whose_number_it_gets(tmp_path: Path) -> None:
    numbers = []

    def checkpoint(number: int) -> None:
        numbers.append(number)
        if (tmp_path / "number").exists():
            raise _StopError

    with pytest.raises(_StopError):
        run_program(["-c", PATIENT, str(tmp_path / "number")], checkpoint=checkpoint)
    assert set(numbers) == {number_in(tmp_path / "number")}
    wait_until_gone(numbers[0])


def test_an_error_of_the_receiver_of_lines_kills_the_process(tmp_path: Path) -> None:
    def fail(_: str) -> None:
        raise _StopError

    program = f"import os; print(1, flush=True)\n{PATIENT}"
    with pytest.raises(_StopError):
        run_program(["-c", program, str(tmp_path / "n")], checkpoint=lambda _: None, on_line=fail)


def test_half_a_line_of_a_killed_process_is_not_handed_over() -> None:
    program = "import os; os.write(1, b'one\\n{\"ha'); os.kill(os.getpid(), 9)"
    lines: list[str] = []
    ended = run_program(["-c", program], checkpoint=lambda _: None, on_line=lines.append)
    assert (lines, ended.code, ended.stdout) == (["one\n"], -9, 'one\n{"ha')


def test_bytes_that_are_no_text_are_replaced() -> None:
    program = "import os; os.write(1, b'\\xff\\n'); os.write(2, b'\\xfe')"
    ended = run_program(["-c", program], checkpoint=lambda _: None)
    assert (ended.stdout, ended.stderr) == ("\ufffd\n", "\ufffd")


def test_a_process_that_leaves_its_pipes_to_another_is_not_waited_for(tmp_path: Path) -> None:
    program = """
import os, sys, time
if not os.fork():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os._exit(0)
print("done")
"""
    try:
        ended = run_program(
            ["-c", program, str(tmp_path / "end")], checkpoint=lambda _: None, seconds=PATIENCE
        )
        assert (ended.code, ended.stdout) == (0, "done\n")
    finally:
        (tmp_path / "end").touch()
