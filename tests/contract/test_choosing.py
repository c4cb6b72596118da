"""Backbones that are chosen and versions that are rebased: how clients ask for them and show them."""

from datetime import timedelta

import grpc
import pytest
from typer.testing import CliRunner

from contract.conftest import QUICK
from contract.fake_server import UNAVAILABLE, FakeServer, Fault, choice, event, job, promotion, version
from headstart import (
    AsyncClient,
    BackboneCandidate,
    CandidateOutcome,
    Client,
    FailedPrecondition,
    JobStep,
    Logistic,
    PromotionGate,
)
from headstart.cli.app import app
from headstart.v1 import backbone_selection_pb2, job_pb2
from headstart.v1 import fine_tuning_service_pb2 as tuning


@pytest.fixture
def run(server: FakeServer):
    """Runs the command against the server."""

    def run(*arguments, code: int = 0):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"HEADSTART_SERVER": server.target})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def chosen(server: FakeServer) -> None:
    """The version that jobs publish has a chosen backbone, and an alias that moved."""
    made = version(3, backbone_selection=choice(), promotion=promotion())
    server.keep(made)
    server.standing["Watch"] = [
        event(1, "QUEUED"),
        event(2, step="SELECT_BACKBONE", done=1, total=3, message="large: 40 of 64 examples."),
        event(3, "SUCCEEDED"),
    ]


def settings_of_rebase(request: tuning.RebaseRequest) -> tuning.RebaseRequest:
    """The request without the id that the client made."""
    assert request.request_id
    request.request_id = ""
    return request


# The clients


def test_candidates_and_their_time_go_with_the_spec_and_come_back(client: Client, server: FakeServer):
    job_id = client.fine_tune(
        [(b"1", "a"), (b"2", "b")],
        model="m",
        backbone="auto",
        backbone_candidates=["small", "large"],
        backbone_time_budget=90,
    ).job_id
    spec = server.requests["FineTune"][0][0].spec
    assert (spec.backbone, list(spec.backbone_candidates)) == ("auto", ["small", "large"])
    assert spec.backbone_time_budget.seconds == 90

    server.standing["Status"] = tuning.StatusResponse(job=job(spec=spec))
    spec = client.job(job_id).status().spec
    assert spec.backbone_candidates == ("small", "large")
    assert spec.backbone_time_budget == timedelta(seconds=90)


def test_a_string_is_no_list_of_candidates(client: Client):
    with pytest.raises(TypeError, match="backbone_candidates must be a list of names"):
        client.fine_tune([], model="m", backbone="auto", backbone_candidates="small")


@pytest.mark.usefixtures("chosen")
def test_a_version_reports_how_its_backbone_was_chosen(client: Client):
    events = []
    made = client.job("job-1").result(on_event=events.append)
    found = made.backbone_selection
    assert found is not None
    assert (found.backbone, found.example_count) == ("small", 64)
    assert found.time_budget == timedelta(seconds=10)
    assert found.candidates[0] == BackboneCandidate(
        backbone="small",
        outcome=CandidateOutcome.TRIED,
        accuracy=0.9375,
        standard_error=0.0125,
        gap=0.03125,
        gap_standard_error=0.0625,
        latency_duration=timedelta(milliseconds=4.5),
        size_bytes=13_500_000,
        spent_duration=timedelta(seconds=2),
    )
    huge = found.candidates[2]
    assert (huge.outcome, huge.accuracy, huge.spent_duration) == (CandidateOutcome.NOT_TRIED, None, None)
    assert events[1].progress.step is JobStep.SELECT_BACKBONE
    assert repr(found) == "BackboneSelection(small of 3 candidates)"


def test_a_version_whose_backbone_was_named_has_no_choice(client: Client):
    assert client.get_model("pets").versions[0].backbone_selection is None


def test_every_setting_of_a_rebase_is_sent(client: Client, server: FakeServer):
    job_id = client.rebase(
        "pets",
        backbone="auto",
        version=2,
        alias="stable",
        request_id="r-1",
        backbone_candidates=("small", "large"),
        backbone_time_budget=timedelta(minutes=1),
        recipe=Logistic(folds=3),
        promote_if=PromotionGate(max_drop=0.05),
        priority=-2,
    ).job_id

    assert job_id == "job-1"
    expected = tuning.RebaseRequest(
        source={"model": "pets", "version": 2},
        alias="stable",
        backbone="auto",
        backbone_candidates=["small", "large"],
        recipe=job_pb2.Recipe(logistic=job_pb2.LogisticRecipe(folds=3)),
        promote_if={"max_drop": 0.05},
        request_id="r-1",
        priority=-2,
    )
    expected.backbone_time_budget.seconds = 60
    assert server.requests["Rebase"] == [expected]


def test_what_is_not_set_is_left_to_the_server(client: Client, server: FakeServer):
    client.rebase("pets", backbone="large")
    (request,) = server.requests["Rebase"]
    assert settings_of_rebase(request) == tuning.RebaseRequest(source={"model": "pets"}, backbone="large")


def test_a_rebase_that_no_server_answered_is_sent_again_with_its_id(client: Client, server: FakeServer):
    server.script("Rebase", UNAVAILABLE)
    client.rebase("pets", backbone="large")
    first, second = server.requests["Rebase"]
    assert first.request_id == second.request_id != ""


def test_examples_that_are_gone_are_an_error_of_the_call(client: Client, server: FakeServer):
    server.script("Rebase", Fault(code=grpc.StatusCode.FAILED_PRECONDITION, reason="EXAMPLES_NOT_KEPT"))
    with pytest.raises(FailedPrecondition) as caught:
        client.rebase("pets", backbone="large")
    assert caught.value.reason == "EXAMPLES_NOT_KEPT"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"promote_if": PromotionGate()}, ValueError, "promote_if requires an alias"),
        ({"recipe": "magic"}, ValueError, "recipe must be one of"),
        ({"seed": 3}, TypeError, "rebase has no setting 'seed'. There are backbone_candidates, "),
    ],
)
def test_wrong_settings_of_a_rebase_are_refused_before_anything_is_sent(
    client: Client, server: FakeServer, settings, error, message
):
    with pytest.raises(error, match=message):
        client.rebase("pets", backbone="large", **settings)
    assert not server.requests["Rebase"]


async def test_the_asynchronous_client_rebases_and_waits(server: FakeServer):
    async with AsyncClient(server.target, retries=QUICK, timeout=20) as client:
        found = await client.rebase("pets", backbone="large", alias="stable")
        assert (await found.result()).version == 3
    (request,) = server.requests["Rebase"]
    source = {"model": "pets", "alias": "stable"}
    expected = tuning.RebaseRequest(source=source, backbone="large", alias="stable")
    assert settings_of_rebase(request) == expected


# The command


@pytest.mark.usefixtures("chosen")
def test_a_fine_tune_shows_each_candidate_and_why_the_backbone_was_taken(run, server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"1")
    result = run(
        "fine-tune", "pets", tmp_path, "--backbone", "auto", "--backbone-candidate", "small",
        "--backbone-candidate", "large", "--backbone-time-budget", "2m",
    )  # fmt: skip

    spec = server.requests["FineTune"][0][0].spec
    assert list(spec.backbone_candidates) == ["small", "large"]
    assert spec.backbone_time_budget.seconds == 120
    printed = " ".join(result.stdout.split())
    assert "small, chosen from 3 backbones. It is the cheapest of those within one" in printed
    assert "→ small 93.8% ± 1.2% 3.1% ± 6.2% 4.5 14 2 s" in printed
    assert "large 96.9% ± 1.0% best 45.0 90 8 s" in printed
    assert "huge: The time budget of 10 s was used up." in printed
    assert "select backbone, 1 of 3, large: 40 of 64 examples." in result.stderr


@pytest.mark.usefixtures("chosen")
def test_a_model_names_the_backbone_that_was_chosen(run):
    printed = " ".join(run("model", "show", "pets").stdout.split())
    assert "small, chosen from 3 backbones" in printed


def test_errors_of_numbers_are_no_shares(run, server):
    candidate = backbone_selection_pb2.BackboneCandidate(
        backbone="small", outcome="CANDIDATE_OUTCOME_TRIED", mean_absolute_error=2.5, standard_error=0.25
    )
    made = version(3, backbone_selection=choice(candidates=[candidate]))
    server.keep(made)
    printed = " ".join(run("rebase", "pets", "--backbone", "auto").stdout.split())
    assert "backbone error behind" in printed
    assert "2.5 ± 0.25" in printed


@pytest.mark.usefixtures("chosen")
def test_a_rebase_shows_the_new_version_and_what_became_of_the_alias(run, server):
    result = run(
        "rebase", "pets@2", "--backbone", "auto", "--alias", "stable", "--backbone-candidate",
        "small", "--backbone-time-budget", "90s", "--recipe", "logistic", "--max-drop", "0.05",
        "--priority", "3", "--request-id", "r",
    )  # fmt: skip

    expected = tuning.RebaseRequest(
        source={"model": "pets", "version": 2}, alias="stable", backbone="auto",
        backbone_candidates=["small"],
        recipe=job_pb2.Recipe(logistic=job_pb2.LogisticRecipe()), promote_if={"max_drop": 0.05},
        request_id="r", priority=3,
    )  # fmt: skip
    expected.backbone_time_budget.seconds = 90
    assert server.requests["Rebase"] == [expected]
    assert "pets, version 3 is ready." in result.stdout
    assert "stable moved to the new version" in result.stdout
    assert "upload" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "source", "alias"),
    [
        (["pets"], {}, ""),
        (["pets@2"], {"version": 2}, ""),
        (["pets@stable"], {"alias": "stable"}, ""),
        (["pets", "--alias", "stable"], {"alias": "stable"}, "stable"),
        (["pets@canary", "--alias", "stable"], {"alias": "canary"}, "stable"),
    ],
)
def test_the_name_is_the_version_to_rebase_and_the_option_the_alias_to_move(
    run, server, arguments, source, alias
):
    result = run("rebase", *arguments, "-b", "large", "--no-wait")
    (request,) = server.requests["Rebase"]
    assert settings_of_rebase(request) == tuning.RebaseRequest(
        source={"model": "pets", **source}, alias=alias, backbone="large"
    )
    assert "watch job-1" in result.stderr


def test_a_rebase_as_json_is_one_document_with_the_choice(run, server):
    made = version(3, backbone_selection=choice())
    server.keep(made)
    printed = run("--json", "rebase", "pets", "-b", "auto").stdout
    assert '"backboneSelection"' in printed
    assert '"CANDIDATE_OUTCOME_TRIED"' in printed


def test_a_rebase_needs_a_backbone(run):
    assert "--backbone" in run("rebase", "pets", code=2).stderr
