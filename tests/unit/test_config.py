"""Settings: each a flag, a variable and a line of TOML, with bounds that hold whatever way it comes."""

import dataclasses
import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from headstart_server.__main__ import _NAMES, command
from headstart_server.config import METRICS_PORT, Config


class Command:
    """``headstart-server serve`` that only keeps the settings it would run with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chosen: Config | None = None

    def keep(self, config: Config) -> None:
        self.chosen = config

    def serve(self, *flags: str, toml: str = "", **variables: str) -> Config:
        result = self.invoke(*flags, toml=toml, **variables)
        assert result == (0, ""), result
        assert self.chosen is not None
        return self.chosen

    def invoke(self, *flags: str, toml: str = "", **variables: str) -> tuple[int, str]:
        """Its exit code and what it said."""
        file = self.folder / "headstart.toml"
        file.write_text(toml)
        # A terminal as wide as its messages, which would else be broken into lines.
        environment = {"COLUMNS": "500", **variables}
        result = CliRunner().invoke(command, ["serve", "--config", str(file), *flags], env=environment)
        return result.exit_code, result.output


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path)
    monkeypatch.setattr("headstart_server.app.serve", command.keep)
    for name in ("CONFIG", *(field.name.upper() for field in dataclasses.fields(Config))):
        monkeypatch.delenv(f"HEADSTART_{name}", raising=False)
    return command


def test_without_flags_every_setting_has_its_documented_default(settings: Command) -> None:
    assert settings.serve() == Config()


def test_every_setting_has_a_flag() -> None:
    flags = {option.name for option in get_command(command).commands["serve"].params}
    assert flags == {_NAMES.get(field.name, field.name) for field in dataclasses.fields(Config)} | {"config"}


def test_flags_go_before_variables_and_these_before_the_file(settings: Command) -> None:
    toml = "train-share = 0.1\njob-workers = 7\nmax_batch = 3"
    chosen = settings.serve(
        "--job-workers", "9", toml=toml, HEADSTART_JOB_WORKERS="8", HEADSTART_MAX_BATCH="4"
    )
    assert (chosen.train_share, chosen.workers, chosen.max_batch) == (0.1, 9, 4)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.9])
def test_trainings_share_may_be_from_nothing_to_nine_tenths(settings: Command, share: float) -> None:
    assert settings.serve("--train-share", str(share)).train_share == share


@pytest.mark.parametrize("share", ["-0.1", "0.95", "1", "nan", "inf", "much"])
def test_any_other_share_is_refused_whatever_way_it_comes(settings: Command, share: str) -> None:
    toml = f'train_share = "{share}"' if share == "much" else f"train_share = {share}"
    for told in (
        settings.invoke("--train-share", share),
        settings.invoke(HEADSTART_TRAIN_SHARE=share),
        settings.invoke(toml=toml),
    ):
        assert told[0] == 2
        assert "train-share" in told[1]
    assert settings.chosen is None


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_that_cannot_be_kept_is_refused_without_flags_too(share: float) -> None:
    with pytest.raises(ValueError, match=f"0 or more and below 1. Received: {share:g}"):
        Config(train_share=share)


@pytest.mark.parametrize(
    ("told", "spoken"),
    [("oip, tfserving", {"oip", "tfserving"}), ("tfserving", {"tfserving"}), ("none", set())],
)
def test_dialects_are_named_with_commas_between_them(settings: Command, told: str, spoken: set[str]) -> None:
    assert settings.serve("--compat-protocols", told).spoken_dialects == spoken


@pytest.mark.parametrize("told", ["", "http", "oip,none"])
def test_other_dialects_are_refused(settings: Command, told: str) -> None:
    code, message = settings.invoke("--compat-protocols", told)
    assert code == 2
    assert "Expected --compat-protocols of oip, tfserving" in message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_the_loopback_needs_no_tls_and_has_metrics(settings: Command, host: str) -> None:
    assert settings.serve("--host", host).metrics_port == METRICS_PORT


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.1", "example.org"])
@pytest.mark.parametrize("flag", ["--host", "--http-host"])
def test_a_host_that_other_machines_reach_needs_tls_or_plaintext(
    settings: Command, flag: str, host: str
) -> None:
    flags = ("--http-port", "0", flag, host)
    code, message = settings.invoke(*flags)
    assert code == 2
    assert f"{flag} {host} needs --tls-cert and --tls-key, or --plaintext" in " ".join(message.split())

    assert settings.serve(*flags, "--plaintext").tls_cert is None
    assert settings.serve(*flags, "--tls-cert", "cert", "--tls-key", "key").tls_cert == Path("cert")


def test_the_http_host_does_not_matter_without_an_http_port(settings: Command) -> None:
    assert settings.serve("--http-host", "0.0.0.0").exposed_hosts == {}


def test_inputs_must_fit_into_messages(settings: Command) -> None:
    code, said = settings.invoke("--max-message-mib", "1", "--max-input-mib", "32")
    assert code != 0
    assert "--max-message-mib 1 is below --max-input-mib 32" in said
    assert settings.serve("--max-message-mib", "32", "--max-input-mib", "32").max_message_mib == 32


def test_another_host_has_metrics_only_when_asked_for(settings: Command) -> None:
    open_port = ("--host", "0.0.0.0", "--plaintext")
    assert settings.serve(*open_port).metrics_port is None
    assert settings.serve(*open_port, "--metrics-port", "9090").metrics_port == 9090
    assert settings.serve("--metrics-port", "-1").metrics_port is None


@pytest.mark.parametrize(
    "flags",
    [
        ("--plaintext", "--tls-cert", "cert", "--tls-key", "key"),
        ("--tls-cert", "cert"),
        ("--tls-key", "key"),
        ("--tls-client-ca", "ca"),
        ("--audit-all",),
        ("--isolate-feature-cache",),
    ],
)
def test_no_flag_is_taken_that_would_have_no_effect(settings: Command, flags: tuple[str, ...]) -> None:
    code, said = settings.invoke(*flags)
    assert (code, "Expected" in said) == (2, True)


def test_a_file_that_is_not_there_is_named(settings: Command) -> None:
    code, said = settings.invoke("--access-file", "nowhere.toml")
    assert code == 1
    assert said == (
        "headstart-server: Cannot read nowhere.toml: No such file or directory. Correct the path, or the "
        "rights of the file.\n"
    )


#: Repeatable settings, with two values and how one line of an environment variable separates them.
REPEATABLE = {
    "backbone": (["b=onnx:/my networks/b.onnx,pooling=mean", "keras:MobileNetV3Small"], None),
    "allow_backbone": (["onnx:/my networks/", "hf:my-org/"], ","),
    "allow_webhook": (["https://a.example.com/one two", "https://b.example.com"], ","),
    "allow_dataset_uri": (["/data/with spaces/{tenant}", "s3://bucket/pre fix"], ","),
    "allow_http_host": (["headstart", "*.svc"], ","),
}


def test_every_repeatable_setting_is_listed() -> None:
    options = get_command(command).commands["serve"].params
    assert {option.name for option in options if getattr(option, "multiple", False)} == set(REPEATABLE)


@pytest.mark.parametrize("name", REPEATABLE)
def test_a_repeatable_setting_is_the_same_from_flags_variable_and_file(
    settings: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # The settings only: what the values name is checked elsewhere.
    monkeypatch.setattr("headstart_server.__main__._check_places", lambda _: None)
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "YWJj" * 8)
    base = ("--webhook-secret-file", str(secret)) if name == "allow_webhook" else ()
    values, separator = REPEATABLE[name]
    flag, variable = f"--{name.replace('_', '-')}", f"HEADSTART_{name.upper()}"

    def read(*flags: str, toml: str = "", **variables: str) -> list[str]:
        chosen = settings.serve(*base, *flags, toml=toml, **variables)
        return list(getattr(chosen, {new: old for old, new in _NAMES.items()}[name]))

    assert read(*(part for value in values for part in (flag, value))) == values
    assert read(**{variable: "\n".join(values)}) == values
    assert read(**{variable: "\n" + "\n\n  ".join(values) + "\n"}) == values
    if separator:
        assert read(**{variable: f"{separator} ".join(values)}) == values
    assert read(**{variable: values[0]}) == values[:1]
    assert read(toml=f"{name} = {values!r}") == values
    assert read(toml=f"{name} = {values[0]!r}") == values[:1]
    assert read(flag, values[1], **{variable: values[0]}) == values[1:]


@pytest.mark.parametrize("name", ["serve", "doctor", "backbones", "prepare", "token", "health"])
def test_the_help_shows_every_flag_and_variable_in_full_at_80_columns(name: str) -> None:
    shown = CliRunner().invoke(command, [name, "--help"], env={"COLUMNS": "80"}).output
    words = set(re.split(r"[\s,;\[\]]+", shown))

    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for option in get_command(command).commands[name].params:
        for flag in (*option.opts, *option.secondary_opts):
            assert flag in words or not flag.startswith("-"), flag
        if isinstance(option.envvar, str):
            assert option.envvar in words, option.envvar
