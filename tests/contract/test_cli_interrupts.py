"""Ctrl-C, and other signals that end the command."""

import os
import subprocess
import sys

import pytest

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
