import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.rpc import status_pb2
from typer.testing import CliRunner

import headstart
from contract.fake_server import (
    FakeServer,
    Fault,
    event,
    job,
    predicted,
    predicted_unless_bad,
    rebuilt_response,
    version,
)
from headstart.cli.app import app
from headstart.cli.training import trying
from headstart.inputs import tensors
from headstart.protojson import to_dict
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import job_pb2, model_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting

COMMAND = [sys.executable, "-c", "from headstart.cli import main; main()"]


@pytest.fixture
def run(server: FakeServer):
    """Runs the command against the server."""

    def run(*arguments, code: int = 0):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"HEADSTART_SERVER": server.target})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def pets(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for n in range(2):
            (tmp_path / "pets" / label / f"{n}.jpg").write_bytes(f"{label}{n}".encode())
    return tmp_path / "pets"


STEP_DURATIONS = {"features": Duration(seconds=1, nanos=500_000_000), "fit": Duration(nanos=20_000_000)}


def test_a_fine_tune_shows_its_way_and_then_the_version(run, server, pets):
    finished = job(
        "SUCCEEDED",
        version=3,
        last_event=3,
        step_durations=STEP_DURATIONS,
    )
    server.standing["Status"] = tuning.StatusResponse(job=finished)

    result = run("fine-tune", "pets", pets)

    assert "pets, version 3 is ready." in result.stdout
    assert "95.0% (95% interval 84-99%), measured out of fold on 40 examples" in result.stdout
    assert "features 1.5 s, fit 0.02 s" in result.stdout
    assert "upload: 4 of 4 examples\nqueued\nfit\nsucceeded\n" in result.stderr
    assert "Try it: headstart predict pets IMAGE.jpg" in result.stderr


def test_a_hint_names_the_server_of_the_flag_and_the_alias_of_the_version(run, server, pets):
    spec = job_pb2.FineTuneSpec(model="pets", alias="stable")
    server.standing["Status"] = tuning.StatusResponse(
        job=job("SUCCEEDED", version=3, last_event=3, spec=spec)
    )
    other = server.target.replace("127.0.0.1", "localhost")

    result = run("--server", other, "fine-tune", "pets", pets, "--alias", "stable")

    assert f"Try it: headstart --server {other} predict pets@stable IMAGE.jpg" in result.stderr


def test_a_fine_tune_shows_what_was_found_in_its_examples(run, server, pets):
    server.standing["Status"] = tuning.StatusResponse(job=job("SUCCEEDED", version=3, last_event=3))

    result = run("fine-tune", "pets", pets)

    lines = result.stdout.splitlines()
    start = lines.index("Found in the examples:")
    assert lines[start + 1 : start + 3] == [
        "• 1 example looks mislabeled: look at it.",
        "  cat/3.jpg (cat) looks like dog (87.5%)",
    ]
    assert "More: headstart version report pets@3" in result.stderr
    assert "Found" not in run("fine-tune", "pets", pets, "--json").stdout
    server.standing["GetEvaluation"] = Fault(code=grpc.StatusCode.NOT_FOUND)
    assert "Found" not in run("fine-tune", "pets", pets).stdout


def test_a_corrected_label_next_to_the_old_one_gets_the_advice_to_remove_that(run, server, pets):
    failed = job("FAILED", last_event=3)
    failed.error.CopyFrom(
        Fault(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message="Expected one label.",
            reason="CONTRADICTING_LABELS",
        ).status()
    )
    server.standing["Status"] = tuning.StatusResponse(job=failed)
    result = run("fine-tune", "pets", pets, "--parent", "1", code=1)
    assert "leave out the old example: --remove ID" in result.stderr


def test_files_that_are_skipped_in_a_folder_are_named(run, pets):
    (pets / "cat" / "notes.txt").write_text("notes")
    result = run("fine-tune", "pets", pets)
    assert f"warning: {pets}: skipped 1 file that is no image: cat/notes.txt\n" in result.stderr


@pytest.mark.parametrize(
    ("modality", "arguments"),
    [("TEXT", "--text 'Some words.'"), ("TENSOR", "ROWS.csv"), ("IMAGE", "IMAGE.jpg")],
)
def test_what_to_try_is_of_the_kind_that_the_version_takes(run, server, pets, modality, arguments):
    backbone = version(3).lineage.backbone
    server.standing["Status"] = tuning.StatusResponse(job=job("SUCCEEDED", version=3, last_event=3))
    server.standing["ListBackbones"] = keeping.ListBackbonesResponse(
        backbones=[model_pb2.Backbone(backbone=backbone, modality=f"MODALITY_{modality}")]
    )

    assert run("fine-tune", "pets", pets).stderr.rstrip().endswith(f"predict pets {arguments}")


def test_every_setting_of_a_fine_tune_is_an_option(run, server, pets):
    run(
        "fine-tune", "pets", pets, "--backbone", "b", "--held-out-fraction", "0.2", "--seed", "7",
        "--display-name", "Pets", "--tag", "team=vision", "--tag", "a=b=c", "--alias", "stable",
        "--ttl", "1.5h", "--max-excluded-fraction", "0.1", "--request-id", "r", "--set", "views=taps",
        "--set", "regularization=0.5", "--set", "temperature=2", "--set", "folds=3", "--priority", "-3",
        "--no-wait",
    )  # fmt: skip

    spec = server.requests["FineTune"][0][0].spec
    ridge = job_pb2.RidgeRecipe(regularization=0.5, temperature=2, folds=3, view="taps")
    expected = job_pb2.FineTuneSpec(
        model="pets", backbone="b", recipe=job_pb2.Recipe(ridge=ridge), held_out_fraction=0.2, seed=7,
        display_name="Pets", tags={"team": "vision", "a": "b=c"}, alias="stable", max_excluded_fraction=0.1,
        request_id="r", priority=-3,
    )  # fmt: skip
    expected.ttl.seconds = 5400
    assert spec == expected


def test_every_setting_of_a_logistic_recipe_is_an_option(run, server, pets):
    run(
        "fine-tune", "pets", pets, "--recipe", "logistic", "--set", "views=taps,last", "--no-wait",
        "--set", "scaling=standard", "--set", "balanced=false", "--set", "time-budget=1.5m", "--set",
        "regularization=0.01",
    )  # fmt: skip

    logistic = job_pb2.LogisticRecipe(
        regularization=0.01,
        views=["taps", "last"],
        scaling=job_pb2.FEATURE_SCALING_STANDARD,
        balanced=False,
    )
    logistic.time_budget.seconds = 90
    assert server.requests["FineTune"][0][0].spec.recipe == job_pb2.Recipe(logistic=logistic)


def test_a_time_budget_alone_means_logistic_and_several_views_ridge(run, server, pets):
    run("fine-tune", "pets", pets, "--set", "time_budget=5s", "--no-wait")
    run("fine-tune", "pets", pets, "--set", "views=taps,last", "--set", "balanced=yes", "--no-wait")

    recipes = [messages[0].spec.recipe for messages in server.requests["FineTune"]]
    assert recipes[0].logistic.time_budget.seconds == 5
    assert recipes[1] == job_pb2.Recipe(ridge=job_pb2.RidgeRecipe(views=["taps", "last"], balanced=True))


def test_without_waiting_it_says_how_to_follow_the_job(run, server, pets):
    server.standing["Status"] = tuning.StatusResponse(job=job("QUEUED", queue_position=2))

    result = run("fine-tune", "pets", pets, "--no-wait")

    assert "job-1" in result.stdout
    assert "queued" in result.stdout
    assert "watch job-1" in result.stderr
    assert not server.requests["Watch"]


@pytest.mark.parametrize("command", [["fine-tune", "pets", "FOLDER"], ["rebase", "pets@2", "-b", "other"]])
def test_an_accepted_job_is_named_if_its_status_is_refused(run, server, pets, command):
    server.script("Status", Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="RATE_EXCEEDED"))

    result = run(*[pets if each == "FOLDER" else each for each in command], "--no-wait", code=1)

    assert "The server accepted the job. Watch it: " in result.stderr
    assert "job watch job-1" in result.stderr


def test_a_uri_is_left_to_the_server_to_read(run, server):
    run("fine-tune", "pets", "s3://bucket/pets/labels.csv", "--no-wait")
    result = run("fine-tune", "pets", "s3://b/a.csv", "--text-column", "t", code=2)

    (first, *others), *further = server.requests["FineTune"]
    assert first.spec.dataset_uri == "s3://bucket/pets/labels.csv"
    assert not others
    assert not further
    assert "a file of this machine" in " ".join(result.stderr.replace("│", " ").split())


def test_a_fine_tune_as_json_is_one_document(run, pets):
    document = json.loads(run("fine-tune", "pets", pets, "--json").stdout)

    assert document["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert document["job"]["createTime"] == "2023-11-14T22:13:20Z"
    assert document["version"]["metrics"]["accuracy"] == 0.95
    assert "ridge" in document["version"]["lineage"]["recipe"]


def test_a_failed_job_is_reported_in_a_line(run, server, pets):
    error = status_pb2.Status(code=3, message="Example 3 (dog/1.jpg): no image.")
    server.standing["Status"] = tuning.StatusResponse(job=job("FAILED", error=error))

    result = run("fine-tune", "pets", pets, code=1)

    assert result.stderr.endswith(
        "error: The job failed: Example 3 (dog/1.jpg): no image. (INVALID_ARGUMENT)\n"
    )
    assert "Traceback" not in result.output


def test_validation_shows_the_findings_and_fails_if_they_stop_a_fine_tune(run, server, pets):
    validation = tuning.Validation(
        valid=False,
        example_count=4,
        class_counts={"cat": 2, "dog": 2},
        faults=[{"index": 1, "example_id": "cat/1.jpg", "message": "no image"}],
        fault_count=3,
        warnings=["Few examples."],
        message="3 examples cannot be used.",
    )
    server.standing["FineTune"] = tuning.FineTuneResponse(validation=validation)

    result = run("check", "pets", pets, code=1)

    assert "Not usable: 3 examples cannot be used." in result.stdout
    assert "  example 1 (cat/1.jpg):\n    no image" in result.stdout
    assert "\n  and 2 more\nCorrect them, or exclude them with --max-excluded-fraction" in result.stdout
    assert "warning: Few examples." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "nowhere"], "No such folder or file: nowhere"),
        (["m", ".", "--tag", "x"], "expected KEY=VALUE. Received: x"),
        (["m", ".", "--ttl", "soon"], "expected a number with s, m, h or d. Received: soon"),
        (["m", ".", "--recipe", "auto", "--set", "folds=3"], "Name another recipe, such as --recipe ridge"),
        (
            ["m", ".", "--recipe", "ridge", "--set", "time_budget=3s"],
            "ridge does not have the setting time_budget; logistic, mlp, partial do",
        ),
        (["m", ".", "--recipe", "mlp", "--set", "blocks=2"], "blocks; partial does"),
        (["m", ".", "--set", "blocks=2", "--set", "dropout=0.1"], "no recipe has all of blocks, dropout"),
        (["m", ".", "--set", "time_budget=soon"], "expected a number with s, m, h or d. Received: soon"),
        (["m", ".", "--set", "fold=3"], "no recipe has the setting fold. Did you mean folds?"),
        (["m", ".", "--set", "x=3"], "no recipe has the setting x. The settings are regularization, temper"),
        (["m", ".", "--set", "folds"], "expected NAME=VALUE, such as folds=5. Received: folds"),
        (["m", ".", "--set", "folds=2.5"], "folds must be a whole number. Received: '2.5'"),
        (["m", ".", "--set", "dropout=a"], "dropout must be a number. Received: 'a'"),
        (["m", ".", "--set", "balanced=perhaps"], "balanced must be true or false. Received: 'perhaps'"),
        (["m", ".", "--set", "scaling=log"], "scaling must be one of unit, root, standard. Received: 'log'"),
        (["m", ".", "--set", "views=last,,taps"], "views must be names with commas between them"),
        (["m", ".", "--set", "folds=3", "--set", "folds=4"], "folds is set twice. Give it once"),
        (["m", ".", "--held-out-fraction", "2"], "--held-out-fraction"),
        ([], "MODEL"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_was_expected(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    assert message in run("fine-tune", *arguments, code=2).stderr


def test_predictions_are_a_table(run, pets, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    output = run("predict", "pets", pets / "cat" / "0.jpg", pets / "dog" / "1.jpg", "--top-k", "2").stdout

    rows = [line.split() for line in output.splitlines()]
    assert ["input", "class", "probability", "others"] in rows
    assert [str(pets / "dog" / "1.jpg"), "dog1", "75.0%", "other", "25.0%"] in rows
    assert "pets, version 3" in output


def test_predictions_as_json_are_the_response_and_the_names_of_the_inputs(run, server, pets):
    path = pets / "cat" / "0.jpg"

    document = json.loads(run("predict", "pets@stable", path, "--json").stdout)

    response = predicted(server.requests["Predict"][0])
    response.ClearField("times")
    assert document.pop("inputs") == [str(path)]
    assert document == to_dict(response)
    assert document["results"][0]["predictions"][0]["label"] == {"className": "cat0"}


def test_texts_may_be_given_as_they_are(run, server):
    run("predict", "reviews", "--text", "very nice", "awful")

    assert [each.text for each in server.requests["Predict"][0].inputs] == ["very nice", "awful"]


def test_a_truncated_text_is_reported_below_the_table(run, server):
    def cut(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.results[0].predictions[1].truncation.kept_characters = 1200
        response.results[0].predictions[1].truncation.characters = 34567
        return response

    server.standing["Predict"] = cut
    output = run("predict", "reviews", "--text", "short", "long").stdout

    assert "Of long the first 1,200 of 34,567 characters were read." in output
    assert "Of short" not in output


def test_each_row_of_a_file_of_features_is_an_input(run, server, tmp_path):
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "f.npz", features=features)
    document = json.loads(run("predict", "rows", tmp_path / "f.npz", "--json").stdout)

    assert document["inputs"] == [f"{tmp_path}/f.npz[{n}]" for n in range(3)]
    assert len(document["results"][0]["predictions"]) == 3
    sent = [tensors.decode(each.tensor) for each in server.requests["Predict"][0].inputs]
    assert np.array_equal(np.stack(sent), features)


def test_columns_of_other_names_are_learned_from_and_measured_on(run, server, tmp_path):
    path = tmp_path / "reviews.tsv"
    path.write_text("review\tverdict\nfine\tgood\npoor\tbad\n")
    columns = ("--text-column", "review", "--label-column", "verdict")
    run("fine-tune", "reviews", path, "--no-wait", *columns)
    run("version", "evaluate", "reviews", path, *columns)

    for method in ("FineTune", "Evaluate"):
        (sent,) = [list(each.examples.examples) for each in server.requests[method][0][1:]]
        assert [(each.input.text, each.label.class_name) for each in sent] == [
            ("fine", "good"),
            ("poor", "bad"),
        ]


def test_columns_can_be_named_of_a_list_only(run, pets):
    said = run("fine-tune", "pets", pets, "--text-column", "review", code=2).stderr
    assert "--text-column" in said
    assert ".csv" in said


def test_a_file_that_is_not_there_is_named(run):
    assert "nowhere.jpg" in run("predict", "pets", "nowhere.jpg", code=2).stderr


def test_features_are_written_to_a_file(run, server, pets, tmp_path):
    server.standing["Embed"] = lambda request: predicting.EmbedResponse(
        features=predicting.Features(
            views={view: tensors.encode(np.ones((1, 4), "f4")) for view in request.views}
        )
    )
    target = tmp_path / "features.out"

    output = run("embed", pets / "cat" / "0.jpg", "--view", "last", "--view", "taps", "-o", target).stdout

    assert "last: 1 input, 4 numbers each" in output
    assert np.load(target)["taps"].tolist() == [[1, 1, 1, 1]]
    document = json.loads(run("embed", pets / "cat" / "0.jpg", "--json").stdout)
    assert document.pop("inputs") == [str(pets / "cat" / "0.jpg")]
    response = ParseDict(document, predicting.EmbedResponse())
    assert tensors.decode(response.features.views["last"]).tolist() == [[1, 1, 1, 1]]


def test_features_of_many_inputs_are_one_document(run, server):
    def embedded(request):
        rows = np.array([[len(each.text)] for each in request.inputs], "f4")
        features = predicting.Features(backbone="text", views={"last": tensors.encode(rows)})
        truncated = {len(request.inputs) - 1: predicting.Truncation(kept_characters=1, characters=2)}
        return predicting.EmbedResponse(features=features, truncation=truncated)

    server.standing["Embed"] = embedded
    texts = ["a" * (1 + number % 7) for number in range(600)]

    document = json.loads(run("embed", "--text", *texts, "--json").stdout)

    assert [len(each.inputs) for each in server.requests["Embed"]] == [256, 256, 88]
    assert document.pop("inputs") == texts
    response = ParseDict(document, predicting.EmbedResponse())
    assert tensors.decode(response.features.views["last"])[:, 0].tolist() == [len(each) for each in texts]
    assert sorted(response.truncation) == [255, 511, 599]
    assert response.features.backbone == "text"


def test_an_export_as_json_is_its_header_and_its_path(run, server, tmp_path):
    content = b"network"
    header = keeping.ExportHeader(model="pets", version=3, format="EXPORT_FORMAT_ONNX")
    header.files.add(name="pets.onnx", size_bytes=7, sha256=hashlib.sha256(content).hexdigest())
    server.standing["ExportVersion"] = [
        keeping.ExportVersionResponse(),
        keeping.ExportVersionResponse(header=header),
        keeping.ExportVersionResponse(chunk={"content": content}),
    ]
    path = tmp_path / "pets.onnx"

    shown = run("version", "export", "pets", "--format", "onnx", "--output", path, "--json").stdout

    document = json.loads(shown)
    assert document.pop("path") == str(path)
    assert document == to_dict(header)
    assert path.read_bytes() == content


def test_a_status_reports_why_a_job_failed(run, server):
    error = status_pb2.Status(code=13, message="It broke.")
    server.standing["Status"] = tuning.StatusResponse(job=job("FAILED", error=error))

    assert "It broke. (INTERNAL)" in run("job", "show", "job-1").stdout


def test_monitoring_as_json_is_a_line_for_each_event(run):
    lines = run("--json", "job", "watch", "job-1").stdout.splitlines()

    assert [json.loads(line)["event"]["number"] for line in lines] == ["1", "2", "3"]


def test_monitoring_a_job_that_fails_ends_with_1(run, server):
    error = status_pb2.Status(code=13, message="It broke.")
    server.standing["Watch"] = [event(1, step="FEATURES", done=5, total=9), event(2, "FAILED")]
    server.standing["Status"] = tuning.StatusResponse(job=job("FAILED", error=error))

    result = run("job", "watch", "job-1", code=1)

    assert "features, 5 of 9" in result.stdout
    assert "It broke." in result.stderr


def test_jobs_are_a_table_of_the_newest(run, server):
    jobs = [
        job("RUNNING", job_id=f"j{n}", progress={"step": "JOB_STEP_FIT", "fraction": 0.5}) for n in range(9)
    ]
    server.standing["ListJobs"] = tuning.ListJobsResponse(jobs=jobs)

    output = run("job", "list", "pets", "--state", "running", "--limit", "3").stdout

    assert "j2" in output
    assert "j3" not in output
    assert "fit 50%" in output
    assert list(server.requests["ListJobs"][0].states) == [job_pb2.JOB_STATE_RUNNING]


def test_an_unknown_state_names_those_there_are(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    assert (
        "queued, running, succeeded, failed, cancelled"
        in run("job", "list", "--state", "done", code=2).stderr
    )


def test_a_job_is_cancelled(run):
    assert "cancelled" in run("job", "cancel", "job-1").stdout


def test_a_model_shows_its_versions_and_aliases(run, server):
    server.standing["ListVersions"].versions.append(version(0, aliases=["canary"]))

    output = run("model", "show", "pets").stdout

    assert "stable → 2" in output
    assert "95.0% (84-99)" in output
    assert "canary" in output


def test_models_are_a_table_and_backbones_a_list(run, server):
    assert "pets" in run("model", "list").stdout
    assert "Stored in all: 3 versions, 5.0 MiB of 10.0 MiB\n" in run("model", "list").stdout
    output = run("backbone", "list").stdout
    assert "efficientnet-lite0 (default, ready)\n" in output
    assert "openvino bfloat16" in output
    assert "image 224 x 224" in output
    assert "last 1280, taps 528" in output


def test_an_alias_is_moved_or_removed(run, server):
    assert "pets@stable is version 2 now." in run("alias", "set", "pets", "stable", 2).stdout
    assert run("alias", "delete", "pets", "stable").stdout == "Deleted alias stable of model pets.\n"
    assert server.requests["DeleteAlias"][0].alias == "stable"
    run("alias", "set", "pets", "stable", code=2)


def test_an_alias_gives_other_versions_a_share(run, server):
    output = run("alias", "set", "pets", "stable", 2, "--traffic", "3=5%", "--traffic", "4=0.125").stdout

    assert "pets@stable is version 2 now. Traffic: 5% → 3, 12.5% → 4." in output
    (request,) = server.requests["SetAlias"]
    assert [(each.version, each.fraction) for each in request.traffic] == [(3, 0.05), (4, 0.125)]
    twice = run("alias", "set", "pets", "stable", 2, "--traffic", "3=5%", "--traffic", "3=6%", code=2)
    assert "version 3 twice" in twice.stderr
    alias = model_pb2.Alias(alias="stable", version=2, traffic=request.traffic)
    server.standing["GetModel"].model.aliases[0].CopyFrom(alias)
    assert "stable → 2 (5% → 3, 12.5% → 4)" in run("model", "show", "pets").stdout
    document = json.loads(run("alias", "set", "pets", "stable", 2, "--traffic", "3=5%", "--json").stdout)
    assert document["alias"]["version"] == "2"
    assert "such as 8=5%" in run("alias", "set", "pets", "stable", 2, "--traffic", "3", code=2).stderr


def test_nothing_is_deleted_unless_somebody_confirms_it(run, server):
    result = run("model", "delete", "pets", code=2)

    assert "Confirm it with --yes" in result.stderr
    assert not server.requests["DeleteModel"]
    assert "Deleted model pets with all its versions." in run("model", "delete", "pets", "--yes").stdout
    assert run("version", "delete", "pets@2", "--force", "-y").stdout == "Deleted version 2 of model pets.\n"
    assert server.requests["DeleteVersion"][0].force


def test_the_data_of_an_example_is_deleted_and_the_versions_trained_on_it_are_named(run, server):
    assert "Confirm it with --yes" in run("example", "erase", "-", "cat-17", code=2).stderr
    assert not server.requests["EraseExample"]
    said = run("example", "erase", "pets", "cat-17", "--yes").stdout
    assert "Deleted 2 contents of example cat-17" in said
    assert "pets@2, pets@3" in said
    assert "old@1" in said
    assert "job-9" in said
    request = server.requests["EraseExample"][0]
    assert (request.example_id, request.model) == ("cat-17", "pets")
    assert json.loads(run("example", "erase", "-", "cat-17", "-y", "--json").stdout)["deletedContents"] == "2"


def test_an_erasure_with_rebuild_prints_what_replaced_each_version_and_its_certificate(run, server):
    server.standing["EraseExample"] = rebuilt_response()

    said = run("example", "erase", "pets", "cat-17", "--rebuild", code=2).stderr
    assert "erase example cat-17 of model pets, and replace every version that was trained on it" in said
    assert not server.requests["EraseExample"]
    said = run("example", "erase", "pets", "cat-17", "--rebuild", "--request-id", "r1", "--yes").stdout
    request = server.requests["EraseExample"][0]
    assert (request.rebuild, request.request_id) == (True, "r1")
    assert "pets@2 was replaced by pets@4, aliases stable." in said
    assert "pets@3 was not replaced. Its examples are not stored." in said
    assert "Certificate: r1. Print it with --json." in said
    assert "delete them to remove what they learned" not in said
    shown = json.loads(run("example", "erase", "pets", "cat-17", "--rebuild", "-y", "--json").stdout)
    assert shown["certificate"]["versions"][0]["newHeadDigest"] == "h4"


@pytest.mark.parametrize(("answer", "deleted"), [(b"y\n", 1), (b"n\n", 0)])
def test_on_a_terminal_it_asks_before_it_deletes(server, answer, deleted):
    server.standing["GetVersion"] = keeping.GetVersionResponse(version=version(2, aliases=["stable"]))
    ours, theirs = pty.openpty()
    arguments = [*COMMAND, "--server", server.target, "version", "delete", "pets@2"]
    with subprocess.Popen(arguments, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.write(ours, answer)
        _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert b"Delete version 2 of model pets with 1 alias (stable)?" in errors
    assert len(server.requests["DeleteVersion"]) == deleted
    assert process.returncode == (0 if deleted else 1)


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (Fault(code=grpc.StatusCode.NOT_FOUND, message="No model pets.", reason="MODEL_NOT_FOUND"), 4,
         "error: No model pets. (MODEL_NOT_FOUND)\nList them with: headstart model list\n"),
        (Fault(code=grpc.StatusCode.INTERNAL, message="Fault 7.", reason="INTERNAL"), 1,
         "error: Fault 7. (INTERNAL)\n"),
        (Fault(code=grpc.StatusCode.UNAVAILABLE, message="Stopping.", reason="DRAINING", retry_after=2), 3,
         "error: Stopping. (DRAINING)\nTry again in 2 s.\n"),
        (Fault(code=grpc.StatusCode.INVALID_ARGUMENT, message="Wrong.", reason="INVALID_FIELD",
               violations={"model": "too long"}), 1, "error: Wrong. (INVALID_FIELD)\nmodel: too long\n"),
    ],
)  # fmt: skip
def test_each_kind_of_failure_has_an_exit_code_and_a_line(run, server, fault, code, message):
    server.standing["DeleteModel"] = fault

    result = run("model", "delete", "pets", "--yes", "--json", code=code)

    assert result.stderr == message.replace("SERVER", server.target)
    assert json.loads(result.stdout) == {
        "error": {"code": fault.code.name, "reason": fault.reason, "message": fault.message}
    }


def test_where_no_server_is_it_says_what_to_do():
    result = CliRunner().invoke(app, ["model", "list", "--server", "127.0.0.1:1", "--timeout=30"])

    assert result.exit_code == 3
    assert result.stderr.startswith("error: No server answers at 127.0.0.1:1")
    assert "`headstart-server serve`" in result.stderr
    assert "needs --tls" in result.stderr
    assert result.stdout == ""


def test_where_no_server_speaks_tls_the_message_names_both_causes():
    flags = ["--server", "127.0.0.1:1", "--timeout=30", "--tls"]
    result = CliRunner().invoke(app, ["model", "list", *flags])

    assert result.exit_code == 3
    assert "needs --cert and --key; one without TLS, a connection without --tls." in result.stderr


def interrupted(server: FakeServer, reached: threading.Event, *arguments: str):
    """Run the command, press Ctrl-C when it has reached a point, and return its process and outputs."""
    # What runs the tests may have it ignored, which children inherit; a shell's child has the usual handler.
    script = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {COMMAND[-1]}"
    command = [*COMMAND[:-1], script, "--server", server.target, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    return process, output, errors


def test_interrupting_leaves_the_job_running_and_says_how_to_come_back(server, pets):
    watching = threading.Event()
    over = threading.Event()

    def hang(_request):
        watching.set()
        over.wait(30)
        return []

    server.standing["Watch"] = hang
    process, output, errors = interrupted(server, watching, "fine-tune", "pets", str(pets))
    over.set()

    assert process.returncode == 130
    assert (
        f"The job continues on the server. Watch it: headstart --server {server.target} job watch job-1"
        in errors
    )
    assert "Traceback" not in errors
    assert output == ""
    assert not server.requests["Cancel"]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("FineTune", ["fine-tune", "pets"]), ("Rebase", ["rebase", "pets@2", "--backbone", "other"])],
)
def test_interrupting_before_the_server_confirms_the_job_says_that_it_may_start(
    server, pets, method, arguments
):
    accepting = threading.Event()

    def accept_late(_request):
        accepting.set()
        server.over(method).wait(60)
        return Fault(code=grpc.StatusCode.INTERNAL)

    server.script(method, accept_late)
    source = [str(pets)] if method == "FineTune" else []
    process, output, errors = interrupted(server, accepting, *arguments, *source)

    (request,) = server.requests[method]
    request_id = request[0].spec.request_id if method == "FineTune" else request.request_id
    assert process.returncode == 130
    assert errors.splitlines()[-2:] == [
        "Interrupted before the server confirmed the job. It may still start. Check with: "
        f"headstart --server {server.target} job list pets",
        "To continue, repeat the command with the same request ID, which starts at most one job: "
        f"--request-id {request_id}",
    ]
    assert output == ""


def test_a_fine_tune_whose_connection_is_lost_can_be_continued_by_its_request_id(run, server, pets):
    server.script("FineTune", *[Fault(code=grpc.StatusCode.UNAVAILABLE)] * 5)

    lost = run("fine-tune", "pets", pets, "--no-wait", code=3)
    request_id = server.requests["FineTune"][0][0].spec.request_id
    run("fine-tune", "pets", pets, "--no-wait", "--request-id", request_id)

    assert "If the server received the request, the job may still start." in lost.stderr
    assert f"--request-id {request_id}\n" in lost.stderr
    assert {messages[0].spec.request_id for messages in server.requests["FineTune"]} == {request_id}


def test_without_its_extra_it_says_how_to_install_it():
    script = "import sys; sys.modules['typer'] = None; from headstart.cli import main; main()"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert process.returncode == 2
    assert process.stderr == "The command `headstart` needs typer and rich: pip install 'headstart[cli]'\n"


def test_live_bars_show_the_upload_and_each_step(server, pets):
    ours, theirs = pty.openpty()
    arguments = [*COMMAND, "--server", server.target, "fine-tune", "pets", str(pets)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    pieces = []

    def read() -> None:
        # One read returns at most 4 KiB. A terminal that no process has open reports EIO.
        with suppress(OSError):
            while piece := os.read(ours, 1 << 16):
                pieces.append(piece)

    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        output, _ = process.communicate(timeout=60)
    reader.join(60)
    os.close(ours)
    shown = b"".join(pieces).decode()

    assert process.returncode == 0
    assert b"version 3 is ready" in output
    assert "upload" in shown
    assert "4 of 4" in shown
    assert "fit" in shown


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_on_a_narrow_terminal_the_id_of_a_job_stays_whole(run, server, narrow):
    job_id = "d59b75513ddd4b73bc140ffdaa540871"
    running = job("RUNNING", job_id=job_id, progress={"step": "JOB_STEP_FEATURES", "fraction": 0.5})
    running.spec.model = "a-model-with-a-long-name"
    server.standing["ListJobs"] = tuning.ListJobsResponse(jobs=[running])

    lines = run("job", "list").stdout.splitlines()

    assert any(job_id in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_on_a_narrow_terminal_a_version_has_one_line(run, server, narrow):
    lines = run("model", "show", "pets").stdout.splitlines()

    assert [line.split()[:7] for line in lines if "95.0" in line] == [
        [str(number), "95.0%", "(84-99)", "by", "folds", "40", "2"] for number in (3, 2, 1)
    ]
    assert max(map(len, lines)) <= 80


def test_on_a_narrow_terminal_backbones_can_be_read(run, narrow):
    lines = run("backbone", "list").stdout.splitlines()

    assert [line.split()[0] for line in lines] == [
        "efficientnet-lite0", "takes", "views", "parameters", "source", "license", "runtime", "description",
    ]  # fmt: skip


def test_a_model_shows_the_titles_labels_and_lifetimes_of_its_versions(run, server):
    kept = version(3, display_name="Nice pets", tags={"team": "a"}, expire_time={"seconds": 1_700_100_000})
    server.keep(kept)

    assert "version 3: Nice pets; team=a; kept until 2023-11-1" in run("model", "show", "pets").stdout


@pytest.mark.parametrize(
    ("source", "counted", "reported"),
    [
        ("HELD_OUT", 6, ["measured on 6 held-out examples"]),
        (
            "OUT_OF_FOLD",
            39,
            ["measured out of fold on 39 examples", "39 of 40 examples counted: a class with"],
        ),
        ("UNSPECIFIED", 0, ["not measured: too few examples"]),
    ],
)
def test_it_reports_on_what_a_version_was_measured(run, server, pets, source, counted, reported):
    made = version(3)
    made.metrics.source = f"METRICS_SOURCE_{source}"
    made.metrics.example_count = counted
    server.keep(made)

    output = run("fine-tune", "pets", pets).stdout

    assert [words for words in reported if words not in output] == []
    assert ("counted" in output) == (source == "OUT_OF_FOLD")


def test_a_job_shows_the_delivery_of_its_webhook(run, server):
    delivery = {"uri": "http://localhost", "state": "WEBHOOK_STATE_PENDING", "attempt_count": 4}
    delivery |= {"error": "localhost has an address that is not public."}
    server.standing["Status"] = tuning.StatusResponse(job=job("SUCCEEDED", webhook=delivery))

    output = " ".join(run("job", "show", "job-1").stdout.split())

    assert "http://localhost pending after 4 tries; localhost has an address that is not public" in output


def test_what_features_took_holds_what_decoding_and_the_backbone_took(run, server):
    times = {
        step: Duration(seconds=count // 1000, nanos=count % 1000 * 1_000_000)
        for step, count in {"decode": 500, "backbone": 900, "features": 1500, "fit": 20}.items()
    }
    server.standing["Status"] = tuning.StatusResponse(job=job("SUCCEEDED", step_durations=times))

    output = " ".join(run("job", "show", "job-1").stdout.split())

    assert "features 1.5 s (in all threads decode 0.5 s, backbone 0.9 s), fit 0.02 s" in output


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", "h:0", "h:65536", "http://h:80", "h:80/x"]
)
def test_an_invalid_address_is_refused_before_anything_is_sent(address):
    result = CliRunner().invoke(app, ["model", "list", "--json", "--server", address])

    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 2
    assert result.stderr == f"error: {error['message']}\n"
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "")
    assert "host:port" in error["message"]
    assert f"Received: {address!r}" in error["message"]


@pytest.mark.parametrize("form", ["{}", "dns:///{}", "ipv4:{}"])
def test_an_address_may_be_a_target_of_grpc(server, form):
    assert CliRunner().invoke(app, ["model", "list", "--server", form.format(server.target)]).exit_code == 0


def test_where_tls_is_not_spoken_it_says_so_without_the_lines_of_grpc_s_core(server):
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    arguments = [*COMMAND, "--server", server.target, "--tls", "model", "list"]
    process = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)

    (line,) = process.stderr.splitlines()
    assert line.startswith(f"error: No server answers at {server.target}: the port has no TLS.")
    assert process.returncode == 3


def test_an_input_at_fault_is_named_by_its_file(run, server, pets):
    server.standing["Predict"] = predicted_unless_bad
    (pets / "cat" / "0.jpg").write_bytes(b"bad")

    result = run("predict", "pets", pets / "cat" / "0.jpg", code=1)

    expected = f"error: {pets / 'cat' / '0.jpg'}: Expected an image. Received: bytes. (UNDECODABLE_INPUT)\n"
    assert result.stderr == expected
    assert "error: bad one: Expected" in run("predict", "pets", "--text", "a", "bad one", code=6).stderr


def test_an_array_s_file_at_fault_is_named(run, tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")

    assert f"error: {tmp_path / 'a.npy'}: " in run("predict", "pets", tmp_path / "a.npy", code=2).stderr


@pytest.mark.parametrize(
    ("name", "selected"), [("pets@stable", ("pets", 0, "stable")), ("pets@2", ("pets", 2, ""))]
)
def test_a_version_may_be_named_with_its_model(run, server, pets, name, selected):
    run("predict", name, pets / "cat" / "0.jpg")

    target = server.requests["Predict"][0].targets[0]
    assert (target.model, target.version, target.alias) == selected


def test_broken_images_come_with_a_way_out(run, server, pets):
    broken = Fault(code=grpc.StatusCode.INVALID_ARGUMENT, message="No image.", reason="UNDECODABLE_INPUT")
    server.standing["Status"] = tuning.StatusResponse(job=job("FAILED", error=broken.status()))

    assert run("fine-tune", "pets", pets, code=1).stderr.endswith(
        "error: The job failed: No image. (UNDECODABLE_INPUT)\n"
        "Leave them out with --max-excluded-fraction 0.2, or list all with headstart check.\n"
    )


def test_a_missing_folder_of_an_output_is_named(run, server, pets, tmp_path):
    for option, name in (("-o", "out.csv"), ("--output", "deep/out.jsonl")):
        said = run("predict", "pets", pets / "cat" / "0.jpg", option, tmp_path / "no" / name, code=2)
        assert said.stderr == f"error: No such folder: {(tmp_path / 'no' / name).parent}\n"


def test_a_trial_of_a_missing_folder_starts_no_server(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trying, "PrivateServer", None)

    said = run("try", tmp_path / "photos", code=2).stderr

    assert said == f"error: No such folder or file: {tmp_path / 'photos'}\n"


@pytest.mark.parametrize(
    ("unusable", "count", "fraction"), [(1, 61, "0.2"), (3, 9, "0.34"), (1000, 2000, "0.5")]
)
def test_the_way_out_suffices_for_the_broken_images(run, server, pets, unusable, count, fraction):
    broken = Fault(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        message="Examples cannot be used.",
        reason="UNDECODABLE_INPUT",
        metadata={"unusable_examples": str(unusable), "examples": str(count)},
    )
    server.standing["Status"] = tuning.StatusResponse(job=job("FAILED", error=broken.status()))

    assert f"with --max-excluded-fraction {fraction}, or" in run("fine-tune", "pets", pets, code=1).stderr


def test_a_missing_version_comes_with_the_way_to_list_them(run, server):
    missing = Fault(
        code=grpc.StatusCode.NOT_FOUND,
        message="Model 'pets' has no version 9.",
        reason="VERSION_NOT_FOUND",
        metadata={"model": "pets", "version": "9"},
    )
    server.standing["SetAlias"] = missing

    said = run("alias", "set", "pets", "stable", 9, code=4).stderr

    assert "List them with: headstart" in said
    assert said.endswith("version list pets\n")


def test_a_missing_file_is_reported_in_plain_words(run, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\nno.jpg,cat\n")

    assert (
        run("predict", "pets", "no.jpg", code=2).stderr
        == "error: No such file (a text needs --text): no.jpg\n"
    )
    for command in ("fine-tune", "predict"):
        said = run(command, "pets", tmp_path / "list.csv", code=2).stderr
        place = f"{tmp_path / 'list.csv'}, line 2"
        assert said.endswith(f"error: {place}: No such file: {tmp_path / 'no.jpg'}\n")


def test_wrong_usage_is_reported_to_programs_too(run):
    result = run("job", "list", "--state", "done", "--json", code=2)

    assert json.loads(result.stdout)["error"]["code"] == "INVALID_ARGUMENT"


def test_a_document_has_no_request_id(run):
    assert json.loads(run("job", "show", "job-1", "--json").stdout)["job"]["spec"]["requestId"] == ""


def test_a_call_without_an_answer_in_time_says_what_to_raise(run, server):
    over = threading.Event()
    server.standing["ListModels"] = lambda _: over.wait(20) and None

    said = run("model", "list", "--timeout", "0.2", code=1).stderr
    over.set()

    assert said == "error: No answer within 0.2 s. Raise --timeout. (DEADLINE_EXCEEDED)\n"


def test_empty_lists_say_so(run, server):
    server.standing["ListModels"] = keeping.ListModelsResponse()
    server.standing["ListJobs"] = tuning.ListJobsResponse()

    assert run("job", "list").stdout == "No jobs.\n"
    assert run("model", "list").stdout.startswith("No models yet. Make one: headstart fine-tune NAME FOLDER")


def test_a_running_job_ends_a_little_after_it_was_cancelled(run, server):
    server.standing["Cancel"] = tuning.CancelResponse(job=job("RUNNING"))

    assert run("job", "cancel", "job-1").stdout == "Cancel accepted; the job ends at its next batch.\n"


@pytest.mark.parametrize("command", [COMMAND, [sys.executable, "-m", "headstart"]])
def test_it_reports_its_version(command):
    process = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)

    assert process.stdout == f"headstart {headstart.__version__}\n"
    assert process.returncode == 0


@pytest.mark.parametrize("view", ["last", "other"])
def test_features_of_a_later_call_without_a_shape_are_an_error(run, server, view):
    def embedded(request):
        rows = np.zeros((len(request.inputs), 1), "f4")
        return predicting.EmbedResponse(features={"views": {"last": tensors.encode(rows)}})

    scalar = tensors.encode(np.zeros((), "f4"))
    server.script("Embed", embedded, predicting.EmbedResponse(features={"views": {view: scalar}}))

    error = run("embed", "--text", *["a"] * 257, "--json", code=1).stderr
    assert "is invalid: " in error
