"""Each command in the documentation exists, with the options, files and paths that it is given."""

import base64
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from certificates import identity
from headstart.cli.app import app
from headstart_server import __main__ as server
from headstart_server.api.http.routes import ROUTES
from headstart_server.auth.policy import policy_of
from headstart_server.settings.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "k8s/README.md", *sorted(ROOT.glob("docs/**/*.md"))]
#: The error of a command that is called in a wrong way.
USAGE_ERROR: Any = typer.BadParameter.__base__
#: Programs that are checked no further: other tests run them, or they are not of this project.
OTHERS = {
    "buf",
    "cat",
    "cd",
    "cp",
    "echo",
    "git",
    "kustomize",
    "make",
    "mkdir",
    "mv",
    "python",
    "python3",
    "rm",
    "scp",
    "source",
    "sqlite3",
    "ssh",
    "tar",
}
Words = list[str]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_a_page_exists(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kustomize: Callable[[Path], list[Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    for words in commands(page.read_text(encoding="utf-8")):
        program, *arguments = words
        if program == "headstart":
            check_parsed(app, "headstart", arguments)
        elif program == "headstart-server":
            check_server(arguments)
        elif program == "kubectl":
            check_kubectl(arguments, kustomize)
        elif program == "docker":
            check_docker(arguments)
        elif program == "curl":
            check_curl(arguments)
        elif program in {"pip", "uv"}:
            check_pip(arguments)
        else:
            assert program in OTHERS, f"Add a check of: {shlex.join(words)}"


def write_files(folder: Path) -> None:
    """Write the files that settings in the documentation name."""
    server_identity = identity("localhost")
    for name in ("tls.crt", "clients.crt", "ca.crt"):
        (folder / name).write_bytes(server_identity.chain)
    (folder / "tls.key").write_bytes(server_identity.private)
    (folder / "tls.key").chmod(0o600)
    (folder / "secrets").write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}\n")
    (folder / "token.txt").write_text("secret\n")


def blocks(page: str, *languages: str) -> list[str]:
    """Return the blocks of code in some languages."""
    found = re.findall(r"^ *```(\w+)[^\n]*\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands(page: str) -> Iterator[Words]:
    """Return the words of each command in the shell blocks of a page."""
    for code in blocks(page, "sh", "bash", "console"):
        text = re.sub(r"^\$ ", "", code.replace("\\\n", " "), flags=re.MULTILINE)
        lexer = shlex.shlex(re.sub(r"(?m)(^|\s)#.*$", "", text), posix=True, punctuation_chars=";&|()\n")
        lexer.whitespace = " \t"
        lexer.whitespace_split = True
        words: Words = []
        for word in [*lexer, "\n"]:
            if set(word) <= set(";&|()\n"):
                # A variable for one command, such as NAME=value, comes before its name.
                while words and re.match(r"^\w+=", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            elif word != ">" and words[-1:] != [">"]:
                words.append(word)
            else:
                # A file that the output goes to.
                words = [*words, word] if word == ">" else words[:-1]


def parse(command: Any, name: str, arguments: Words, parent: Any = None) -> None:
    """Parse arguments as a command does, down to the subcommand, without running it."""
    context = command.make_context(name, list(arguments), parent=parent)
    if hasattr(command, "resolve_command"):
        found, sub, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parse(sub, found, rest, context)


#: Building the commands of a program takes longer than parsing a line.
command_of = cache(typer.main.get_command)


def check_parsed(group: typer.Typer, name: str, arguments: Words) -> None:
    try:
        parse(command_of(group), name, arguments)
    except USAGE_ERROR as error:
        pytest.fail(f"{name} {shlex.join(arguments)}: {error.format_message()}")
    except typer.Exit:
        # Such as --version.
        pass


def check_server(arguments: Words) -> None:
    name, *given = arguments
    if name in {"serve", "doctor"}:
        # "..." stands for the flags of the line before.
        given = (
            ["--tls-cert", "tls.crt", "--tls-key", "tls.key", *given[1:]] if given[:1] == ["..."] else given
        )
        done = CliRunner().invoke(server.command, ["config", "check", *given])
        assert done.exit_code == 0, (arguments, done.output)
        return
    check_parsed(server.command, "headstart-server", arguments)


def check_kubectl(arguments: Words, kustomize: Callable[[Path], list[Any]]) -> None:
    if "--kustomize" in arguments:
        assert kustomize(ROOT / arguments[arguments.index("--kustomize") + 1])
    if "--" in arguments:
        inner = arguments[arguments.index("--") + 1 :]
        assert inner[0] == "headstart-server"
        check_server(inner[1:])


def check_docker(arguments: Words) -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for place, word in enumerate(arguments[:-1]):
        if word == "--target":
            assert arguments[place + 1] in targets
        if word == "-e" and arguments[place + 1].startswith("HEADSTART_"):
            names = {f"HEADSTART_{name.upper()}" for name in SETTINGS}
            assert arguments[place + 1].partition("=")[0] in names


def check_curl(arguments: Words) -> None:
    for word in arguments:
        match = re.match(r"(?:https?://)?(?:localhost|headstart):8080(/[^?]*)", word)
        if match and match[1] not in {"/openapi.json", "/v1/protos", "/api", "/"}:
            assert any(route.pattern.fullmatch(match[1]) for route in ROUTES), word


def check_pip(arguments: Words) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments:
        if match := re.fullmatch(r"(?:headstart|\.)\[([\w,-]+)\].*", word):
            assert set(match[1].split(",")) <= set(extras), word


@pytest.mark.parametrize(
    "line",
    [
        "headstart fine-tune pets ./photos --nonsense 1",
        "headstart nonsense",
        "headstart-server serve --nonsense 1",
        "headstart-server serve --tls-cert missing.crt",
        "kubectl apply --kustomize k8s/nonsense",
        "docker build --target nonsense .",
        "docker run -e HEADSTART_NONSENSE=1 headstart",
        "curl localhost:8080/v1/nonsense",
        "pip install 'headstart[nonsense]'",
        "nonsense",
    ],
)
def test_a_wrong_command_is_found(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kustomize: Callable[[Path], list[Any]]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```sh\n{line}\n```\n")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_each_command_of_a_page_exists(page, tmp_path, monkeypatch, kustomize)


def test_the_access_file_of_the_documentation_is_valid() -> None:
    [document] = blocks((ROOT / "docs/operate/tls-and-access.md").read_text(), "toml")
    policy = policy_of(tomllib.loads(document))
    assert [each.name for each in policy.by_token.values()] == ["shop"]
    assert set(policy.by_certificate) == {"trainer.shop.example"}
    assert set(policy.tenants) == {"shop"}


def test_each_example_in_yaml_is_valid() -> None:
    found = [code for page in PAGES for code in blocks(page.read_text(encoding="utf-8"), "yaml")]
    assert found
    assert all(yaml.safe_load(code) for code in found)
