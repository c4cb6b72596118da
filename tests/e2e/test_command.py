"""The command `headstart` against a real server, as a shell script uses it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from forked import run_headstart


@pytest.fixture(scope="module")
def command(target: str):
    """Run the command; returns its exit code, what it printed and what it said on stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}

    def run(*arguments: object, server: str = target) -> tuple[int, str, str]:
        done = run_headstart("--server", server, *map(str, arguments), environment=environment)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def document(command):
    """Run the command with --json; returns the one document it prints."""

    def run(*arguments: object) -> Any:
        code, printed, said = command("--json", *arguments)
        assert code == 0, said
        return json.loads(printed)

    return run


@pytest.fixture(scope="module")
def made(document, folder: Path) -> dict[str, Any]:
    """What fine-tuning a folder printed."""
    return document("fine-tune", "shell", folder, "--alias", "stable", "--tag", "team=post")


def test_fine_tuning_prints_the_job_and_the_version(made: dict[str, Any]):
    assert made["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert made["job"]["exampleCount"] == "24"
    assert made["version"]["model"] == "shell"
    assert made["version"]["version"] == "1"
    assert made["version"]["classNames"] == ["one", "seven", "zero"]
    assert made["version"]["tags"] == {"team": "post"}
    assert made["version"]["aliases"] == ["stable"]
    assert 0 <= made["version"]["metrics"]["accuracy"] <= 1


def test_predicting_prints_an_answer_for_each_file(document, made: dict[str, Any], queries: list[Path]):
    found = document("predict", "shell@stable", *queries[:3], "--top-k", "2")

    assert found["inputs"] == [str(path) for path in queries[:3]]
    (result,) = found["results"]
    assert result["version"] == "1"
    for each in result["predictions"]:
        assert each["label"]["className"] == each["classes"][0]["name"]
        assert len(each["classes"]) == 2


def test_the_status_and_the_list_of_jobs_tell_of_the_job(document, made: dict[str, Any]):
    job_id = made["job"]["jobId"]

    assert document("job", "show", job_id)["job"] == made["job"]
    assert [job["jobId"] for job in document("job", "list", "shell")["jobs"]] == [job_id]


def test_monitoring_prints_a_line_for_each_event(command, made: dict[str, Any]):
    code, printed, _ = command("--json", "job", "watch", made["job"]["jobId"])
    events = [json.loads(line) for line in printed.splitlines()]

    assert code == 0
    assert [each["event"]["number"] for each in events] == [str(n + 1) for n in range(len(events))]
    assert events[-1]["event"]["state"] == "JOB_STATE_SUCCEEDED"


def test_models_aliases_and_deletion(document, command, folder: Path, made: dict[str, Any]):
    waited = document("fine-tune", "brief", folder, "--seed", "3")
    document("fine-tune", "brief", folder, "--seed", "4")
    number = int(waited["version"]["version"])

    assert {model["model"] for model in document("model", "list")["models"]} >= {"shell", "brief"}
    assert document("alias", "set", "brief", "old", number)["alias"]["version"] == str(number)
    assert [each["version"] for each in document("version", "list", "brief")["versions"]] == [
        str(number + 1),
        str(number),
    ]
    code, _, said = command("version", "delete", f"brief@{number}", "--yes")
    assert code == 1
    assert "old" in said
    assert document("version", "delete", f"brief@{number}", "--yes", "--force") == {}
    assert document("model", "delete", "brief", "--yes") == {"deletedVersions": "1"}
    assert "brief" not in {model["model"] for model in document("model", "list")["models"]}


def test_without_json_people_can_read_it(command, made: dict[str, Any], queries: list[Path]):
    code, printed, _ = command("predict", "shell", queries[0])

    assert code == 0
    assert queries[0].name in printed
    assert any(name in printed for name in ("one", "seven", "zero"))


def test_exit_codes_tell_what_kind_of_thing_went_wrong(
    command, made: dict[str, Any], queries: list[Path], tmp_path
):
    (tmp_path / "text.png").write_text("no image")
    codes = {
        4: command("predict", "nosuch", queries[0]),
        1: command("predict", "shell", tmp_path / "text.png"),
        2: command("predict", "shell", tmp_path / "missing.png"),
        3: command("model", "list", server="127.0.0.1:1"),
    }

    for expected, (code, _, said) in codes.items():
        assert (code, "Traceback" in said) == (expected, False), said
        assert said


def test_a_failure_is_reported_to_programs_too(command, made: dict[str, Any], queries: list[Path]):
    code, printed, said = command("--json", "predict", "shell@nowhere", queries[0])

    assert code == 4
    assert json.loads(printed)["error"]["reason"] == "ALIAS_NOT_FOUND"
    assert said.startswith("error: ")


def test_an_alias_may_be_named_with_its_model(document, made: dict[str, Any], queries: list[Path]):
    (found,) = document("predict", "shell@stable", queries[0])["results"]

    assert found["version"] == made["version"]["version"]
