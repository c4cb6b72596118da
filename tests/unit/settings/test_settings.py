"""Settings: each is a flag, a variable and a key of TOML, with bounds that hold from every source."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from certificates import identity
from headstart_server.__main__ import command
from headstart_server.settings.groups import METRICS_PORT, ServerGroup
from headstart_server.settings.secret import Secret
from headstart_server.settings.settings import GROUPS, SETTINGS, Settings, SettingsError
from headstart_server.settings.sources import load, with_files

built = cache(get_command)

GOLDEN = Path(__file__).with_name("golden")
ROOT = Path(__file__).parents[3]
PASSWORD = "planted-password"
URL = f"postgresql://me:{PASSWORD}@db/headstart"


class Command:
    """``headstart-server`` without a server: `serve` only keeps the settings it would run with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: Settings | None = None
        self.warnings: list[str] = []

    def keep(self, settings: Settings, warnings: Any = ()) -> None:
        self.settings, self.warnings = settings, [*warnings]

    def serve(self, *flags: str, toml: str = "", **variables: str) -> Settings:
        assert self.run("serve", *flags, toml=toml, **variables) == (0, "", "")
        assert self.settings is not None
        return self.settings

    def run(self, *arguments: str, toml: str = "", **variables: str) -> tuple[int, str, str]:
        """Return the exit code, stdout and stderr."""
        if toml:
            file = self.folder / "headstart.toml"
            file.write_text(toml)
            arguments = (*arguments, "--config", str(file))
        environment = {"COLUMNS": "80", **variables}
        result = CliRunner().invoke(command, arguments, env=environment, prog_name="headstart-server")
        return result.exit_code, result.stdout, result.stderr.replace(f"{self.folder}/", "")

    def problems(self, *flags: str, toml: str = "", **variables: str) -> list[str]:
        """Return the lines of the errors of `serve`."""
        code, _, lines = self.run("serve", *flags, toml=toml, **variables)
        assert code == 2, lines
        assert self.settings is None
        return [line.removeprefix("headstart-server: ") for line in lines.splitlines()]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path)
    monkeypatch.setattr("headstart_server.app.serve.serve", command.keep)
    # Building the options takes longer than parsing a line, and the runner would do it for each.
    monkeypatch.setattr("typer.testing._get_command", built)
    for one in with_files():
        monkeypatch.delenv(one.variable, raising=False)
    return command


def test_every_setting_has_a_flag_a_unique_name_and_its_default(server: Command) -> None:
    assert server.serve() == Settings()
    flags = {option.name for option in built(command).commands["serve"].params}
    assert flags == {one.name for one in with_files()} | {"config", "help_all"}
    fields = [field.name for group in GROUPS.values() for field in dataclasses.fields(group)]
    assert sorted(fields) == sorted(SETTINGS)
    assert len(fields) == len(set(fields))


def test_flags_precede_variables_and_these_the_file(server: Command) -> None:
    toml = "[jobs]\ntrain_share = 0.1\njob_workers = 7\n[limits]\nmax_inputs = 3"
    found = server.serve("--job-workers", "9", toml=toml, HEADSTART_JOB_WORKERS="8", HEADSTART_MAX_INPUTS="4")
    assert (found.jobs.train_share, found.jobs.job_workers, found.limits.max_inputs) == (0.1, 9, 4)


def test_an_empty_variable_is_not_set(server: Command) -> None:
    assert server.serve(HEADSTART_JOB_WORKERS="", HEADSTART_DATABASE=" ") == Settings()


#: A text of each kind of setting, and its value.
TEXTS: list[tuple[str, str, Any]] = [
    ("port", "0", 0),
    ("http_port", "off", None),
    ("http_port", "8080", 8080),
    ("grace_period", "500ms", 0.5),
    ("grace_period", "1m30s", 90.0),
    ("max_connection_age", "off", None),
    ("job_retention", "7d", 604_800.0),
    ("job_memory", "auto", None),
    ("job_memory", "1.5GiB", 3 << 29),
    ("example_storage", "500MB", 500_000_000),
    ("example_storage", "off", None),
    ("rate_limit", "200/s", 200.0),
    ("rate_limit", "90/m", 1.5),
    ("bandwidth_limit", "128MiB/s", float(128 << 20)),
    ("monitor_sample_rate", "5%", 0.05),
    ("train_share", "0.9", 0.9),
    ("compat_protocols", "off", ()),
    ("compat_protocols", "tfserving, oip", ("oip", "tfserving")),
    ("reflection", "yes", True),
    ("runtime", "keras", "keras"),
    ("data_dir", "/a b", Path("/a b")),
]


@pytest.mark.parametrize(("name", "text", "value"), TEXTS)
def test_a_value_is_read_with_its_unit_and_written_so_that_it_is_read_again(
    server: Command, name: str, text: str, value: Any
) -> None:
    one = SETTINGS[name]
    assert server.serve(**{one.variable: text})[name] == value
    if one.is_switch:
        assert server.serve(one.flag)[name] is True
        assert server.serve(f"--no-{one.flag[2:]}", **{one.variable: text})[name] is False
    else:
        assert server.serve(one.flag, text)[name] == value
    assert one.parse(one.format(value)) == value
    assert one.of_toml(tomllib.loads(f"value = {one.toml(value)}")["value"]) == value


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_is_read_again_from_text_and_from_toml(name: str) -> None:
    one = SETTINGS[name]
    text = one.format(one.default)
    assert not text or one.parse(text) == one.default
    toml = one.toml(one.default)
    assert not toml or one.of_toml(tomllib.loads(f"value = {toml}")["value"]) == one.default


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("port", "65536", "Expected a whole number from 0 to 65,535. Received: '65536'."),
        ("port", "8765.0", "Expected a whole number from 0 to 65,535. Received: '8765.0'."),
        ("job_workers", "0", "Expected a whole number from 1 to 1,024. Received: '0'."),
        ("max_running_jobs", "0", "Expected a whole number from 1, or off. Received: '0'."),
        ("http_port", "-1", "Expected a whole number from 0 to 65,535, or off. Received: '-1'."),
        (
            "max_input_size",
            "512",
            "Expected a size with a unit, such as 512MiB or 4GiB. Received: '512'.",
        ),
        ("max_input_size", "1B", "Expected 64KiB to 256MiB. Received: 1B."),
        (
            "max_input_size",
            f"{'9' * 5000}MiB",
            "Expected a size with a unit, such as 512MiB or 4GiB. Received: '99",
        ),
        (
            "grace_period",
            "30",
            "Expected a duration with a unit, such as 500ms, 30s or 7d. Received: '30'.",
        ),
        ("grace_period", "2d", "Expected 0s to 1d. Received: 2d."),
        ("lease_duration", "-5s", "Expected a duration with a unit"),
        ("rate_limit", "200", "Expected a rate, such as 200/s or 600/m, or off. Received: '200'."),
        (
            "bandwidth_limit",
            "128/s",
            "Expected a size per second, such as 128MiB/s, or off. Received: '128/s'.",
        ),
        ("train_share", "nan", "Expected a number from 0 to 0.9. Received: 'nan'."),
        ("train_share", "1", "Expected a number from 0 to 0.9. Received: '1'."),
        ("monitor_sample_rate", "much", "Expected a number from 0 to 1, or off. Received: 'much'."),
        ("reflection", "maybe", "Expected true or false. Received: 'maybe'."),
        ("log_level", "loud", "Expected debug, info, warning or error. Received: 'loud'."),
        (
            "compat_protocols",
            "oip,http",
            "Expected oip and tfserving, or one of them, or off. Received: 'oip,http'.",
        ),
    ],
)
def test_another_value_is_named_with_its_origin_and_what_is_expected(
    server: Command, name: str, text: str, expected: str
) -> None:
    one = SETTINGS[name]
    [problem] = server.problems(**{one.variable: text})
    assert problem.startswith(f"{one.variable}: {expected}")
    if not one.is_switch:
        [problem] = server.problems(one.flag, text)
        assert problem.startswith(f"{one.flag}: {expected}")
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("port = 1", "headstart.toml: port belongs into the section [server]."),
        ("data-dir = 'x'", "headstart.toml: data_dir belongs into the section [storage]."),
        (
            "prot = 1",
            'headstart.toml: The setting "prot" is unknown. Did you mean port in the section [server]?',
        ),
        ("[sever]\nport = 1", "headstart.toml: The section [sever] is unknown. Did you mean [server]?"),
        ("[x]", f"headstart.toml: The section [x] is unknown. Sections are: {', '.join(GROUPS)}."),
        ("server = 1", "headstart.toml: Expected the section [server]. Received: a value."),
        ("[server]\nprot = 1", "headstart.toml: [server] prot is unknown. Did you mean port?"),
        ("[server]\nhttp-port = 1", "headstart.toml: [server] http-port is unknown. Did you mean http_port?"),
        ("[tls]\nport = 1", "headstart.toml: [tls] port belongs into the section [server]."),
        (
            "[tls]\njob_worker = 1",
            "headstart.toml: [tls] job_worker is unknown. Did you mean job_workers in the section [jobs]?",
        ),
        (
            "[tls]\nzzz = 1",
            "headstart.toml: [tls] zzz is unknown. Settings of the section are: "
            "tls_cert, tls_key, tls_client_ca, plaintext.",
        ),
        (
            '[jobs]\njob_workers = "2"',
            "headstart.toml: [jobs] job_workers: Expected a whole number from 1 to 1,024. Received: '2'.",
        ),
        (
            "[jobs]\njob_workers = true",
            "headstart.toml: [jobs] job_workers: Expected a whole number from 1 to 1,024. Received: true.",
        ),
        (
            "[jobs]\njob_retention = 7",
            'headstart.toml: [jobs] job_retention: Expected a string with a unit, such as "30s". '
            "Received: 7.",
        ),
        (
            '[server]\nreflection = "true"',
            "headstart.toml: [server] reflection: Expected true or false. Received: 'true'.",
        ),
        (
            '[jobs]\nallow_webhook = "x"',
            "headstart.toml: [jobs] allow_webhook: Expected a list of strings, such as ['x']. Received: 'x'.",
        ),
        (
            "[jobs]\nallow_webhook = [1]",
            "headstart.toml: [jobs] allow_webhook: Expected a list of strings, each one line. It contains 1.",
        ),
        (
            "[storage]\ndata_dir = {a = 1}",
            "headstart.toml: [storage] data_dir: Expected a string. Received: {'a': 1}.",
        ),
        ("[server]\nport = 1\nport = 2", "headstart.toml is not valid TOML: Cannot overwrite a value"),
        ("[server]\n[server]", "headstart.toml is not valid TOML: "),
        ("port = ", "headstart.toml is not valid TOML: "),
        ("[jobs]\ntrain_share = nan", "headstart.toml: [jobs] train_share: Expected a number from 0 to 0.9."),
        (f"x = {'[' * 5000}", "headstart.toml is not valid TOML: "),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_the_remedy(
    server: Command, toml: str, expected: str
) -> None:
    [problem] = server.problems(toml=toml)
    assert problem.startswith(expected)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", "folder", "large"])
def test_a_file_that_cannot_be_read_is_named(server: Command, tmp_path: Path, content: Any) -> None:
    file = tmp_path / "other.toml"
    if content == "folder":
        file.mkdir()
    elif content == "large":
        file.write_text("#" * (2 << 20))
    elif content is not None:
        file.write_bytes(content)
    [problem] = server.problems("--config", str(file))
    assert "other.toml" in problem


def test_all_problems_are_reported_together(server: Command) -> None:
    problems = server.problems("--port", "x", "--audit-all", "--host", "0.0.0.0", "--runtime", "tpu")
    first = [problem.partition(" ")[0] for problem in problems]
    assert first == ["--port:", "--runtime:", "--host", "--audit-all"]


def test_the_last_of_several_flags_counts(server: Command) -> None:
    assert server.serve("--port", "1", "--port", "2").server.port == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ("--plaintext", "--tls-cert", "c", "--tls-key", "k"),
            "--plaintext and --tls-cert exclude each other.",
        ),
        (("--tls-cert", "c"), "--tls-cert requires --tls-key."),
        (("--tls-key", "k"), "--tls-key requires --tls-cert."),
        (("--tls-client-ca", "c"), "--tls-client-ca requires --tls-cert and --tls-key."),
        (("--audit-all",), "--audit-all requires --audit-log."),
        (("--isolate-feature-cache",), "--isolate-feature-cache requires --access-file"),
        (("--webhook", "https://a.example"), "--webhook and --allow-webhook require --webhook-secret-file."),
        (("--webhook-secret-file", "f"), "--webhook-secret-file requires --webhook or --allow-webhook."),
        (("--allow-private-addresses",), "--allow-private-addresses requires --webhook"),
        (("--trace-endpoint", f"grpc://me:{PASSWORD}@host"), "--trace-endpoint must start with http://"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    server: Command, flags: tuple[str, ...], expected: str
) -> None:
    [problem] = server.problems(*flags)
    assert problem.startswith(expected)
    assert PASSWORD not in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_the_loopback_needs_no_tls_and_has_metrics(server: Command, host: str) -> None:
    assert server.serve("--host", host).metrics_port == METRICS_PORT


def test_an_ipv6_host_may_be_in_brackets() -> None:
    assert Settings.of(host="[::1]").server.host == Settings.of(host="::1").server.host == "::1"


@pytest.mark.parametrize("host", ["localhost:1", "[::1]:1", "[127.0.0.1]", "[::1", "[]"])
def test_an_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="Expected a host name or an IP address, without a port"):
        Settings.of(host=host)


def test_a_byte_order_mark_of_a_file_is_ignored(server: Command, tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "token").write_bytes(mark + b"hunter2\n")
    content = (
        f'[server]\nlabel_studio_url = "https://h.example"\nlabel_studio_token_file = "{tmp_path}/token"\n'
    )
    (tmp_path / "marked.toml").write_bytes(mark + content.encode())
    settings = load({}, {}, tmp_path / "marked.toml").settings()
    assert settings.server.label_studio_url == "https://h.example"
    assert settings.server.label_studio_token == Secret("hunter2")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.1", "example.org"])
def test_a_host_that_other_machines_reach_needs_tls_or_plaintext(
    server: Command, host: str, tmp_path: Path
) -> None:
    [problem] = server.problems("--host", host)
    assert problem.startswith(f"--host {host.strip('[]')} requires --tls-cert and --tls-key, or --plaintext")
    assert server.serve("--host", host, "--plaintext").metrics_port is None
    assert server.serve("--host", host, "--plaintext", "--metrics-port", "9000").metrics_port == 9000
    own = identity("server")
    cert, key = tmp_path / "cert", tmp_path / "key"
    cert.write_bytes(own.chain)
    key.write_bytes(own.private)
    found = server.serve("--host", host, "--tls-cert", str(cert), "--tls-key", str(key))
    assert found.tls.tls_cert == cert


def test_metrics_can_be_off(server: Command) -> None:
    assert server.serve("--metrics-port", "off").metrics_port is None


#: Settings with several values, whose values contain all that could separate them but a line break.
REPEATABLE = {
    "backbone": ["b=onnx:/my networks/b.onnx,mean=[0.485, 0.456, 0.406]", "keras:MobileNetV3Small"],
    "allow_backbone": ["onnx:/my networks/", "hf:my-org/,x"],
    "allow_webhook": ["https://a.example.com/one two", "https://b.example.com/a,b"],
    "allow_dataset_uri": ["/data/with spaces/{tenant}", "s3://bucket/pre,fix"],
    "allow_http_host": ["headstart", "*.svc"],
}


@pytest.mark.parametrize("name", [name for name, one in SETTINGS.items() if one.kind.is_repeatable])
def test_a_repeatable_setting_is_split_at_line_breaks_only(name: str) -> None:
    one, values = SETTINGS[name], tuple(REPEATABLE[name])

    def read(flags: list[str] | None = None, variable: str = "") -> tuple[str, ...]:
        loaded = load({name: flags}, {one.variable: variable})
        assert not loaded.problems
        return tuple(loaded.values[name].value)

    assert read([*values]) == values
    assert read(variable="\n".join(values)) == values
    assert read(variable="\n" + "\n\n  ".join(values) + "\n") == values
    assert read(variable=values[0]) == values[:1]
    assert read([values[1]], values[0]) == values[1:]
    assert one.of_toml([*values]) == values
    assert one.of_toml(tomllib.loads(f"value = {one.toml(values)}")["value"]) == values


def test_a_secret_comes_from_a_file(server: Command, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    for found in (
        server.serve("--database-file", str(file)),
        server.serve("--database-file", str(file), HEADSTART_DATABASE="sqlite:///other"),
        server.serve(HEADSTART_DATABASE_FILE=str(file)),
        server.serve(toml=f'[storage]\ndatabase_file = "{file}"'),
    ):
        assert found.storage.database_url == URL
        assert file in found.files
        assert PASSWORD not in repr(found)
    # A source that precedes the file also precedes what the file contains.
    found = server.serve("--database", "sqlite:///x", HEADSTART_DATABASE_FILE=str(file))
    assert found.storage.database_url == "sqlite:///x"


def test_a_secret_and_its_file_in_one_source_contradict_each_other(server: Command, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(URL)
    [problem] = server.problems("--database", URL, "--database-file", str(file))
    assert problem == "--database and --database-file exclude each other. Remove one of them."
    [problem] = server.problems(HEADSTART_DATABASE=URL, HEADSTART_DATABASE_FILE=str(file))
    assert problem.startswith("HEADSTART_DATABASE and HEADSTART_DATABASE_FILE exclude each other.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff", "is not text"),
        (b"a\nb", "Expected one line of text"),
        (b"a" * (1 << 17), "is larger than 64 KiB"),
    ],
)
def test_a_file_without_a_secret_is_named(
    server: Command, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    [problem] = server.problems("--database-file", str(file))
    assert problem.startswith("--database-file: ")
    assert expected in problem


@pytest.mark.parametrize("value", [URL, f"{URL}\nmore", "x" * 5000 + PASSWORD])
def test_a_secret_in_the_place_of_its_file_is_not_printed(server: Command, value: str) -> None:
    for problems in (
        server.problems("--database-file", value),
        server.problems(HEADSTART_DATABASE_FILE=value),
        server.problems(toml=f"[storage]\ndatabase_file = {json.dumps(value)}"),
    ):
        [problem] = problems
        assert "atabase_file: " in problem or problem.startswith(
            ("--database-file: ", "HEADSTART_DATABASE_FILE: ")
        )
        assert PASSWORD not in problem


def test_a_misspelled_variable_is_a_warning(server: Command) -> None:
    server.serve(HEADSTART_JOB_WORKER="3", HEADSTART_TOKEN="t", HEADSTART_PORT_8765_TCP="tcp://10.0.0.1:8765")
    assert server.warnings == [
        "The variable HEADSTART_JOB_WORKER is not a setting. Did you mean HEADSTART_JOB_WORKERS?"
    ]


def test_bounds_hold_in_code_too() -> None:
    with pytest.raises(ValueError, match=r"--port: Expected .* from 0 to 65,535\. Received: 70000"):
        ServerGroup(port=70_000)
    with pytest.raises(ValueError, match=r"--train-share: Expected .* to 0\.9\. Received: nan"):
        Settings.of(train_share=float("nan"))
    with pytest.raises(SettingsError, match="--audit-all requires --audit-log"):
        Settings.of(audit_all=True)
    with pytest.raises(TypeError, match="Received: 'prot'"):
        Settings.of(prot=1)
    assert isinstance(Settings.of(database=URL).storage.database, Secret)
    assert Settings.of(port=1).replace(http_port=2).server == ServerGroup(port=1, http_port=2)


def test_derived_values_follow_their_settings() -> None:
    settings = Settings.of(lease_duration=20.0, max_input_size=1 << 20, max_concurrent_requests=10)
    assert settings.jobs.heartbeat_interval == 2.0
    assert settings.limits.max_message_size == 4 << 20
    assert Settings.of(max_input_size=48 << 20).limits.max_message_size == 65 << 20
    assert settings.limits.max_connections == 40
    assert Settings().limits.max_activation_size == 2 << 30


def test_show_prints_toml_with_origins_and_without_secrets(server: Command, tmp_path: Path) -> None:
    variables = {"HEADSTART_DATABASE": URL, "HEADSTART_JOB_WORKERS": "5"}
    code, shown, errors = server.run(
        "config", "show", "--port", "1", toml='[jobs]\njob_retention = "2d"', **variables
    )
    assert (code, errors) == (0, "")
    assert PASSWORD not in shown
    values = tomllib.loads(shown)
    assert values["server"]["port"] == 1
    assert values["storage"]["database"] == "***"
    lines = {line.partition(" ")[0]: line.rpartition("# ")[2] for line in shown.splitlines()}
    assert lines["port"] == "--port"
    assert lines["database"] == "HEADSTART_DATABASE"
    assert lines["job_retention"] == f"{tmp_path}/headstart.toml: [jobs] job_retention"
    assert lines["host"] == "default"

    code, as_json, _ = server.run("config", "show", "--json", **variables)
    found = {one["name"]: one for one in json.loads(as_json)}
    assert found.keys() == SETTINGS.keys()
    assert found["job_workers"] == {
        "name": "job_workers",
        "section": "jobs",
        "value": 5,
        "origin": "HEADSTART_JOB_WORKERS",
    }
    assert found["database"]["value"] == "***"
    assert found["tls_cert"]["value"] is None


def test_what_show_prints_can_be_used_as_a_file(server: Command) -> None:
    flags = ("--backbone", 'a=onnx:/x/"quoted"\\é.onnx', "--grace-period", "1500ms", "--http-port", "0")
    _, shown, _ = server.run("config", "show", *flags)
    _, again, _ = server.run("config", "show", toml=shown)
    assert tomllib.loads(again) == tomllib.loads(shown)


def test_check_reports_every_problem_also_of_files_and_addresses(server: Command, tmp_path: Path) -> None:
    code, output, errors = server.run("config", "check", "--port", "1", HEADSTART_JOB_WORKER="1")
    assert code == 0
    assert output.startswith("No problems found. 1 of ")
    assert "Did you mean HEADSTART_JOB_WORKERS?" in errors
    flags = (
        "--access-file",
        str(tmp_path / "none.toml"),
        "--artifacts",
        "ftp://x",
        "--database",
        f"odd://{PASSWORD}",
    )
    code, output, errors = server.run("config", "check", *flags)
    assert (code, output) == (1, "")
    assert len(errors.splitlines()) == 3
    assert "none.toml" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--artifacts", "s3:/bucket"), "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. Received: 's3:/bucket'."),
        (("--backbones-file", "none.toml"), "Cannot read none.toml: No such file or directory. Correct"),
        (("--default-backbone", "resnet"), "--default-backbone: There is no backbone 'resnet'. Expected one"),
        (
            ("--tls-cert", "none.pem", "--tls-key", "k.pem"),
            "Cannot read none.pem: No such file or directory.",
        ),
    ],
)
def test_check_finds_what_would_only_fail_at_the_start(
    server: Command, flags: tuple[str, ...], error: str
) -> None:
    code, output, errors = server.run("config", "check", *flags)
    assert (code, output) == (1, "")
    assert error in errors
    assert len(errors.splitlines()) == 1


def test_check_accepts_every_default_backbone_that_a_server_can_load(server: Command) -> None:
    for flags in (
        ("--default-backbone", "efficientnet-lite1"),
        ("--default-backbone", "features:32"),
        ("--backbone", "mine=keras:MobileNetV3Small", "--default-backbone", "mine"),
    ):
        code, output, errors = server.run("config", "check", *flags)
        assert (code, errors) == (0, "")
        assert "run headstart-server doctor" in output


def test_init_writes_a_file_that_changes_nothing_until_it_is_edited(server: Command, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    assert server.run("config", "init", str(file)) == (0, "", "")
    assert server.serve("--config", str(file)).replace() == dataclasses.replace(Settings(), files=(file,))
    code, _, errors = server.run("config", "init", str(file))
    assert code == 1
    assert "exists. Remove it, or choose another file." in errors
    # Every commented line is valid.
    lines = [re.sub(r"^# (?=\w+ = )", "", line) for line in file.read_text().splitlines()]
    document = tomllib.loads("\n".join(lines))
    written = {name: value for section in document.values() for name, value in section.items()}
    assert written.keys() == {one.name for one in with_files()}
    for name, one in SETTINGS.items():
        if one.format(one.default):
            assert one.of_toml(written[name]) == one.default


def test_a_file_that_is_missing_is_named(server: Command) -> None:
    assert server.run("serve", "--access-file", "nowhere.toml") == (
        1,
        "",
        "headstart-server: Cannot read nowhere.toml: No such file or directory. Correct the path, or the "
        "permissions of the file.\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [("serve",), ("doctor",), ("config", "show"), ("backbones",), ("prepare",), ("token",), ("health",)],
    ids=" ".join,
)
def test_the_help_has_80_columns_and_breaks_no_flag(server: Command, arguments: tuple[str, ...]) -> None:
    for flag in ("--help", "--help-all"):
        code, shown, _ = server.run(*arguments, flag)
        if code:
            assert flag == "--help-all"
            continue
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        for line in shown.splitlines():
            assert not line.endswith("-")


def test_the_help_lists_35_settings_and_help_all_every_one(server: Command) -> None:
    def listed(flag: str) -> set[str]:
        shown = server.run("serve", flag)[1]
        return {one.name for one in with_files() if re.search(rf"^  {one.flag}\b(?!-)", shown, re.M)}

    assert listed("--help") == {one.name for one in SETTINGS.values() if one.is_basic}
    assert len(listed("--help")) == 35
    assert listed("--help-all") == {one.name for one in with_files()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("serve-help.txt", ("serve", "--help")), ("config-init.toml", ("config", "init"))],
)
def test_the_output_is_the_golden_file(name: str, arguments: tuple[str, ...]) -> None:
    """After a change write the file again: COLUMNS=80 headstart-server ... > golden/..."""
    code = "from headstart_server.__main__ import main; main()"
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == (GOLDEN / name).read_text()
