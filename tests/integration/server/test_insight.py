"""Evidence for answers, and faults in datasets, on a real backbone."""

import io
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from headstart.inputs import tensors
from headstart.v1 import (
    evaluation_pb2,
    example_record_pb2,
    input_pb2,
    job_pb2,
    label_pb2,
    model_service_pb2,
    version_selector_pb2,
)
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import Api, digit, digits, example, photograph, png, refused

UNLIKE = predicting.ABSTENTION_REASON_UNLIKE_TRAINING
LOW = predicting.ABSTENTION_REASON_LOW_PROBABILITY


def crops(count: int) -> list[bytes]:
    """Parts of two photographs."""
    images = [Image.open(io.BytesIO(photograph(name))) for name in ("china", "flower")]
    corners = [(60 * place, 30 * place) for place in range(count)]
    return [png(np.asarray(image.crop((x, y, x + 200, y + 200)))) for image in images for x, y in corners]


# Typicality


def test_images_of_another_kind_are_unknown_and_those_like_the_examples_are_not(api: Api, digits_model: str):
    known = [digit(label, place) for label in (0, 1, 7) for place in range(60, 80)]
    wanted = predicting.Abstention()
    of_known = api.predict(digits_model, *known, abstention=wanted).results[0].predictions
    of_unknown = api.predict(digits_model, *crops(5), abstention=wanted).results[0].predictions

    assert [prediction.abstention_reason for prediction in of_unknown] == [UNLIKE] * 10
    assert all(prediction.abstained and prediction.typicality < 0.05 for prediction in of_unknown)
    assert all(len(prediction.classes) == 3 for prediction in of_unknown)
    assert sum(prediction.abstained for prediction in of_known) <= 8
    assert np.median([prediction.typicality for prediction in of_known]) > 0.2


def test_a_rate_of_0_abstains_from_nothing_and_a_probability_only_from_what_is_unsure(
    api: Api, digits_model: str
):
    never = predicting.Abstention(false_alarm_rate=0)
    sure = predicting.Abstention(false_alarm_rate=0, min_probability=0.999999)
    images = [*crops(1), digit(0, 50)]
    of_never = api.predict(digits_model, *images, abstention=never).results[0].predictions
    of_sure = api.predict(digits_model, *images, abstention=sure).results[0].predictions

    assert not any(prediction.abstained for prediction in of_never)
    assert all(prediction.HasField("typicality") for prediction in of_never)
    assert [prediction.abstention_reason for prediction in of_sure] == [LOW] * 3


def test_without_abstention_nothing_is_reported_of_it(api: Api, digits_model: str):
    (prediction,) = api.predict(digits_model, digit(0, 50)).results[0].predictions
    assert not prediction.HasField("typicality")
    assert not prediction.abstained
    assert [one.selected for one in prediction.classes] == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"abstention": predicting.Abstention(false_alarm_rate=0.6)}, "abstention.false_alarm_rate"),
        ({"abstention": predicting.Abstention(min_probability=float("nan"))}, "abstention.min_probability"),
        ({"neighbors": 101}, "neighbors"),
        ({"neighbors": -1}, "neighbors"),
        ({"influence": 101}, "influence"),
        ({"influence": -1}, "influence"),
        ({"saliency": predicting.SaliencyRequest(class_name="emu")}, "saliency.class_name"),
    ],
)
def test_what_is_out_of_range_is_named(api: Api, digits_model: str, fields, field: str):
    refusal = refused(lambda: api.predict(digits_model, digit(0, 0), **fields))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == [field]


def test_an_unknown_class_is_rejected_with_the_known_classes(api: Api, digits_model: str):
    wanted = predicting.SaliencyRequest(class_name="emu")
    refusal = refused(lambda: api.predict(digits_model, digit(0, 0), saliency=wanted))
    assert "'0', '1', '7'" in refusal.message
    assert "'emu'" in refusal.message


# Neighbours


def test_the_nearest_examples_are_named(api: Api, model: str):
    examples = [
        example(digit(label, place), str(label), example_id=f"{label}/{place}")
        for place in range(8)
        for label in (0, 1, 7)
    ]
    api.published(examples, model=model)
    (of_known, of_new) = api.predict(model, digit(7, 3), digit(1, 40), neighbors=4).results[0].predictions

    first = of_known.neighbors[0]
    named = first.example
    assert (named.example_id, named.index, named.label.class_name) == ("7/3", 11, "7")
    assert first.distance == pytest.approx(0, abs=1e-3)
    assert [len(prediction.neighbors) for prediction in (of_known, of_new)] == [4, 4]
    far = [neighbor.distance for neighbor in of_new.neighbors]
    assert far == sorted(far)
    assert far[0] > 0.01
    assert sum(neighbor.example.label.class_name == "1" for neighbor in of_new.neighbors) >= 3
    assert all(
        examples[neighbor.example.index].example_id == neighbor.example.example_id
        for neighbor in of_new.neighbors
    )


# Influence


def test_influence_is_the_change_of_a_prediction_without_an_example(api: Api, model: str):
    ridge = job_pb2.RidgeRecipe(regularization=0.01, temperature=0.1, scaling=job_pb2.FEATURE_SCALING_ROOT)
    spec: dict[str, Any] = {"model": model, "recipe": job_pb2.Recipe(ridge=ridge)}
    named = [
        example(digit(label, place), str(label), example_id=f"{label}/{place}")
        for place in range(12)
        for label in (0, 1, 7)
    ]
    kept_out = digits((0, 1), 2, start=20, held_out=True)
    first = api.published([*kept_out, *named], **spec)
    (before,) = api.predict(model, digit(7, 40), influence=3).results[0].predictions

    assert len(before.influences) == 3
    changes = [abs(influence.score_change) for influence in before.influences]
    assert changes == sorted(changes, reverse=True)
    most = before.influences[0]
    assert named[most.example.index - len(kept_out)].example_id == most.example.example_id
    removal = example_record_pb2.ExampleEdit(example_id=most.example.example_id, remove=True)
    api.published([], parent_version=first.version, edits=[removal], **spec)
    (after,) = api.predict(model, digit(7, 40)).results[0].predictions
    by_name = {each.name: each.probability for each in after.classes}
    change = by_name[before.classes[0].name] - before.classes[0].probability
    # The second version has its own mean and scale.
    assert most.probability_change == pytest.approx(change, rel=0.2)


def test_several_inputs_versions_and_tasks_have_influences(api: Api, model: str):
    api.published(digits((0, 1), 6), model=model)
    api.published(
        [
            input_pb2.Example(
                input=input_pb2.Input(image=digit(label, place)), label=label_pb2.Label(number=label)
            )
            for place in range(6)
            for label in (0, 1, 7)
        ],
        model=f"{model}-numbers",
    )
    numbers = version_selector_pb2.VersionSelector(model=f"{model}-numbers")
    response = api.predict(model, digit(0, 30), digit(1, 30), influence=100, further=[numbers])
    assert [len(each.influences) for result in response.results for each in result.predictions] == [
        12,
        12,
        18,
        18,
    ]
    of_number = response.results[1].predictions[0].influences
    assert not any(each.HasField("probability_change") for each in of_number)
    assert sorted(each.example.index for each in of_number) == list(range(18))


def test_influence_is_for_ridge_and_few_inputs(api: Api, model: str):
    api.published(digits((0, 1), 6), model=model, recipe=job_pb2.Recipe(logistic=job_pb2.LogisticRecipe()))
    refusal = refused(lambda: api.predict(model, digit(0, 0), influence=1))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == ["influence"]
    assert "recipe logistic" in refusal.message
    many = refused(lambda: api.predict(model, *[digit(0, 0)] * 65, influence=1))
    assert "at most 64 inputs" in many.message


def test_influence_needs_every_training_example(api: Api, model: str):
    named = [
        example(digit(label, place), str(label), example_id=f"{label}/{place}")
        for place in range(8)
        for label in (0, 1)
    ]
    api.published(named, model=model)
    assert api.predict(model, digit(0, 0), influence=1).results[0].predictions[0].influences
    request = model_service_pb2.EraseExampleRequest(model=model, example_id="0/3")
    api.models.EraseExample(request)
    refusal = refused(lambda: api.predict(model, digit(0, 0), influence=1))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "some were deleted" in refusal.message


def test_held_out_examples_are_no_neighbours(api: Api, model: str):
    kept_out = digits((0, 1), 2, start=20, held_out=True)
    api.published([*digits((0, 1), 6), *kept_out], model=model)
    (prediction,) = api.predict(model, digit(0, 20), neighbors=100).results[0].predictions
    assert sorted(neighbor.example.index for neighbor in prediction.neighbors) == list(range(12))


# Saliency


def scenes(count: int, seed: int) -> list[tuple[bytes, str]]:
    """A disc or a square anywhere on a grey ground."""
    rng = np.random.default_rng(seed)
    made = []
    for place in range(count):
        x, y = rng.integers(10, 150, 2)
        made.append((shape(place % 2, int(x), int(y), rng), ("disc", "square")[place % 2]))
    return made


def shape(kind: int, x: int, y: int, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(90, 130, (224, 224, 3)).astype(np.uint8)
    rows, columns = np.mgrid[0:224, 0:224]
    inside = np.hypot(rows - y - 30, columns - x - 30) < 30
    if kind:
        inside = (abs(rows - y - 30) < 27) & (abs(columns - x - 30) < 27)
    pixels[inside] = (230, 40, 40)
    return png(pixels)


@pytest.fixture(scope="module")
def shapes_model(api: Api) -> str:
    examples = [example(image, label) for image, label in scenes(40, 1)]
    return api.published(examples, model="shapes").spec.model


def test_the_part_that_matters_is_where_the_object_is(api: Api, shapes_model: str):
    hits = 0
    for place, (x, y) in enumerate([(30, 30), (135, 30), (30, 135), (135, 135)]):
        image = shape(0, x, y, np.random.default_rng(place))
        wanted = predicting.SaliencyRequest(class_name="disc")
        (prediction,) = api.predict(shapes_model, image, saliency=wanted).results[0].predictions
        values = tensors.decode(prediction.saliency.map)
        assert prediction.saliency.class_name == "disc"
        assert not prediction.saliency.overlay
        assert (values.dtype, values.shape) == (np.float32, (7, 7))
        row, column = np.unravel_index(values.argmax(), values.shape)
        hits += (row > 3, column > 3) == (y > 80, x > 80) or abs(row - 3) + abs(column - 3) == 0
    assert hits >= 3


def test_an_overlay_is_an_image_of_the_square(api: Api, shapes_model: str):
    wanted = predicting.SaliencyRequest(overlay=True)
    image = shape(1, 30, 30, np.random.default_rng(3))
    (prediction,) = api.predict(shapes_model, image, saliency=wanted).results[0].predictions
    overlay = Image.open(io.BytesIO(prediction.saliency.overlay))
    assert (overlay.format, overlay.size, overlay.mode) == ("PNG", (448, 448), "RGB")
    assert prediction.saliency.class_name == prediction.classes[0].name


def test_saliency_is_returned_for_the_target_alone(api: Api, shapes_model: str, digits_model: str):
    response = api.predict(
        shapes_model,
        digit(0, 0),
        saliency=predicting.SaliencyRequest(),
        further=[version_selector_pb2.VersionSelector(model=digits_model)],
    )
    assert response.results[0].predictions[0].HasField("saliency")
    assert not response.results[1].predictions[0].HasField("saliency")


# Findings


def planted() -> list[input_pb2.Example]:
    """Digits with a fault of each kind."""
    sent = digits((0, 1, 7), 30)
    sent += [
        example(digit(0, 100), "1", example_id="flipped"),
        example(digit(7, 120), "0", example_id="flipped too"),
    ]
    sent += [example(digit(1, 4), "1", example_id="leaked", held_out=True)]
    sent += digits((0, 1, 7), 3, start=60, held_out=True)
    sent += [example(nearly(digit(7, 9)), "1", example_id="nearly 7/9")]
    sent += [example(crops(1)[0], "0", example_id="odd one")]
    sent += digits((8,), 2)
    return sent


def nearly(image: bytes) -> bytes:
    """Return the same image with an invisible mark."""
    pixels = np.asarray(Image.open(io.BytesIO(image))).copy()
    pixels[0, 0] += 4
    return png(pixels)


def check_planted(findings: evaluation_pb2.DatasetFindings, sent: Sequence[input_pb2.Example]) -> None:
    contradicting = [group for group in findings.duplicates if group.contradicting]
    leaked = [group for group in findings.duplicates if group.across_held_out]
    assert ["nearly 7/9" in [one.example_id for one in group.examples] for group in contradicting] == [True]
    assert {one.label.class_name for one in contradicting[0].examples} == {"1", "7"}
    assert not contradicting[0].exact
    assert ["leaked" in [one.example_id for one in group.examples] for group in leaked] == [True]
    assert leaked[0].exact
    assert findings.duplicate_count == 4
    label_issues = [issue.example.example_id for issue in findings.label_issues]
    assert {"flipped", "flipped too"} <= set(label_issues[:4])
    assert findings.label_issue_count == len(label_issues) < 12
    suggested = {
        issue.example.example_id: issue.suggested_label.class_name for issue in findings.label_issues
    }
    assert (suggested["flipped"], suggested["flipped too"]) == ("0", "7")
    assert findings.outliers[0].example.example_id == "odd one"
    assert findings.outliers[0].distance_ratio > 3
    for group in (*contradicting, *leaked):
        assert all(sent[one.index].example_id == one.example_id for one in group.examples)
    assert findings.imbalance > 10
    points = findings.learning_curve
    assert [point.extrapolated for point in points] == [False] * (len(points) - 1) + [True]
    assert points[-1].example_count == 2 * 96
    kinds = [recommendation.kind for recommendation in findings.recommendations]
    assert kinds[:2] == [
        evaluation_pb2.RECOMMENDATION_KIND_CONTRADICTIONS,
        evaluation_pb2.RECOMMENDATION_KIND_LEAKAGE,
    ]
    assert {
        evaluation_pb2.RECOMMENDATION_KIND_TOO_FEW_EXAMPLES,
        evaluation_pb2.RECOMMENDATION_KIND_LABEL_ISSUES,
        evaluation_pb2.RECOMMENDATION_KIND_IMBALANCE,
        evaluation_pb2.RECOMMENDATION_KIND_OUTLIERS,
        evaluation_pb2.RECOMMENDATION_KIND_MORE_DATA,
    } <= set(kinds)


def test_every_planted_fault_is_found_before_and_with_training(api: Api, model: str):
    sent = planted()
    before = api.validate(sent, model=model)
    job = api.published(sent, model=model)
    request = model_service_pb2.GetEvaluationRequest(
        target=version_selector_pb2.VersionSelector(model=model, version=job.version)
    )
    after = api.models.GetEvaluation(request)

    assert before.valid
    check_planted(before.findings, sent)
    check_planted(after.findings, sent)
    assert before.evaluation == after.evaluation
    assert before.findings.label_issues == after.findings.label_issues


def test_several_labels_and_numbers_have_their_answers_and_findings(api: Api, model: str):
    labeled, valued = [], []
    for place in range(24):
        for label in (0, 1, 7):
            one = example(digit(label, place), "")
            one.ClearField("label")
            one.label.classes.class_names.extend(
                ["round"] if label == 0 else ["straight", "tall"][: 1 + (label == 1)]
            )
            labeled.append(one)
            other = input_pb2.Example(input=one.input, label={"number": float(label)})
            valued.append(other)
    found = api.validate(valued, model=model)
    api.published(labeled, model=f"{model}-labels")
    api.published(valued, model=f"{model}-number")
    wanted = {"abstention": predicting.Abstention(), "neighbors": 2}
    (of_labels,) = api.predict(f"{model}-labels", digit(1, 50), **wanted).results[0].predictions
    (of_number,) = api.predict(f"{model}-number", digit(7, 50), **wanted).results[0].predictions

    assert {one.name for one in of_labels.classes if one.selected} == {"straight", "tall"}
    assert set(of_labels.neighbors[0].example.label.classes.class_names) <= {"straight", "tall", "round"}
    assert of_labels.typicality > 0.01
    assert not of_number.classes
    assert of_number.interval_low < of_number.label.number < of_number.interval_high
    assert of_number.interval_high > 4
    assert of_number.neighbors[0].example.label.number in {0, 1, 7}
    assert found.findings.imbalance == 0
    assert found.evaluation.metrics.HasField("r_squared")
