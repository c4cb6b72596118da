"""Ctrl-C, and other signals that end the command."""

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from contract.fake_server import FakeServer

TRIAL = """
import signal, sys
from headstart.cli import main
from headstart.cli.training import trying

class Server:
    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        (self.folder / "examples").write_text("private")
        return self

    def __exit__(self, *_):
        for number in {signals}:
            signal.raise_signal(number)

    def address(self):
        signal.raise_signal({signals}[0])
        signal.pause()

# This test may run under nohup.
for number in {signals}:
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
trying.PrivateServer = Server
sys.argv = ["headstart", "try", "."]
main()
"""


@pytest.mark.parametrize("signals", ["SIGINT", "SIGTERM", "SIGHUP", "SIGHUP SIGTERM SIGINT"])
def test_a_trial_that_ends_leaves_no_data(tmp_path, signals):
    numbers = ", ".join(f"signal.{name}" for name in signals.split())
    script = TRIAL.replace("{signals}", f"[{numbers}]")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Stopping the server and deleting its data." in ended.stderr
    assert list(tmp_path.iterdir()) == []
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "is_waiting"),
    [
        (["version", "delete", "pets@2"], lambda shown, _: b"[y/N]" in shown),
        (["login"], lambda _, end: not termios.tcgetattr(end)[3] & termios.ECHO),
    ],
    ids=["confirmation", "token"],
)
def test_ctrl_c_at_a_prompt_has_the_exit_code_of_an_interruption(
    server: FakeServer, arguments: list[str], is_waiting: Callable[[bytes, int], bool]
):
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shown = b""
    command = [sys.executable, "-m", "headstart", "--server", server.target, *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as it:
        while not is_waiting(shown, ours) and it.poll() is None:
            with suppress(BlockingIOError):
                shown += os.read(ours, 1 << 16)
            time.sleep(0.02)
        it.send_signal(signal.SIGINT)
        assert it.wait(60) == 130
    os.close(ours)
    os.close(theirs)

    assert not server.requests["DeleteVersion"]
