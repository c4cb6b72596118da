"""Completion in the shell: separate processes with the variables that bash and zsh set."""

import os
import threading
import time
from pathlib import Path

import pytest

from contract.fake_server import FakeServer
from forked import run_headstart


def completed(
    line: str, tmp_path: Path, server: str = "", *, shell: str = "bash", token: str = ""
) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
    environment |= {
        "_HEADSTART_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "XDG_CONFIG_HOME": str(tmp_path),
        "HEADSTART_SERVER": server,
        "HEADSTART_TOKEN": token,
    }
    done = run_headstart(environment=environment, timeout=100)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("headstart mod", ["model"]),
        ("headstart model s", ["show"]),
        ("headstart model show p", ["pets"]),
        ("headstart model show x", []),
        ("headstart predict p", ["pets"]),
        ("headstart predict pets@s", ["pets@stable"]),
        ("headstart version delete pets@", ["pets@3", "pets@2", "pets@1"]),
        ("headstart version delete p", ["pets@"]),
        ("headstart alias delete pets s", ["stable"]),
        ("headstart job show j", ["job-1"]),
        ("headstart fine-tune pets . --backbone e", ["efficientnet-lite0"]),
        ("headstart fine-tune pets . --backbone a", ["auto"]),
    ],
)
def test_names_come_from_the_server(server: FakeServer, tmp_path, line, expected):
    assert completed(line, tmp_path, server.target) == expected


def test_it_uses_the_server_of_the_command_line(server: FakeServer, tmp_path):
    assert completed(f"headstart --server {server.target} model show p", tmp_path) == ["pets"]


def test_it_uses_the_context_of_the_command_line_with_its_own_token(server: FakeServer, tmp_path):
    (tmp_path / "headstart").mkdir()
    (tmp_path / "headstart" / "contexts.toml").write_text(
        f'[contexts.own]\nserver = "{server.target}"\ntoken = "secret-1"\n'
    )

    line = "headstart --context own model show p"
    assert completed(line, tmp_path, "127.0.0.1:1", token="theirs") == ["pets"]
    assert server.metadata["ListModels"][0]["authorization"] == "Bearer secret-1"


def test_jobs_are_described_where_the_shell_can_show_it(server: FakeServer, tmp_path):
    text = "".join(completed("headstart job show j", tmp_path, server.target, shell="zsh"))

    assert "job-1" in text
    assert "pets, " in text


def test_without_a_server_it_is_silent(tmp_path):
    assert completed("headstart model show p", tmp_path, "127.0.0.1:1") == []
    assert completed("headstart model show p", tmp_path, "http://wrong") == []


def test_a_server_that_hangs_delays_it_by_a_second_at_most(server: FakeServer, tmp_path):
    over = threading.Event()
    begin = time.monotonic()
    completed("headstart model sh", tmp_path, server.target)
    start = time.monotonic() - begin
    server.standing["ListModels"] = lambda _: over.wait(60) and None
    begin = time.monotonic()
    assert completed("headstart model show p", tmp_path, server.target) == []
    over.set()

    assert time.monotonic() - begin < 5 * start + 10


def test_contexts_are_completed_from_their_file(tmp_path):
    folder = tmp_path / "headstart"
    folder.mkdir()
    (folder / "contexts.toml").write_text('[contexts.production]\nserver = "h:1"\n')

    assert completed("headstart context use p", tmp_path) == ["production"]
    assert completed("headstart --context p", tmp_path) == ["production"]
    (folder / "contexts.toml").write_text("broken = ")
    assert completed("headstart context use p", tmp_path) == []
