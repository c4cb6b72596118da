"""Commands on stored things: what a deletion names, and what is shown."""

import grpc
import pytest
from typer.testing import CliRunner

from contract.fake_server import FakeServer, Fault, event, job, version
from headstart.cli.app import app
from headstart.cli.confirmation import deleted_model, deleted_version
from headstart.client import Client
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import server_service_pb2 as about


@pytest.fixture
def run(server: FakeServer):
    def run(*arguments, code: int = 0):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"HEADSTART_SERVER": server.target})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def test_a_deletion_names_the_versions_aliases_and_examples(run, server: FakeServer, client: Client):
    kept = [version(number, has_examples=True) for number in range(12, 0, -1)]
    server.keep(*kept)

    said = run("model", "delete", "pets", code=2).stderr

    assert (
        "delete model pets with 12 versions (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …), 1 alias (stable → 2)" in said
    )
    assert "and up to 480 stored examples: stdin is not a terminal. Confirm it with --yes." in said
    assert not server.requests["DeleteModel"]
    (found,) = [each for each in client.get_model("pets").versions if each.version == 3]
    assert deleted_version(found) == "version 3 of model pets with up to 40 stored examples"
    server.standing["GetModel"] = keeping.GetModelResponse(model={"model": "pets"})
    server.keep()
    assert deleted_model(client.get_model("pets")) == "model pets with no version"


def test_a_deletion_of_what_does_not_exist_asks_nothing(run, server: FakeServer):
    server.standing["GetModel"] = server.standing["GetVersion"] = Fault(
        code=grpc.StatusCode.NOT_FOUND, message="There is no model 'pest'.", reason="MODEL_NOT_FOUND"
    )

    assert "There is no model" in run("model", "delete", "pest", code=4).stderr
    assert "There is no model" in run("version", "delete", "pest@1", code=4).stderr
    assert "such as pest@3" in run("version", "delete", "pest", code=2).stderr
    assert "such as pest@3" in run("version", "delete", "pest@stable", code=2).stderr


def test_a_job_is_deleted_after_a_question_that_names_it(run, server: FakeServer):
    said = run("job", "delete", "job-1", code=2).stderr

    assert "delete job job-1 of model pets (succeeded; version 3 stays)" in said
    assert not server.requests["DeleteJob"]
    assert run("job", "delete", "job-1", "--yes").stdout == "Deleted job job-1.\n"
    assert server.requests["DeleteJob"][0].job_id == "job-1"


def test_a_version_is_shown_with_where_it_came_from(run, server: FakeServer):
    found = version(3, aliases=["stable"], tags={"team": "a"}, display_name="Pets", description="All pets.")
    server.standing["GetVersion"] = keeping.GetVersionResponse(version=found)

    text = " ".join(run("version", "show", "pets@stable").stdout.split())

    assert server.requests["GetVersion"][0].target.alias == "stable"
    for part in ("pets, version 3", "title Pets", "aliases stable", "tags team=a", "recipe ridge", "95.0%"):
        assert part in text


def test_a_version_gets_another_title(run, server: FakeServer):
    run("version", "update", "pets@3", "--display-name", "New", "--description", "")

    (request,) = server.requests["UpdateVersion"]
    assert (request.version, request.display_name) == (3, "New")
    assert sorted(request.update_mask.paths) == ["description", "display_name"]


def test_versions_are_listed_up_to_a_limit(run, server: FakeServer):
    assert run("version", "list", "pets", "--limit", 2, "-o", "name").stdout == "pets@3\npets@2\n"


def test_all_jobs_are_watched_until_the_stream_ends(run, server: FakeServer):
    responses = [
        tuning.WatchJobsResponse(event=event(number, state), resume_token=str(number))
        for number, state in enumerate(("QUEUED", "SUCCEEDED"), 1)
    ]
    gone = Fault(code=grpc.StatusCode.PERMISSION_DENIED, message="No longer.", reason="PERMISSION_DENIED")
    server.script("WatchJobs", [*responses, gone])

    result = run("job", "watch", "--model", "pets", code=1)

    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["queued", "succeeded"]
    assert server.requests["WatchJobs"][0].model == "pets"


def test_the_caller_and_its_usage_are_shown(run, server: FakeServer):
    server.standing["WhoAmI"] = about.WhoAmIResponse(
        caller={
            "authenticated": True,
            "principal": "ann",
            "tenant": "red",
            "permissions": [{"models": ["pets-*"], "rights": ["RIGHT_PREDICT", "RIGHT_TRAIN"]}],
        }
    )
    text = run("whoami").stdout
    for part in ("ann", "red", "pets-*", "predict, train"):
        assert part in text
    assert "5.0 MiB of 10.0 MiB" in run("usage").stdout
    server.standing["WhoAmI"] = about.WhoAmIResponse(caller={"authenticated": False})
    assert "does not authenticate" in run("whoami").stdout


def test_jobs_have_no_limit_of_names(run, server: FakeServer):
    server.standing["ListJobs"] = tuning.ListJobsResponse(jobs=[job(job_id=f"job-{n}") for n in range(5)])
    assert run("job", "list", "-o", "name").stdout.count("\n") == 5


def test_the_moves_of_an_alias_are_listed(run, server: FakeServer):
    moves = [
        {"model": "pets", "alias": "stable", "previous_version": 2, "version": 3, "principal": "ann"},
        {"model": "pets", "alias": "stable", "version": 2, "job_id": "job-1"},
        {"model": "pets", "alias": "stable", "previous_version": 3},
    ]
    server.standing["ListAliasEvents"] = keeping.ListAliasEventsResponse(
        events=[{**each, "cause": "ALIAS_EVENT_CAUSE_SET"} for each in moves]
    )

    lines = [line.split() for line in run("alias", "history", "pets", "stable").stdout.splitlines()]

    assert server.requests["ListAliasEvents"][0].alias == "stable"
    assert any(line[1:] == ["stable", "2", "3", "set", "ann"] for line in lines), lines
    assert any(line[1:] == ["stable", "2", "set", "job-1"] for line in lines), lines
    assert any(line[1:] == ["stable", "3", "deleted", "set"] for line in lines), lines
    assert run("alias", "history", "pets", "--limit", 1, "-o", "csv").stdout.count("\n") == 2
    server.standing["ListAliasEvents"] = keeping.ListAliasEventsResponse()
    assert "No moves" in run("alias", "history", "pets").stdout


def test_the_traffic_of_a_model_is_a_table(run, server: FakeServer):
    used = {"version": 3, "request_count": 200, "error_count": 10, "input_count": 400, "unknown_count": 40}
    response = keeping.GetTrafficResponse(versions=[used])
    response.versions[0].latency_p50_duration.FromMilliseconds(6)
    server.standing["GetTraffic"] = response

    lines = [line.split() for line in run("model", "traffic", "pets", "--window", "2d").stdout.splitlines()]

    assert server.requests["GetTraffic"][0].window_duration.seconds == 2 * 86_400
    assert ["3", "200", "5.0%", "10.0%", "0.006", "s"] in lines
    assert run("model", "traffic", "pets", "-o", "name").stdout == "pets@3\n"
    assert (
        "expected a number with s, m, h or d"
        in run("model", "traffic", "pets", "--window", "x", code=2).stderr
    )
    server.standing["GetTraffic"] = keeping.GetTrafficResponse()
    assert "No predictions since" in run("model", "traffic", "pets").stdout
