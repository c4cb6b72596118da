from datetime import timedelta

import grpc
import pytest

from contract.fake_server import (
    UNAVAILABLE,
    FakeServer,
    Fault,
    evaluation,
    findings,
    job,
    promotion,
    reported,
    version,
)
from headstart import (
    Client,
    FailedPrecondition,
    MetricsSource,
    PromotionDecision,
    RecommendationKind,
    Task,
    VersionRef,
)
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_service_pb2 as keeping


def examples_of(messages) -> list:
    return [each for message in messages[1:] for each in message.examples.examples]


def test_a_version_is_measured_on_a_caller_s_examples(client: Client, server: FakeServer):
    reports = []

    result = client.evaluate(
        [(b"1", "cat"), (b"2", "dog")],
        model="pets",
        alias="stable",
        on_upload=lambda *report: reports.append(report),
    )

    messages = server.requests["Evaluate"][0]
    assert messages[0].spec.target.alias == "stable"
    assert [each.label.class_name for each in examples_of(messages)] == ["cat", "dog"]
    assert reports[-1] == (2, 2)
    assert (result.model, result.version) == ("pets", 3)
    assert result.metrics.accuracy == 0.9
    assert result.metrics.calibration_error == 0.02
    assert result.metrics.source is MetricsSource.HELD_OUT
    cat, dog = result.evaluation.classes
    assert (cat.precision, dog.precision) == (0.95, None)
    assert cat.thresholds[0].precision == 0.75
    assert result.evaluation.reliability[0].confidence == 0.625
    assert result.evaluation.confused[0].predicted == "cat"
    assert result.evaluation.worst[0].example.name == "dog/7.jpg"
    assert result.evaluation.worst[0].predicted == "cat"
    assert result.faults == ()


def test_an_evaluation_is_sent_again_where_no_server_answered(client: Client, server: FakeServer):
    server.script("Evaluate", UNAVAILABLE, UNAVAILABLE)

    client.evaluate(iter([(b"1", "cat")]), model="pets")

    assert [len(examples_of(each)) for each in server.requests["Evaluate"]] == [1, 1, 1]


def test_examples_that_cannot_be_measured_on_are_listed(client: Client, server: FakeServer):
    fault = {"index": 1, "reason": "ERROR_REASON_UNDECODABLE_INPUT", "message": "no image"}
    server.standing["Evaluate"] = evaluating.EvaluateResponse(
        model="pets", version=3, evaluation=evaluation(), faults=[fault], fault_count=1
    )

    result = client.evaluate([(b"1", "cat"), (b"2", "dog")], model="pets")

    assert (result.fault_count, result.faults[0].index) == (1, 1)


def test_two_versions_are_compared_on_what_both_know(client: Client, server: FakeServer):
    found = client.compare("pets@1", VersionRef("pets", version=2))

    (messages,) = server.requests["Compare"]
    assert len(messages) == 1
    assert messages[0].spec.first.version == 1
    assert found.first_version == VersionRef("pets", version=1)
    assert (found.first.accuracy, found.second.accuracy) == (0.9, 0.94)
    assert found.first.mean_absolute_error is None
    assert found.significant
    assert found.classes[0].second_recall == 0.9
    (differing,) = found.differing_examples
    assert (differing.example.index, differing.example.name, differing.example.label) == (
        17,
        "cat/7.png",
        "cat",
    )
    assert (differing.first_right, differing.first_label, differing.second_label) == (False, "dog", "cat")
    assert differing.version == VersionRef("pets", version=2)
    assert "by more than chance" in repr(found)


def test_two_versions_are_compared_on_a_caller_s_examples(client: Client, server: FakeServer):
    client.compare("pets@stable", "breeds", {"cat": [b"1"], "dog": [b"2"]})

    (messages,) = server.requests["Compare"]
    assert messages[0].spec.first.alias == "stable"
    assert messages[0].spec.second.WhichOneof("selector") is None
    assert len(examples_of(messages)) == 2


def test_versions_without_a_common_example_cannot_be_compared(client: Client, server: FakeServer):
    server.standing["Compare"] = Fault(
        code=grpc.StatusCode.FAILED_PRECONDITION, reason="NO_COMMON_EXAMPLES", message="None."
    )

    with pytest.raises(FailedPrecondition) as caught:
        client.compare("pets@1", "pets@2")

    assert caught.value.reason == "NO_COMMON_EXAMPLES"


def test_what_was_found_out_when_a_version_was_made_can_be_read(client: Client, server: FakeServer):
    found = client.evaluation("pets", 3)

    assert server.requests["GetEvaluation"][0].target.version == 3
    assert found.version.version == 3
    assert found.evaluation.metrics.accuracy == 0.9
    assert found.evaluation.interval_coverage is None
    group = found.findings.duplicates[0]
    assert ([each.example_id for each in group.examples], group.contradicting) == (
        ["cat/1.jpg", "dog/2.jpg"],
        True,
    )
    assert found.findings.label_issues[0].suggested_probability == 0.875
    assert found.findings.outliers[0].distance_ratio == 2.5
    assert found.findings.learning_curve[-1].extrapolated
    assert found.findings.recommendations[0].kind is RecommendationKind.LABEL_ISSUES
    assert found.findings.estimated_duration == timedelta(seconds=0.5)


def test_of_a_version_of_0_1_nothing_more_is_known(client: Client, server: FakeServer):
    server.standing["GetEvaluation"] = keeping.GetEvaluationResponse(version=version(1))

    found = client.evaluation("pets", alias="old")

    assert (found.evaluation, found.findings) == (None, None)


@pytest.mark.parametrize(
    ("form", "number", "begins"), [("html", 1, "<!doctype html>"), ("json", 2, "{"), ("text", 3, "pets, ")]
)
def test_a_report_comes_in_three_forms(client: Client, server: FakeServer, tmp_path, form, number, begins):
    report = client.report("pets", alias="stable", format=form)

    assert server.requests["GetReport"][0].format == number
    assert report.text.startswith(begins)
    assert (report.model, report.version) == ("pets", 3)
    assert report.save(tmp_path / "report").read_bytes() == report.content


def test_the_facts_of_a_report_in_json_can_be_read(client: Client):
    assert client.report("pets", format="json").json() == {"model": "pets"}
    with pytest.raises(ValueError, match="Only a report of format json"):
        client.report("pets").json()


def test_a_report_has_no_other_forms(client: Client):
    with pytest.raises(ValueError, match=r"format must be one of html, json, text\. Received: 'pdf'"):
        client.report("pets", format="pdf")


def test_a_validation_brings_findings_and_an_estimate(client: Client, server: FakeServer):
    validation = tuning.Validation(valid=True, example_count=2, findings=findings(), evaluation=evaluation())
    server.standing["FineTune"] = tuning.FineTuneResponse(validation=validation)

    found = client.validate([(b"1", "cat"), (b"2", "dog")], model="pets")

    assert found.findings.label_issue_count == 1
    assert found.evaluation.metrics.accuracy == 0.9


def test_a_job_and_its_version_tell_what_became_of_the_alias(client: Client, server: FakeServer):
    done = job("SUCCEEDED", version=3, promotion=promotion("KEPT"), task="TASK_SINGLE_LABEL")
    server.standing["Status"] = tuning.StatusResponse(job=done)
    made = version(3, promotion=promotion("KEPT"), task="TASK_SINGLE_LABEL", has_examples=True)
    server.keep(made)

    status = client.job("job-1").status()
    found = client.job("job-1").result()

    assert status.task is Task.SINGLE_LABEL
    assert status.promotion == found.promotion
    assert found.promotion.decision is PromotionDecision.KEPT
    assert not found.promotion.promoted
    assert found.promotion.comparison.first_version == VersionRef("pets", version=2)
    assert found.promotion.comparison.second_version == VersionRef("pets", version=3)
    assert found.promotion.reasons == ("The accuracy rises by 4 points.",)
    assert found.has_examples


def test_a_version_has_its_task_thresholds_and_parent(client: Client, server: FakeServer):
    made = version(3, task="TASK_MULTI_LABEL", thresholds=[0.25, 0.5])
    made.lineage.MergeFrom(
        type(made.lineage)(parent_version=2, added_example_count=5, removed_example_count=1)
    )
    server.keep(made, version(1))

    newer, older = client.get_model("pets").versions

    assert newer.thresholds == {"cat": 0.25, "dog": 0.5}
    assert newer.lineage.parent_version == 2
    assert (newer.lineage.added_example_count, newer.lineage.removed_example_count) == (5, 1)
    assert (older.task, older.lineage.parent_version, older.thresholds) == (Task.UNSPECIFIED, None, {})
    assert repr(newer) == "Version(pets@3, accuracy 95.0%, 2 classes)"


def test_the_fake_server_s_reports_are_of_each_form():
    assert reported(keeping.GetReportRequest(format="REPORT_FORMAT_TEXT")).media_type.startswith("text/plain")
