"""The client and its command, against a server that answers nonsense."""

import time
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from contract.hostile_server import TEXT, HostileServer, Nonsense
from headstart.cli.app import app
from headstart.cli.exits import ExitCode
from headstart.control_characters import without_controls

COMMANDS = """
fine-tune pets {examples} --alias stable --promote-if-not-worse
fine-tune pets {examples} --no-wait
check pets {examples}
rebase pets --alias stable --backbone auto
predict pets --text fun
predict pets --text fun --output {folder}/made.csv
predict pets --text fun --output -
predict pets --text fun --saliency {folder}/made.png --neighbors 1 --influence 1
embed --text fun --output {folder}/made.npz
whoami
usage
model capture pets --random 0.5
model retrain pets --alias stable --min-feedback 5
model list
model show pets
model traffic pets
model delete pets --yes
version list pets
version show pets@3
version compare pets@1 pets@2
version report pets
version report pets --format json
version report pets --output {folder}/made.html
version export pets --format onnx --output {folder}/made
version evaluate pets {examples}
version update pets@3 --display-name x
version delete pets@3 --yes
alias list pets
alias history pets
alias set pets stable 3
alias delete pets stable
job list
job show j
job watch j
job cancel j
job delete j --yes
dataset create d
dataset upload d {examples}
dataset list
dataset show d
dataset delete d --yes
example erase pets e --yes
example erase pets e --yes --rebuild
example list pets@3
example map pets@3
example show pets@3 e --output {folder}/made.jpg
example relabel pets@3 e=cat
example remove pets@3 e
captured list pets
captured status pets
captured show pets p --output {folder}/made.jpg
feedback send pets p --confirmed
feedback list pets
feedback summary pets
backbone list
""".strip().splitlines()
NONSENSE = {
    "invalid": Nonsense(),
    "large": Nonsense(number=1e308, seconds=253_402_300_799, enumerator=1),
    "small": Nonsense(
        integer=-(2**63), number=float("-inf"), seconds=-62_135_596_800, enumerator=2, choice=1
    ),
    "zero": Nonsense(integer=0, number=0.0, seconds=0, enumerator=0, choice=2),
    "one": Nonsense(
        integer=1, number=float("inf"), seconds=1, enumerator=3, count=1, choice=3, is_plausible=True
    ),
    "ones": Nonsense(integer=1, number=1, seconds=1, enumerator=1, count=1, choice=4, is_plausible=True),
    "year": Nonsense(integer=1, number=2, seconds=31_536_000, count=1, choice=5, is_plausible=True),
    "empty": Nonsense(integer=0, number=0.0, seconds=0, enumerator=0, count=0),
}
ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: "UNDECODABLE_INPUT",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "MESSAGE_TOO_LARGE",
    grpc.StatusCode.NOT_FOUND: "VERSION_NOT_FOUND",
    grpc.StatusCode.INTERNAL: TEXT,
}


@pytest.fixture(autouse=True)
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local times that are later than the last time of UTC that Python has."""
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=NONSENSE)
def values(request: pytest.FixtureRequest) -> Nonsense:
    return NONSENSE[request.param]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    server = HostileServer()
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples.csv").write_text("text,label\nfun,good\ndull,bad\n")
    (tmp_path / "made").mkdir()
    return tmp_path


def check(server: HostileServer, folder: Path, command: str, form: str) -> None:
    """Run a command, which must not break, blame its user, control the terminal or write elsewhere."""
    words = [
        each.format(examples=folder / "examples.csv", folder=folder / "made") for each in command.split()
    ]
    environment = {"HEADSTART_SERVER": server.target, "HEADSTART_TIMEOUT": "20"}
    result = CliRunner().invoke(app, [*words, "-o", form], env=environment)
    assert isinstance(result.exception, SystemExit | None), (result.exception, result.output)
    is_known = any(each in result.output for each in ("-o takes", "has no example 'e'", "has other examples"))
    assert is_known or result.exit_code != ExitCode.USAGE, result.output
    # Control characters are removed from CSV and reports on terminals only.
    if form != "csv" and "report" not in words:
        assert without_controls(result.output) == result.output
    assert {each.name for each in folder.iterdir()} == {"examples.csv", "made"}
    assert all(each.name.startswith("made") for each in (folder / "made").iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_survives_nonsense(
    server: HostileServer, folder: Path, values: Nonsense, command: str
) -> None:
    server.answers = values.responses
    is_list = any(each in command for each in (" list", " history", " traffic"))
    for form in ("table", "json", "csv", "name") if is_list else ("table", "json"):
        check(server, folder, command, form)


@pytest.mark.parametrize("name", ["invalid", "small", "zero", "year"])
@pytest.mark.parametrize("code", ERRORS)
def test_commands_survive_senseless_errors(
    server: HostileServer, folder: Path, name: str, code: grpc.StatusCode
) -> None:
    values = NONSENSE[name]
    for command in (
        "predict pets --text fun",
        "fine-tune pets {examples}",
        "job watch j",
        "version show pets@3",
    ):
        errors = repeat(values.error(code, ERRORS[code]), 3)  # the command waits for a busy server
        server.answers = lambda method, left=errors: [*islice(left, 1)] or values.responses(method)
        check(server, folder, command, "json")


@pytest.mark.parametrize("reason", ["", "LOADING", "DRAINING"])
def test_a_server_cannot_make_a_command_wait_for_a_year(
    server: HostileServer, folder: Path, reason: str
) -> None:
    year = NONSENSE["year"]
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        server.answers = lambda _: [year.error(code, reason)]  # noqa: B023 - called in the loop only
        for command in (
            "predict pets --text fun -o -",
            "fine-tune pets {examples}",
            "job watch j",
            "model list",
        ):
            check(server, folder, f"{command} --timeout inf", "json")
