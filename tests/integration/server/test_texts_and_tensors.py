"""Texts and features over gRPC, as images: learned from, predicted, embedded, measured and reported."""

from collections.abc import Sequence

import grpc
import numpy as np
import pytest

from benchmarks.reviews import Review, split
from headstart.inputs import tensors
from headstart.v1 import evaluation_pb2, input_pb2, job_pb2, model_service_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import TIMEOUT, Api, digits, refused
from server_process import ServerProcess

# The first use of the text backbone on a machine converts it.
pytestmark = pytest.mark.timeout(300)

MINILM = "all-minilm-l6-v2"
#: Of the first one the text backbone does not see the end.
LONG = "A film about films, and about those who make them, and so on. " * 40


def text_example(review: Review, **fields: str) -> input_pb2.Example:
    return input_pb2.Example(
        input=input_pb2.Input(text=review.text),
        label={"class_name": review.label},
        example_id=review.id,
        **fields,
    )


def texts(*contents: str) -> list[input_pb2.Input]:
    return [input_pb2.Input(text=content) for content in contents]


def rows(contents: np.ndarray) -> list[input_pb2.Input]:
    return [input_pb2.Input(tensor=tensors.encode(content)) for content in contents]


def ask(
    api: Api, model: str, inputs: Sequence[input_pb2.Input], **fields: object
) -> list[predicting.Prediction]:
    target = version_selector_pb2.VersionSelector(model=model)
    request = predicting.PredictRequest(targets=[target], inputs=inputs, **fields)  # type: ignore[arg-type]
    return list(api.prediction.Predict(request, timeout=TIMEOUT).results[0].predictions)


def clouds(count: int, size: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Points around two centres that lie apart, and which is whose."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return rng.normal(size=(count, size)) + 2.0 * labels[:, None], [f"cloud {label}" for label in labels]


@pytest.fixture(scope="module")
def reviews() -> tuple[list[Review], list[Review]]:
    return split(train=60, test=30)


@pytest.fixture(scope="module")
def text_job(api: Api, reviews: tuple[list[Review], list[Review]]) -> job_pb2.Job:
    """A job without a backbone's name, of texts: one of them is longer than is read, two are alike."""
    train = [text_example(review) for review in reviews[0]]
    long = input_pb2.Example(input=texts(LONG)[0], label={"class_name": "liked"}, example_id="long")
    first = reviews[0][0]
    again = input_pb2.Example(
        input=texts(f"{first.text} ")[0], label={"class_name": first.label}, example_id="again"
    )
    # The conversion takes longer than a call may.
    return api.ended(api.fine_tune([*train, long, again], model="reviews").job_id, wait=200)


def test_texts_get_the_text_backbone_and_a_version_better_than_chance(
    api: Api, text_job: job_pb2.Job, reviews: tuple[list[Review], list[Review]]
) -> None:
    assert text_job.state == job_pb2.JOB_STATE_SUCCEEDED, text_job.error
    assert text_job.spec.backbone == MINILM
    predictions = ask(api, "reviews", texts(*(review.text for review in reviews[1])))
    right = sum(
        prediction.classes[0].name == review.label
        for prediction, review in zip(predictions, reviews[1], strict=True)
    )
    assert right >= 37  # of 60; by chance 30
    # The shortest and the longest rows, in one call.
    assert len(ask(api, "reviews", texts("Good.", LONG, "Bad.", LONG.upper()))) == 4


def test_a_second_fine_tune_of_the_same_texts_runs_no_pass(
    api: Api,
    server: ServerProcess,
    text_job: job_pb2.Job,
    reviews: tuple[list[Review], list[Review]],
    model: str,
) -> None:
    before = server.metrics().value("headstart_batch_size_sum", lane="train")
    job = api.published([text_example(review) for review in reviews[0]], model=model, backbone=MINILM)
    assert job.example_count == len(reviews[0])
    assert server.metrics().value("headstart_batch_size_sum", lane="train") == before


def test_a_truncated_text_is_reported_wherever_it_goes(api: Api, text_job: job_pb2.Job) -> None:
    short, long = ask(api, "reviews", texts("Short enough.", LONG))
    assert not short.HasField("truncation")
    assert long.truncation.characters == len(LONG)
    assert 0 < long.truncation.kept_characters < len(LONG)

    answer = api.prediction.Embed(
        predicting.EmbedRequest(inputs=texts("Short enough.", LONG)), timeout=TIMEOUT
    )
    assert answer.features.backbone == MINILM
    assert dict(answer.truncation) == {1: long.truncation}

    findings = api.models.GetEvaluation(evaluation_request(), timeout=TIMEOUT).findings
    assert [each.example_id for each in findings.truncated_examples] == ["long"]
    assert findings.truncated_count == 1
    assert evaluation_pb2.RECOMMENDATION_KIND_TRUNCATION in {
        recommendation.kind for recommendation in findings.recommendations
    }


def evaluation_request() -> model_service_pb2.GetEvaluationRequest:
    return model_service_pb2.GetEvaluationRequest(
        target=version_selector_pb2.VersionSelector(model="reviews")
    )


def test_texts_are_embedded_at_length_one_and_alike_texts_lie_close(api: Api, text_job: job_pb2.Job) -> None:
    request = predicting.EmbedRequest(
        backbone=MINILM,
        inputs=texts("A cat sat on a mat.", "There was a cat on the mat.", "Interest rates rose again."),
        views=["last", "taps"],
    )
    views = api.prediction.Embed(request, timeout=TIMEOUT).features.views
    last = tensors.decode(views["last"])
    assert (last.shape, tensors.decode(views["taps"]).shape) == ((3, 384), (3, 1152))
    assert np.allclose(np.linalg.norm(last, axis=1), 1.0, atol=1e-3)
    assert last[0] @ last[1] > 0.7 > 0.3 > last[0] @ last[2]


def test_near_duplicates_neighbors_and_the_report_are_of_texts(
    api: Api, text_job: job_pb2.Job, reviews: tuple[list[Review], list[Review]]
) -> None:
    findings = api.models.GetEvaluation(evaluation_request(), timeout=TIMEOUT).findings
    first = reviews[0][0]
    assert any(
        {"again", first.id} <= {each.example_id for each in group.examples} for group in findings.duplicates
    )

    (prediction,) = ask(api, "reviews", texts(first.text), neighbors=3)
    assert {each.example.example_id for each in prediction.neighbors[:2]} == {"again", first.id}

    request = model_service_pb2.GetReportRequest(target=version_selector_pb2.VersionSelector(model="reviews"))
    page = api.models.GetReport(request, timeout=TIMEOUT).content.decode()
    assert page.count('class="sample"') > 10
    assert "<img" not in page


def test_saliency_of_texts_is_refused(api: Api, text_job: job_pb2.Job) -> None:
    refusal = refused(lambda: ask(api, "reviews", texts("Good."), saliency=predicting.SaliencyRequest()))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["saliency"])
    assert MINILM in refusal.message


def test_a_text_with_nothing_to_read_and_an_image_among_texts_are_named(
    api: Api, text_job: job_pb2.Job
) -> None:
    refusal = refused(lambda: ask(api, "reviews", texts("Good.", " \n")))
    assert (refusal.reason, list(refusal.fields)) == ("UNDECODABLE_INPUT", ["inputs[1]"])
    assert "something to read" in refusal.message

    mixed = [input_pb2.Example(input=texts("Good.")[0], label={"class_name": "0"}), *digits((0,), 1)]
    refusal = refused(lambda: api.fine_tune(mixed, model="mixed"))
    assert (refusal.reason, list(refusal.fields)) == ("WRONG_MODALITY", ["examples[1].input"])


def test_the_texts_of_a_parent_are_learned_from_again_and_versions_are_measured(
    api: Api, text_job: job_pb2.Job, reviews: tuple[list[Review], list[Review]]
) -> None:
    more = [text_example(review) for review in reviews[1][:20]]
    job = api.published(more, model="reviews", parent_version=text_job.version)
    assert (job.spec.backbone, job.example_count) == (MINILM, text_job.example_count + 20)
    measured = api.evaluate([text_example(review) for review in reviews[1][20:]], "reviews", job.version)
    assert measured.evaluation.metrics.example_count == 40


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_features_of_any_size_are_learned_from_without_a_network(api: Api, model: str, kind: type) -> None:
    size = 24
    points, labels = clouds(40, size, seed=1)
    examples = [
        input_pb2.Example(input=row, label={"class_name": label})
        for row, label in zip(rows(points.astype(kind)), labels, strict=True)
    ]
    job = api.published(examples, model=model)
    assert job.spec.backbone == f"features:{size}"
    sent, expected = clouds(30, size, seed=2)
    assert [each.classes[0].name for each in ask(api, model, rows(sent.astype(kind)))] == expected

    answer = api.prediction.Embed(predicting.EmbedRequest(inputs=rows(sent.astype(kind))), timeout=TIMEOUT)
    assert answer.features.backbone == f"features:{size}"
    assert np.array_equal(tensors.decode(answer.features.views["last"]), sent.astype(kind).astype(np.float32))


def test_features_of_another_size_or_no_number_are_named(api: Api, model: str) -> None:
    points, labels = clouds(20, 8, seed=3)
    examples = [
        input_pb2.Example(input=row, label={"class_name": label})
        for row, label in zip(rows(points), labels, strict=True)
    ]
    api.published(examples, model=model)
    refusal = refused(lambda: ask(api, model, rows(np.zeros((1, 9)))))
    assert (refusal.reason, list(refusal.fields)) == ("UNDECODABLE_INPUT", ["inputs[0]"])
    assert "of shape [8]" in refusal.message
    assert "of shape [9]" in refusal.message

    points[3, 5] = np.nan
    refusal = refused(lambda: ask(api, model, rows(points)))
    assert list(refusal.fields) == ["inputs[3]"]
    assert "nan at index 5" in refusal.message


def test_sizes_that_cannot_be_are_no_backbones(api: Api, model: str) -> None:
    for name in ("features:0", "features:65537", "features:x"):
        refusal = refused(lambda name=name: api.fine_tune(digits((0, 1), 2), model=model, backbone=name))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "BACKBONE_NOT_FOUND")
        assert "features:SIZE" in refusal.message


def test_the_text_backbone_is_listed_with_its_tokens(api: Api) -> None:
    listed = api.models.ListBackbones(model_service_pb2.ListBackbonesRequest(), timeout=TIMEOUT).backbones
    (found,) = [each for each in listed if each.backbone == MINILM]
    assert (list(found.input_size), found.license) == ([256], "Apache-2.0")
    assert not any(each.backbone.startswith("features:") for each in listed)
