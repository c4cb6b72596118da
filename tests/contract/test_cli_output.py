"""The output formats of the command, and what happens to a format that a command does not support."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from datetime import timedelta

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from typer.testing import CliRunner

from contract.fake_server import FakeServer, Fault, job, model
from headstart.cli.app import app
from headstart.cli.output.layout import duration
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_pb2
from headstart.v1 import model_service_pb2 as keeping


@pytest.fixture
def run(server: FakeServer):
    def run(*arguments, code: int = 0):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"HEADSTART_SERVER": server.target})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def protojson(message):
    return MessageToDict(message, always_print_fields_with_no_presence=True)


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        (["model", "list"], "ListModels"),
        (["model", "show", "pets"], "GetModel"),
        (["job", "show", "job-1"], "Status"),
        (["job", "cancel", "job-1"], "Cancel"),
        (["backbone", "list"], "ListBackbones"),
        (["example", "erase", "pets", "cat-17", "--yes"], "EraseExample"),
        (["version", "compare", "pets@1", "pets@2"], "Compare"),
    ],
)
def test_json_is_the_response_as_the_http_port_prints_it(run, server, arguments, method):
    document = json.loads(run(*arguments, "-o", "json").stdout)

    assert document == protojson(server.standing[method])
    assert json.loads(run(*arguments, "--json").stdout) == document


def test_json_of_a_list_joins_its_pages(run, server):
    pages = [keeping.ListModelsResponse(models=[model()], next_page_token=token) for token in ("a", "b", "")]
    server.script("ListModels", *pages)

    document = json.loads(run("model", "list", "--json").stdout)

    assert len(document["models"]) == 3
    assert document["nextPageToken"] == ""
    ParseDict(document, keeping.ListModelsResponse())


def test_json_of_jobs_has_no_more_than_the_limit(run, server):
    server.standing["ListJobs"] = tuning.ListJobsResponse(jobs=[job(job_id=f"job-{n}") for n in range(5)])

    assert len(json.loads(run("job", "list", "--limit", 2, "--json").stdout)["jobs"]) == 2


def test_names_are_what_other_commands_take(run):
    assert run("model", "list", "-o", "name").stdout == "pets\n"
    assert run("version", "list", "pets", "-o", "name").stdout.splitlines() == ["pets@3", "pets@2", "pets@1"]
    assert "pets@stable" in run("alias", "list", "pets", "-o", "name").stdout.splitlines()
    assert run("backbone", "list", "-o", "name").stdout == "efficientnet-lite0\n"


def test_a_fine_tune_prints_the_name_of_its_version_or_job(run, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(b"image")

    assert run("fine-tune", "pets", tmp_path, "-o", "name").stdout == "pets@3\n"
    assert run("fine-tune", "pets", tmp_path, "-o", "name", "--no-wait").stdout == "job-1\n"


def test_csv_has_a_header_and_complete_values(run, server):
    (row, *_) = csv.DictReader(io.StringIO(run("version", "list", "pets", "-o", "csv").stdout))
    assert (row["model"], row["version"], row["accuracy"], row["create_time"]) == (
        "pets", "3", "0.95", "2023-11-14T22:13:20+00:00",
    )  # fmt: skip
    assert run("job", "list", "-o", "csv").stdout.startswith(
        "job_id,model,state,version,create_time,end_time\n"
    )
    server.standing["ListModels"] = keeping.ListModelsResponse()
    assert run("model", "list", "-o", "csv").stdout.count("\n") == 1
    assert run("model", "list", "-o", "name").stdout == ""


@pytest.mark.parametrize("form", ["csv", "name", "yaml"])
def test_a_format_that_a_command_does_not_support_is_refused_before_anything_is_done(run, server, form):
    result = run("alias", "set", "pets", "stable", 2, "-o", form, code=2)

    assert f"-o takes table or json here. Received: {form}" in result.stderr
    assert not server.requests["SetAlias"]
    assert "Received: nothing" in run("model", "list", "-o", code=2).stderr


def test_a_format_excludes_another(run):
    assert "excludes --json" in run("model", "list", "--json", "-o", "csv", code=2).stderr


def test_missing_arguments_are_reported_to_programs_too(run):
    document = json.loads(run("model", "show", "-o", "json", code=2).stdout)

    assert document["error"]["code"] == "INVALID_ARGUMENT"
    assert "MODEL" in document["error"]["message"]


def test_a_failure_prints_nothing_but_the_error(run, server):
    server.standing["ListModels"] = Fault(code=grpc.StatusCode.INTERNAL, message="Broken.", reason="INTERNAL")

    for form in ("name", "csv", "table"):
        assert run("model", "list", "-o", form, code=1).stdout == ""
    assert json.loads(run("model", "list", "-o", "json", code=1).stdout)["error"]["message"] == "Broken."


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("model", "code"), [("pets", 0), ("missing", 4)])
def test_streams_that_the_parent_closed_do_not_matter(server, closed, model, code):
    missing = Fault(code=grpc.StatusCode.NOT_FOUND, message="There is no model.", reason="MODEL_NOT_FOUND")
    found = keeping.GetModelResponse(model=model_pb2.Model(model="pets"))
    server.standing["GetModel"] = lambda request: found if request.model == "pets" else missing
    command = [sys.executable, "-m", "headstart", "--server", server.target, "model", "show", model]

    done = subprocess.run(
        f"exec {shlex.join(command)} {closed}",
        check=False,
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0254, "0.025 s"),
        (12.34, "12.3 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (3600, "60 min"),
        (86_400, "24 h"),
        (30 * 86_400, "30 d"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds, shown):
    assert duration(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_characters_that_stdout_cannot_encode_are_escaped(server, tmp_path, encoding, form):
    name = "caf\u00e9 \u2192 \U0001f600"
    (tmp_path / "a.txt").write_text(name, encoding="utf-8")
    options = {"table": [], "csv": ["-o", "-"], "json": ["--json"]}[form]
    command = [
        sys.executable,
        "-m",
        "headstart",
        "--server",
        server.target,
        "predict",
        "m",
        "a.txt",
        *options,
    ]

    ended = subprocess.run(
        command,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    if form == "json":
        shown = json.loads(ended.stdout.decode(encoding))
        assert shown["results"][0]["predictions"][0]["label"]["className"] == name
    else:
        assert name.encode(encoding, errors="backslashreplace") in ended.stdout
