import json
import webbrowser

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.fake_server import FakeServer, comparison, evaluation, findings, job, promotion, version
from headstart.cli.app import app
from headstart.inputs import tensors
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as predicting


@pytest.fixture
def run(server: FakeServer, monkeypatch):
    """Runs the command against the server, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments, code: int = 0):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"HEADSTART_SERVER": server.target})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def pets(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        (tmp_path / "pets" / label / "1.jpg").write_bytes(label.encode())
    return tmp_path / "pets"


def spec_of(server: FakeServer):
    return server.requests["FineTune"][-1][0].spec


def test_every_setting_of_later_versions_is_an_option(run, server):
    run(
        "fine-tune", "pets", "--parent", "3", "--remove", "cat/1.jpg", "--remove", "cat/2.jpg",
        "--alias", "stable", "--max-drop", "0", "--max-class-drop", "0.2", "--task", "single-label",
        "--discard-examples", "--no-wait",
    )  # fmt: skip

    spec = spec_of(server)
    assert spec.parent_version == 3
    assert [edit.example_id for edit in spec.edits if edit.remove] == ["cat/1.jpg", "cat/2.jpg"]
    assert (spec.promote_if.HasField("max_drop"), spec.promote_if.max_class_drop) == (True, 0.2)
    assert spec.task == input_pb2.TASK_SINGLE_LABEL
    assert spec.discard_examples


def test_examples_are_added_to_a_version_named_by_an_alias(run, server, pets):
    run("fine-tune", "pets", pets, "--parent", "stable", "--no-wait")

    assert spec_of(server).parent_alias == "stable"
    assert not spec_of(server).HasField("promote_if")
    assert len(server.requests["FineTune"][0]) == 2


def test_the_gate_has_its_own_defaults(run, server, pets):
    run("fine-tune", "pets", pets, "--alias", "stable", "--promote-if-not-worse", "--no-wait")

    assert spec_of(server).HasField("promote_if")
    assert not spec_of(server).promote_if.HasField("max_drop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pets"], "is needed without --parent"),
        (["pets", ".", "--promote-if-not-worse"], "name the alias to move"),
        (["pets", ".", "--remove", "x"], "name the version of the example, with --parent"),
        (["pets", ".", "--task", "ranking"], "'single-label', 'multi-label', 'regression'"),
    ],
)
def test_options_that_do_not_go_together_are_rejected(run, monkeypatch, arguments, message):
    monkeypatch.setenv("COLUMNS", "200")

    assert message in run("fine-tune", *arguments, code=2).stderr


@pytest.mark.parametrize(
    ("decision", "reported"),
    [
        ("PROMOTED", "stable moved to the new version (was on 2): The accuracy rises by 4 points."),
        ("KEPT", "stable stays on version 2: The accuracy rises by 4 points."),
    ],
)
def test_a_fine_tune_reports_what_became_of_the_alias(run, server, pets, decision, reported):
    made = version(3, promotion=promotion(decision))
    server.keep(made)
    done = job("SUCCEEDED", version=3, promotion=promotion(decision))
    server.standing["Status"] = tuning.StatusResponse(job=done)

    result = run("fine-tune", "pets", pets, "--alias", "stable")
    assert reported in " ".join(result.stdout.split())
    assert ("predict pets@stable" in result.stderr) is (decision == "KEPT")
    assert ("predict pets IMAGE.jpg" in result.stderr) is (decision == "PROMOTED")
    assert reported in " ".join(run("job", "show", "job-1").stdout.split())


@pytest.mark.parametrize(("decision", "code"), [("PROMOTED", 0), ("KEPT", 5)])
def test_a_required_promotion_has_its_own_exit_code(run, server, pets, decision, code):
    made = version(3, promotion=promotion(decision))
    server.keep(made)
    required = ("--alias", "stable", "--require-promotion")

    result = run("fine-tune", "pets", pets, *required, code=code)
    assert "pets, version 3 is ready." in result.stdout
    assert spec_of(server).HasField("promote_if")
    run("rebase", "pets", "-b", "large", *required, code=code)
    run("fine-tune", "pets", pets, *required, "--no-wait")
    assert "name the alias to move" in run("fine-tune", "pets", pets, required[-1], code=2).stderr


def test_findings_say_what_to_do_first_and_then_name_the_examples(run, server, pets):
    validation = tuning.Validation(
        valid=True,
        example_count=40,
        class_counts={"cat": 20, "dog": 20},
        findings=findings(),
        evaluation=evaluation(),
    )
    server.standing["FineTune"] = tuning.FineTuneResponse(validation=validation)

    lines = run("check", "pets", pets).stdout.splitlines()

    assert lines[0] == "These examples can be used."
    text = "\n".join(lines)
    assert "90.0% (95% interval 77-96%), measured on 40 held-out examples" in text
    assert "75.0% with 10, 87.5% with 20, perhaps 93.8% with 40" in text
    assert "• 1 example looks mislabeled: look at it." in lines
    assert "  cat/3.jpg (cat) looks like dog (87.5%)" in lines
    assert "  cat/1.jpg (cat), dog/2.jpg (dog): nearly equal, with different labels" in lines
    assert "  cat/4.jpg (cat), 2.5 times as far" in lines
    assert lines.index("• 1 example looks mislabeled: look at it.") < lines.index("Labels to look at:")
    assert max(map(len, lines)) <= 80
    document = json.loads(run("check", "pets", pets, "--json").stdout)
    assert document["findings"]["recommendations"][0]["kind"] == "RECOMMENDATION_KIND_LABEL_ISSUES"


def test_an_evaluation_begins_with_the_verdict(run, server, pets):
    result = run("version", "evaluate", "pets@stable", pets)

    lines = result.stdout.splitlines()
    assert lines[0] == "pets, version 3: 90.0% right (95% interval 77-96%) on 40 examples"
    assert ["cat", "20", "95.0%", "90.0%", "92.0%", "95.0%"] in [line.split() for line in lines]
    assert "  dog for cat: 3" in lines
    assert "  dog/7.jpg is dog, predicted cat, 3.1% for the truth" in lines
    assert max(map(len, lines)) <= 80
    assert server.requests["Evaluate"][0][0].spec.target.alias == "stable"
    assert "upload: 2 of 2 examples" in result.stderr
    document = json.loads(run("version", "evaluate", "pets@3", pets, "--json").stdout)
    assert document["evaluation"]["metrics"]["accuracy"] == 0.9


def test_an_evaluation_on_training_examples_says_so(run, server, pets):
    server.standing["Evaluate"] = evaluating.EvaluateResponse(
        model="pets", version=3, evaluation=evaluation(), trained_count=40
    )
    output = " ".join(run("version", "evaluate", "pets", pets).stdout.split())
    assert "This version was trained on 40 examples of these" in output
    assert "headstart version report pets@3" in output


@pytest.mark.parametrize(("count", "code"), [(40, 6), (0, 1)])
def test_an_evaluation_with_unusable_examples_has_a_different_exit_code(run, server, pets, count, code):
    fault = {"index": 1, "example_id": "dog/1.jpg", "message": "Expected an image."}
    found = evaluation()
    found.metrics.example_count = count
    server.standing["Evaluate"] = evaluating.EvaluateResponse(
        model="pets", version=3, evaluation=found, faults=[fault], fault_count=1
    )
    assert "dog/1.jpg" in run("version", "evaluate", "pets", pets, code=code).stdout


def test_an_evaluation_of_numbers_has_its_own_figures(run, server, pets):
    metrics = {
        "mean_absolute_error": 0.25,
        "root_mean_squared_error": 0.5,
        "r_squared": 0.75,
        "example_count": 1,
    }
    found = evaluation(metrics=metrics, interval_coverage=0.875)
    del found.classes[:], found.confused[:], found.worst[:], found.reliability[:]
    found.worst.add(example={"index": 4, "label": {"number": 3.5}}, predicted={"number": 5}, loss=1.5)
    server.standing["Evaluate"] = evaluating.EvaluateResponse(model="ages", version=1, evaluation=found)

    lines = run("version", "evaluate", "ages", pets).stdout.splitlines()

    assert lines[0] == "ages, version 1: mean absolute error 0.25 on 1 example"
    assert ["R", "squared", "0.75"] in [line.split() for line in lines]
    assert "  example 4 is 3.5, predicted 5" in lines
    assert "accuracy" not in "".join(lines)


def test_with_many_classes_the_worst_predicted_ones_are_listed(run, server, pets):
    found = evaluation()
    del found.classes[:]
    for number in range(100):
        found.classes.add(name=f"class {number}", support=5, f1=number / 100)
    server.standing["Evaluate"] = evaluating.EvaluateResponse(model="m", version=1, evaluation=found)

    output = run("version", "evaluate", "m", pets).stdout

    assert "class 29" in output
    assert "class 30" not in output
    assert "the 30 classes with the lowest F1 of 100; --json has all" in output


def test_a_comparison_begins_with_the_verdict(run, server):
    lines = run("version", "compare", "pets@1", "pets@2").stdout.splitlines()

    words = [line.split() for line in lines]
    assert lines[0] == "The second is better, by more than chance."
    assert ["accuracy", "90.0%", "94.0%"] in words
    assert ["cat", "100", "95.0%", "90.0%"] in words
    assert "+4.0 points (95% interval +1.0 to +7.0)" in "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert json.loads(run("version", "compare", "pets@1", "pets@2", "--json").stdout)["comparison"][
        "significant"
    ]


def test_a_comparison_on_training_examples_says_so(run, server, pets):
    names = [{"model": "pets", "version": number} for number in (1, 2)]
    server.standing["Compare"] = evaluating.CompareResponse(
        first=names[0], second=names[1], comparison=comparison(), second_trained_count=40
    )
    output = " ".join(run("version", "compare", "pets@1", "pets@2", pets).stdout.split())
    assert "pets@2 was trained on 40 examples of these, so its figures are better" in output
    assert "pets@1 was trained" not in output


def test_a_comparison_of_numbers_has_no_points(run, server, pets):
    figures = {"mean_absolute_error": 0.5}
    found = comparison(first=figures, second=figures, difference=0.25, only_first_right=0, classes=[])
    server.standing["Compare"] = evaluating.CompareResponse(comparison=found)

    output = run("version", "compare", "ages@1", "ages@2", pets).stdout

    assert "+0.25 (95% interval +0.01 to +0.07)" in output
    assert "points" not in output
    assert "is right" not in output


def test_a_report_is_text_in_the_terminal(run, server):
    assert run("version", "report", "pets@2").stdout == "pets, version 3: 95 % right\n"
    assert server.requests["GetReport"][0].target.version == 2
    assert json.loads(run("version", "report", "pets", "--json").stdout) == {"model": "pets"}
    assert run("version", "report", "pets", "--format", "html").stdout.startswith("<!doctype html>")


def test_a_report_is_opened_in_the_browser(run, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    output = run("version", "report", "pets", "--open").stdout

    (uri,) = opened
    assert uri.startswith("file:///")
    assert uri.endswith("/pets-3.html")
    assert "pets, version 3: written to " in output


@pytest.mark.parametrize(
    ("name", "begins"),
    [("r.html", "<!doctype"), ("r.json", "{"), ("r.txt", "pets, "), ("r", "<!doctype")],
)
def test_a_report_is_written_to_a_file_in_the_form_of_its_name(run, tmp_path, name, begins):
    run("version", "report", "pets", "--output", tmp_path / name)

    assert (tmp_path / name).read_text().startswith(begins)


def test_only_a_page_can_be_opened(run):
    assert (
        "only html can be opened"
        in run("version", "report", "pets", "--open", "--format", "text", code=2).stderr
    )


def predicted(task: str, prediction: predicting.Prediction) -> predicting.PredictResponse:
    result = predicting.VersionPredictions(model="pets", version=3, task=task, predictions=[prediction])
    return predicting.PredictResponse(results=[result])


def test_an_unknown_input_is_reported_with_its_typicality(run, server, pets):
    prediction = predicting.Prediction(
        classes=[{"name": "cat", "probability": 0.5, "selected": True}],
        abstained=True,
        abstention_reason="ABSTENTION_REASON_UNLIKE_TRAINING",
        typicality=0.004,
        neighbors=[
            {
                "example": {"example_id": "cat/1.jpg", "label": {"class_name": "cat"}},
                "distance": 0.25,
            },
            {"example": {"index": 7, "label": {"class_name": "dog"}}, "distance": 0.5},
        ],
    )
    server.standing["Predict"] = predicted("TASK_SINGLE_LABEL", prediction)
    image = pets / "cat" / "1.jpg"

    output = run("predict", "pets", image, "--abstain", "--neighbors", 2).stdout

    assert "unknown:" in output
    assert "0.4%" in output
    assert "  0.250  cat (cat/1.jpg)\n  0.500  dog (example 7)" in output
    request = server.requests["Predict"][0]
    assert request.HasField("abstention")
    assert not request.abstention.HasField("false_alarm_rate")
    assert request.neighbors == 2


def test_abstaining_has_settings(run, server, pets):
    image = pets / "cat" / "1.jpg"
    run("predict", "pets", image, "--abstain-rate", "0.01")
    run("predict", "pets", image, "--min-probability", "0.75")
    run("predict", "pets", image)

    rate, least, never = server.requests["Predict"]
    assert rate.abstention.false_alarm_rate == 0.01
    assert (least.abstention.HasField("false_alarm_rate"), least.abstention.false_alarm_rate) == (True, 0)
    assert least.abstention.min_probability == 0.75
    assert not never.HasField("abstention")


def test_what_speaks_for_an_answer_is_written_as_an_image(run, server, pets, tmp_path):
    shown = predicting.Saliency(map=tensors.encode(np.eye(2)), class_name="cat", overlay=b"PNG")
    prediction = predicting.Prediction(classes=[{"name": "cat", "probability": 0.5}], saliency=shown)
    server.standing["Predict"] = predicted("TASK_SINGLE_LABEL", prediction)
    image, file = pets / "cat" / "1.jpg", tmp_path / "map.png"

    result = run("predict", "pets", image, "--saliency", file, "--saliency-class", "dog", "--json")

    assert file.read_bytes() == b"PNG"
    assert str(file) in "".join(result.stderr.split())
    assert server.requests["Predict"][0].saliency.class_name == "dog"
    (prediction,) = json.loads(result.stdout)["results"][0]["predictions"]
    assert prediction["saliency"]["map"]["shape"] == ["2", "2"]
    assert prediction["saliency"]["overlay"] == ""
    assert "needs the file" in run("predict", "pets", image, "--saliency-class", "x", code=2).stderr


def test_several_images_have_numbers(run, server, pets, tmp_path):
    shown = predicting.Saliency(map=tensors.encode(np.eye(2)), overlay=b"PNG")
    prediction = predicting.Prediction(classes=[{"name": "cat", "probability": 0.5}], saliency=shown)
    answer = predicted("TASK_SINGLE_LABEL", prediction)
    answer.results[0].predictions.append(prediction)
    server.standing["Predict"] = answer

    run("predict", "pets", pets / "cat" / "1.jpg", pets / "dog" / "1.jpg", "--saliency", tmp_path / "m.png")

    assert sorted(path.name for path in tmp_path.glob("m-*.png")) == ["m-1.png", "m-2.png"]


def test_several_classes_and_numbers_have_tables_of_their_own(run, server, pets):
    image = pets / "cat" / "1.jpg"
    classes = [
        {"name": "red", "probability": 0.9, "selected": True},
        {"name": "big", "probability": 0.2},
    ]
    server.standing["Predict"] = predicted(
        "TASK_MULTI_LABEL",
        predicting.Prediction(label={"classes": {"class_names": ["red"]}}, classes=classes),
    )
    assert "red 90.0%" in run("predict", "pets", image).stdout
    document = json.loads(run("predict", "pets", image, "--json").stdout)
    (prediction,) = document["results"][0]["predictions"]
    assert prediction["label"] == {"classes": {"classNames": ["red"]}}

    number = predicting.Prediction(label={"number": 2.5}, interval_low=2, interval_high=3)
    server.standing["Predict"] = predicted("TASK_REGRESSION", number)
    assert "2 to 3" in run("predict", "ages", image).stdout
    document = json.loads(run("predict", "ages", image, "--json").stdout)
    assert document["results"][0]["predictions"][0]["label"] == {"number": 2.5}


def test_a_saliency_file_that_is_no_png_is_refused_before_the_call(run, server, pets):
    result = run("predict", "pets", pets / "cat" / "1.jpg", "--saliency", "map.jpg", code=2)

    assert "must end in .png" in result.stderr
    assert "Predict" not in server.requests
