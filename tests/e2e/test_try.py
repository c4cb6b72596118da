"""`headstart try`: a private server from a command, its end with Ctrl-C, and after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from server_process import eventually

PROGRAM = str(Path(sys.executable).with_name("headstart"))
PATIENCE = 240.0

pytestmark = pytest.mark.timeout(400)


class Trial:
    """A `headstart try` in a separate process, whose temporary files are in a folder of the test."""

    def __init__(self, tmp_path: Path, *arguments: object) -> None:
        self.folder = tmp_path / "tmp"
        self.folder.mkdir()
        self._log = tmp_path / "said"
        environment = {**os.environ, "TMPDIR": str(self.folder), "HEADSTART_SERVER": "nowhere.example:1"}
        command = [PROGRAM, "try", *map(str, arguments), "--no-open"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def address(self) -> str | None:
        assert self.process.poll() is None, self.said
        found = re.search(r"--server (\S+) predict", self.said)
        return found[1] if found and "until you press Ctrl-C" in self.said else None

    def servers(self) -> list[psutil.Process]:
        return [
            each
            for each in psutil.process_iter(["cmdline"])
            if any(str(self.folder) in part for part in each.info["cmdline"] or ())
        ]


@pytest.fixture
def trial(tmp_path: Path, folder: Path):
    trial = Trial(tmp_path, folder)
    yield trial
    trial.process.kill()
    trial.process.wait()
    for each in trial.servers():
        each.kill()


def test_a_private_server_predicts_until_ctrl_c_and_leaves_nothing(trial: Trial, queries: list[Path]):
    server = eventually(trial.address, PATIENCE, "a trained model")
    assert "version 1 is ready" in trial.said
    (model,) = re.findall(r"(\S+), version 1 is ready", trial.said)
    arguments = [PROGRAM, "--server", server, "--json", "predict", model, str(queries[0])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert len(trial.servers()) == 1
    (console,) = re.findall(r"Console: (\S+)", trial.said)
    request = urllib.request.Request(console, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request) as page:
        assert b"/console/app.js" in page.read()

    trial.process.send_signal(signal.SIGINT)

    assert trial.process.wait(60) == 0, trial.said
    assert "Stopping the server" in trial.said
    assert list(trial.folder.iterdir()) == []
    assert trial.servers() == []


def test_a_killed_command_takes_its_server_with_it(trial: Trial):
    eventually(trial.servers, PATIENCE, "the server")
    trial.process.kill()

    eventually(lambda: not trial.servers(), PATIENCE, "the end of the server")


def test_examples_that_cannot_be_used_end_it(tmp_path: Path):
    trial = Trial(tmp_path, tmp_path / "nowhere")

    assert trial.process.wait(PATIENCE) == 2
    assert "nowhere" in trial.said
    assert list(trial.folder.iterdir()) == []
    assert trial.servers() == []
