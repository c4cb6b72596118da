"""Stored servers: which one a command uses, where its credentials go, and how the file is kept."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from typer.testing import CliRunner

from contract.fake_server import FakeServer, Fault
from headstart.cli.app import app
from headstart.cli.contexts_file import Context, ContextsFile

COMMAND = [sys.executable, "-m", "headstart"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in [each for each in os.environ if each.startswith("HEADSTART_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "headstart" / "contexts.toml"


def run(*arguments, code: int = 0, **options):
    result = CliRunner().invoke(app, list(map(str, arguments)), **options)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def bearer(server: FakeServer, method: str) -> str | None:
    return server.metadata[method][-1].get("authorization")


def test_a_login_is_used_by_the_next_commands(server, home):
    said = run("login", server.target, "--name", "local", "--token", "secret-1").stdout

    assert f"Logged in to {server.target}" in said
    assert "local is the current context now." in said
    run("model", "list")
    assert bearer(server, "WhoAmI") == bearer(server, "ListModels") == "Bearer secret-1"
    assert home.stat().st_mode & 0o777 == 0o600
    assert home.parent.stat().st_mode & 0o777 == 0o700


def test_a_login_without_a_working_server_stores_nothing(server, home):
    server.standing["WhoAmI"] = Fault(
        code=grpc.StatusCode.UNAUTHENTICATED, message="The token is unknown.", reason="UNAUTHENTICATED"
    )
    refused = run("login", server.target, "--token", "x", code=1).stderr
    assert "The token is unknown." in refused
    assert "Pass the token with --token or HEADSTART_TOKEN, or store it with headstart login." in refused
    run("login", "127.0.0.1:1", code=3)
    run("login", "models.example.com:443", "--token", "x", code=2)  # in plain text
    assert not home.exists()


def test_the_token_is_never_printed(server, home):
    run("login", server.target, "--name", "local", "--token", "secret-1")

    for arguments in (["context", "show"], ["context", "list"], ["context", "list", "-o", "csv"]):
        assert "secret-1" not in run(*arguments).output
        assert "local" in run(*arguments).output
    assert "secret-1" not in run("context", "show", "local", "--json").output
    assert "secret-1" not in repr(ContextsFile().read())


def test_a_context_s_token_goes_to_its_own_server_only(server):
    run("login", server.target, "--name", "local", "--token", "secret-1")
    other = FakeServer()
    try:
        run("model", "list", "--server", other.target)
        run("model", "list", env={"HEADSTART_SERVER": other.target})
        assert [each.get("authorization") for each in other.metadata["ListModels"]] == [None, None]
    finally:
        other.stop()


def test_a_variable_s_credentials_do_not_go_to_the_server_of_a_context(server, tmp_path):
    run("login", server.target, "--name", "own", "--token", "secret-1")
    run("login", server.target, "--name", "open")
    names = ("CA", "CERT", "KEY", "TOKEN_FILE")
    files = {f"HEADSTART_{name}": str(tmp_path / "missing") for name in names}
    variables = {"HEADSTART_SERVER": "other.example.com:443", "HEADSTART_TOKEN": "theirs"}

    for environment in (variables, variables | files):
        run("model", "list", "--context", "own", env=environment)
        run("model", "list", "--context", "open", env=environment)
    run("model", "list", "--context", "own", "--token", "mine", env=variables)
    run("model", "list", env={"HEADSTART_CONTEXT": "own", "HEADSTART_TOKEN": "together"})

    own = ["Bearer secret-1", None] * 2
    sent = [each.get("authorization") for each in server.metadata["ListModels"]]
    assert sent == [*own, "Bearer mine", "Bearer together"]


def test_options_win_over_variables_and_variables_over_the_context(server):
    other = FakeServer()
    try:
        run("login", server.target, "--name", "one")
        run("login", other.target, "--name", "two")
        run("model", "list", "--context", "one", env={"HEADSTART_SERVER": other.target})
        run("model", "list", "--server", server.target, env={"HEADSTART_CONTEXT": "two"})
        run("model", "list", env={"HEADSTART_CONTEXT": "one"})
        assert len(server.requests["ListModels"]) == 3
        run("model", "list")
        run("model", "list", env={"HEADSTART_SERVER": other.target, "HEADSTART_CONTEXT": "one"})
        assert len(other.requests["ListModels"]) == 2
        both = run("model", "list", "--server", "h:1", "--context", "one", code=2)
        assert "excludes --context" in both.stderr
    finally:
        other.stop()


def test_a_token_file_is_read_for_each_command(server, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("first\n")
    monkeypatch.chdir(tmp_path)
    run("login", server.target, "--name", "oidc", "--token-file", "token")
    (tmp_path / "token").write_text("second\n")
    monkeypatch.chdir("/")
    run("model", "list")

    assert bearer(server, "ListModels") == "Bearer second"
    assert "second" not in ContextsFile().path.read_text()
    (tmp_path / "token").unlink()
    assert str(tmp_path / "token") in run("model", "list", code=2).stderr


def test_a_token_file_in_the_home_of_an_unknown_user_is_missing(server):
    for command in ("login", "whoami"):
        said = run(command, "--server", server.target, "--token-file", "~no-such-user/token", code=2).stderr
        assert said == "error: No such folder: ~no-such-user\n"


def test_without_a_home_folder_the_server_must_be_named(server, monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)

    assert "Set HOME, or name the server with" in run("model", "list", code=2).stderr
    run("model", "list", "--server", server.target)


def test_a_token_can_come_from_stdin(server):
    run("login", server.target, "--name", "piped", "--token-stdin", input="secret-2\n")
    assert bearer(server, "WhoAmI") == "Bearer secret-2"
    assert "The token on stdin is empty" in run("login", server.target, "--token-stdin", code=2).stderr


def test_on_a_terminal_a_login_asks_for_the_token_without_showing_it(server):
    ours, theirs = pty.openpty()
    command = [*COMMAND, "login", server.target, "--name", "typed"]
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as it:
        # What is typed before the terminal stops echoing is dropped.
        while termios.tcgetattr(ours)[3] & termios.ECHO:
            time.sleep(0.02)
        os.write(ours, b"secret-3\n")
        while b"current context" not in shown:
            shown += os.read(ours, 1 << 16)
        assert it.wait(60) == 0
    os.close(ours)
    os.close(theirs)

    assert ContextsFile().read().contexts["typed"].token == "secret-3"
    assert b"secret-3" not in shown


def test_contexts_are_listed_selected_and_deleted(server, home):
    assert "No contexts." in run("context", "list").stdout
    assert "Received: 'a/b'" in run("login", server.target, "--name", "a/b", code=2).stderr
    run("login", server.target, "--name", "one")
    run("login", server.target, "--name", "two")

    assert run("context", "list", "-o", "name").stdout == "one\ntwo\n"
    run("context", "use", "one")
    assert json.loads(run("context", "list", "--json").stdout)["current"] == "one"
    assert "Confirm it with --yes" in run("context", "delete", "one", code=2).stderr
    run("context", "delete", "one", "--yes")
    assert "no current context" in run("context", "show", code=2).stderr
    assert "Unknown context 'one'. Contexts: two" in run("context", "use", "one", code=2).stderr
    assert run("model", "list", "--context", "two").exit_code == 0


def test_hints_name_the_context(server):
    run("login", server.target, "--name", "one")
    run("login", server.target, "--name", "two")
    server.standing["ListModels"] = server.standing["GetModel"] = Fault(
        code=grpc.StatusCode.NOT_FOUND, message="No model.", reason="MODEL_NOT_FOUND"
    )

    assert run("model", "show", "x", code=4).stderr.endswith("List them with: headstart model list\n")
    said = run("model", "show", "x", "--context", "one", code=4).stderr
    assert said.endswith("List them with: headstart --context one model list\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("current = ", "malformed"),
        ("current = 3", "current must be a string"),
        ("other = 3", "unknown key 'other'"),
        ("[contexts.a]\ntls = true", "contexts.a must be a table with the key server"),
        ('[contexts.a]\nserver = "h:1"\nport = 3', "contexts.a has the unknown key 'port'"),
        ('[contexts.a]\nserver = "h:1"\ntls = "yes"', "contexts.a.tls must be true or false"),
        ('current = "b"\n[contexts.a]\nserver = "h:1"', "Unknown context 'b'. Contexts: a"),
        ("\x00\x01", "malformed"),
    ],
)
def test_a_malformed_file_is_named_with_its_fault(home, text, message):
    home.parent.mkdir(parents=True)
    home.write_text(text)

    assert message in run("model", "list", code=2).stderr


def test_a_file_that_is_no_text_is_named(home):
    home.parent.mkdir(parents=True)
    home.write_bytes(b"\xff\xfe")

    assert "malformed" in run("model", "list", code=2).stderr


def test_a_file_that_others_can_read_gets_a_warning(server, home):
    run("login", server.target, "--name", "one")
    home.chmod(0o644)

    assert f"chmod 600 {home}" in run("model", "list").stderr
    run("context", "use", "one")
    assert home.stat().st_mode & 0o777 == 0o600


def test_any_value_survives_the_file(home):
    file = ContextsFile()
    context = Context(server='h:1"\\\n\x7f\u00e9\U0001f600', tls=True, token='\'"""\'', ca="/a b/c#d.pem")
    file.add("odd.name-1", context)

    assert file.read().contexts == {"odd.name-1": context}


def test_changes_at_the_same_time_are_all_kept(home):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ContextsFile().add(f"c{n}", Context(server="h:1")), range(40)))

    assert len(ContextsFile().read().contexts) == 40
    assert [each.name for each in home.parent.iterdir() if each.name.startswith(".")] == []


def test_a_killed_writer_leaves_a_whole_file(home):
    ContextsFile().add("first", Context(server="h:1"))
    script = (
        "from headstart.cli.contexts_file import Context, ContextsFile\n"
        "for n in range(10**6): ContextsFile().add(f'c{n % 50}', Context(server='h:1', token='x' * 5000))\n"
    )
    for pause in (0.05, 0.1, 0.2):
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            before = home.stat().st_mtime_ns
            while home.stat().st_mtime_ns == before:
                time.sleep(0.005)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        assert "first" in ContextsFile().read().contexts
    ContextsFile().use("first")
