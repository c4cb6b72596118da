import io

import grpc
import numpy as np
import pytest
from PIL import Image

from headstart.inputs import tensors
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import (
    TIMEOUT,
    Api,
    digit,
    digits,
    noise,
    photograph,
    prediction_request,
    refused,
)


@pytest.fixture(scope="module")
def colors(api: Api) -> str:
    """A model with two versions; `stable` names the first."""
    api.published(noise(12, seed=100), model="colors", alias="stable")
    return api.published(noise(18, seed=101, classes=6), model="colors").spec.model


def embed(api: Api, *images: bytes, **fields) -> dict[str, np.ndarray]:
    inputs = [input_pb2.Input(image=image) for image in images]
    request = predicting.EmbedRequest(inputs=inputs, **fields)
    features = api.prediction.Embed(request, timeout=TIMEOUT).features
    return {view: tensors.decode(tensor) for view, tensor in features.views.items()}


def test_each_input_gets_its_classes_the_likeliest_first(api: Api, digits_model: str):
    response = api.predict(digits_model, digit(0, 30), digit(1, 30), digit(7, 30))

    assert (response.results[0].model, response.results[0].version) == (digits_model, 1)
    assert len(response.results[0].predictions) == 3
    for prediction in response.results[0].predictions:
        probabilities = [each.probability for each in prediction.classes]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert {each.index: each.name for each in prediction.classes} == {0: "0", 1: "1", 2: "7"}


def test_the_stages_of_a_call_are_timed(api: Api, digits_model: str):
    times = api.predict(digits_model, digit(0, 30)).times

    assert 0 < times.backbone_duration.ToNanoseconds() <= times.total_duration.ToNanoseconds()
    assert 0 < times.decode_duration.ToNanoseconds() <= times.total_duration.ToNanoseconds()


@pytest.mark.parametrize(("top_k", "count"), [(None, 5), (1, 1), (4, 4), (100, 6)])
def test_as_many_classes_are_returned_as_were_requested(api: Api, colors: str, top_k: int | None, count: int):
    response = api.predict(colors, digit(0, 30), top_k=top_k)

    assert len(response.results[0].predictions[0].classes) == count


def test_a_version_is_chosen_by_number_by_alias_or_as_the_newest(api: Api, colors: str):
    assert api.predict(colors, digit(0, 30)).results[0].version == 2
    assert api.predict(colors, digit(0, 30), version=1).results[0].version == 1
    assert api.predict(colors, digit(0, 30), alias="stable").results[0].version == 1


def test_several_versions_answer_one_call_and_share_the_pass(api: Api, colors: str, digits_model: str):
    further = [
        version_selector_pb2.VersionSelector(model=digits_model),
        version_selector_pb2.VersionSelector(model=colors, version=1),
    ]
    images = [digit(0, 30), digit(7, 31)]
    response = api.predict(colors, *images, further=further, return_features=True)
    results = list(response.results)
    (features,) = response.features

    assert [(each.model, each.version) for each in results] == [
        (colors, 2),
        (digits_model, 1),
        (colors, 1),
    ]
    # Bitwise what each of them answers alone.
    assert results[1] == api.predict(digits_model, *images).results[0]
    assert results[2] == api.predict(colors, *images, version=1).results[0]
    assert features.backbone == "efficientnet-lite0"
    assert {view: tensors.decode(each).shape for view, each in features.views.items()} == {
        view: (2, each.shape[1]) for view, each in embed(api, *images, views=["last", "taps"]).items()
    }


def test_features_are_returned_only_if_requested(api: Api, digits_model: str):
    assert not api.predict(digits_model, digit(0, 30)).features


def test_embedding_returns_the_requested_views(api: Api):
    images = [digit(0, 30), photograph("china")]
    last = embed(api, *images)
    both = embed(api, *images, views=["taps", "last"], backbone="efficientnet-lite0")

    assert set(last) == {"last"}
    assert set(both) == {"taps", "last"}
    assert both["last"].dtype == np.float32
    assert np.array_equal(last["last"], both["last"])
    assert not np.array_equal(last["last"][0], last["last"][1])


def test_features_of_a_row_do_not_depend_on_its_company(api: Api):
    images = [digit(label, 30) for label in range(10)]
    together = embed(api, *images)["last"]

    for place in (0, 4, 9):
        assert np.array_equal(embed(api, images[place])["last"][0], together[place])


@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 1), (12, 12, 3)])
def test_an_array_of_pixels_is_the_image_with_these_pixels(api: Api, digits_model: str, shape: tuple):
    grey = np.asarray(Image.open(io.BytesIO(digit(7, 30))))
    pixels = np.broadcast_to(grey[..., None], shape) if len(shape) == 3 else grey
    request = prediction_request(digits_model, digit(7, 30))
    request.inputs.add(tensor=tensors.encode(pixels))
    answers = api.prediction.Predict(request, timeout=TIMEOUT).results[0].predictions

    assert answers[0] == answers[1]


def test_a_model_learns_from_arrays_of_pixels_too(api: Api, model: str):
    def as_tensor(place: int, label: int) -> input_pb2.Example:
        pixels = np.asarray(Image.open(io.BytesIO(digit(label, place))))
        return input_pb2.Example(
            input=input_pb2.Input(tensor=tensors.encode(pixels)), label={"class_name": f"digit {label}"}
        )

    api.published([as_tensor(place, label) for place in range(6) for label in (0, 1)], model=model)

    assert api.names(model, digit(0, 0), digit(1, 1)) == ["digit 0", "digit 1"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_format_of_the_contract_is_read(api: Api, model: str, kind: str):
    def encoded(name: str) -> bytes:
        image = Image.open(io.BytesIO(photograph(name))).resize((160, 120))
        file = io.BytesIO()
        image.save(file, kind)
        return file.getvalue()

    features = embed(api, encoded("china"), encoded("flower"), photograph("china"), photograph("flower"))
    vectors = features["last"] / np.linalg.norm(features["last"], axis=1, keepdims=True)
    likeness = vectors[:2] @ vectors[2:].T

    assert likeness[0, 0] > likeness[0, 1]
    assert likeness[1, 1] > likeness[1, 0]


def test_as_many_inputs_as_the_server_holds_are_answered_in_order(api: Api, digits_model: str):
    labels = [(0, 1, 7)[place % 3] for place in range(64)]
    images = [digit(label, place) for place, label in enumerate(labels)]
    together = api.predict(digits_model, *images).results[0].predictions

    assert len(together) == 64
    for place in (0, 31, 63):
        (alone,) = api.predict(digits_model, images[place]).results[0].predictions
        assert [each.name for each in together[place].classes] == [each.name for each in alone.classes]
        # The features are bitwise the same; the head's product is one for all inputs of a call.
        assert [each.probability for each in together[place].classes] == pytest.approx(
            [each.probability for each in alone.classes], rel=1e-4, abs=1e-7
        )


def test_more_inputs_than_the_server_holds_are_refused_with_the_limit(api: Api, digits_model: str):
    refusal = refused(lambda: api.predict(digits_model, *[digit(0, 0)] * 65))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BACKBONE_QUEUE_FULL")
    assert refusal.metadata["limit"] == "64"
    assert refusal.quotas
    assert refusal.retry_after == 1


def test_a_fine_tune_s_own_examples_are_answered_right(api: Api, model: str):
    api.published(digits((3, 4), 6), model=model)

    assert api.names(model, *[digit(3, place) for place in range(6)]) == ["3"] * 6
