"""Inputs of Predict calls are captured as the policy of their model says, listed for review, and erased."""

import io
import json
import os
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from PIL import Image

from forked import run_headstart
from headstart import AsyncClient, CapturePolicy, Client
from headstart.v1 import capture_policy_pb2, model_service_pb2
from headstart.v1 import review_service_pb2 as pb
from integration.server.calls import TIMEOUT, Api, digit, digits, refused
from server_process import ServerProcess, eventually


@pytest.fixture
def captured(api: Api, model: str) -> Iterator[str]:
    """A model that captures all inputs."""
    api.published(digits((0, 1, 7), 8), model=model)
    set_policy(api, model, random_fraction=1.0)
    yield model
    set_policy(api, model)


def set_policy(api: Api, model: str, **policy: Any) -> model_service_pb2.UpdateModelResponse:
    message = capture_policy_pb2.CapturePolicy(**policy) if policy else None
    request = model_service_pb2.UpdateModelRequest(
        model=model, capture=message, update_mask=FieldMask(paths=["capture"])
    )
    return api.models.UpdateModel(request, timeout=TIMEOUT)


def predict(api: Api, model: str, *images: bytes, **fields: Any) -> list[str]:
    """Return the IDs of predictions."""
    response = api.predict(model, *images, **fields)
    return [each.prediction_id for each in response.results[0].predictions]


def listed(api: Api, model: str, **fields: Any) -> pb.ListReviewResponse:
    return api.review.ListReview(pb.ListReviewRequest(model=model, **fields), timeout=TIMEOUT)


def get(api: Api, model: str, prediction_id: str, **fields: Any) -> pb.GetCapturedInputResponse:
    request = pb.GetCapturedInputRequest(model=model, prediction_id=prediction_id, **fields)
    return api.review.GetCapturedInput(request, timeout=TIMEOUT)


def test_a_model_without_a_policy_has_no_prediction_ids(api: Api, digits_model: str) -> None:
    assert predict(api, digits_model, digit(0, 20)) == [""]
    assert not listed(api, digits_model).entries


def test_captured_inputs_are_listed_with_reasons_and_read_with_their_contents(
    api: Api, captured: str
) -> None:
    images = [digit(label, 20 + place) for place in range(3) for label in (0, 1, 7)]
    ids = predict(api, captured, *images)
    assert len(set(ids)) == len(images)
    assert all(0 < len(each) <= 64 for each in ids)
    assert get(api, captured, ids[4]).content == images[4]
    response = listed(api, captured)
    assert {entry.captured_input.prediction_id for entry in response.entries} == set(ids)
    assert response.status.captured_count == response.status.pending_count == len(ids)
    assert response.version == 1
    for entry in response.entries:
        assert entry.captured_input.random_sample
        assert list(entry.captured_input.reasons) == [pb.CAPTURE_REASON_RANDOM]
        assert entry.captured_input.media_type == "image/png"
        assert entry.reason != pb.REVIEW_REASON_UNSPECIFIED
        assert entry.label.class_name == entry.captured_input.predicted.class_name
        assert entry.margin == pytest.approx(entry.captured_input.margin, abs=1e-6)
    values = [entry.value for entry in response.entries]
    assert values[0] == 1.0
    assert all(0 < value <= 1 for value in values)


def test_pages_are_stable_while_inputs_are_added_and_erased(api: Api, captured: str) -> None:
    ids = predict(api, captured, *(digit(label, 30 + place) for place in range(4) for label in (0, 1)))
    eventually(lambda: len(listed(api, captured).entries) == len(ids), TIMEOUT, "all inputs")
    whole = [entry.captured_input.prediction_id for entry in listed(api, captured).entries]
    first = listed(api, captured, page_size=3)
    predict(api, captured, digit(7, 30))
    erase(api, captured, whole[4])
    found = [entry.captured_input.prediction_id for entry in first.entries]
    token = first.next_page_token
    while token:
        page = listed(api, captured, page_size=3, page_token=token)
        found += [entry.captured_input.prediction_id for entry in page.entries]
        token = page.next_page_token
    assert found == [each for each in whole if each != whole[4]]


def erase(api: Api, model: str, example_id: str) -> model_service_pb2.EraseExampleResponse:
    request = model_service_pb2.EraseExampleRequest(model=model, example_id=example_id)
    return api.models.EraseExample(request, timeout=TIMEOUT)


def test_an_erased_input_is_gone_from_lists_contents_and_storage(
    api: Api, captured: str, server: ServerProcess
) -> None:
    image = digit(1, 40)
    kept, erased = predict(api, captured, digit(0, 40), image)
    assert get(api, captured, erased).content == image
    assert erase(api, captured, erased).deleted_contents == 1
    assert refused(lambda: get(api, captured, erased)).reason == "CAPTURED_INPUT_NOT_FOUND"
    assert [entry.captured_input.prediction_id for entry in listed(api, captured).entries] == [kept]
    files = [path for path in (server.data / "captures").rglob("*") if path.is_file()]
    assert files
    assert not any(image in path.read_bytes() for path in files)


def test_a_thumbnail_is_a_small_jpeg_and_other_sizes_are_rejected(api: Api, captured: str) -> None:
    (name,) = predict(api, captured, digit(0, 41))
    response = get(api, captured, name, thumbnail_size=64)
    assert response.media_type == "image/jpeg"
    assert response.content.startswith(b"\xff\xd8\xff")
    assert response.etag != get(api, captured, name).etag
    assert "thumbnail_size" in refused(lambda: get(api, captured, name, thumbnail_size=100)).fields


def test_a_thumbnail_is_stored_and_an_erasure_removes_it(
    api: Api, captured: str, server: ServerProcess
) -> None:
    (name,) = predict(api, captured, digit(1, 43))
    first = get(api, captured, name, thumbnail_size=128)
    (file,) = (server.data / "captured-thumbnails").glob(f"{name}-*")
    assert file.read_bytes() == first.content == get(api, captured, name, thumbnail_size=128).content
    erase(api, captured, name)
    assert not file.exists()
    refusal = refused(lambda: get(api, captured, name, thumbnail_size=128))
    assert refusal.reason == "CAPTURED_INPUT_NOT_FOUND"


def test_http_returns_the_content_itself(api: Api, captured: str, server: ServerProcess) -> None:
    image = digit(7, 42)
    (name,) = predict(api, captured, image)
    get(api, captured, name)
    url = f"http://{server.event('http_listening')}/v1/models/{captured}"
    with urllib.request.urlopen(f"{url}/captured/{name}", timeout=TIMEOUT) as response:
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.read() == image
    with urllib.request.urlopen(f"{url}/review?page_size=1", timeout=TIMEOUT) as response:
        entries = json.load(response)["entries"]
    assert entries[0]["capturedInput"]["predictionId"] == name


def test_only_uncertain_inputs_are_captured_by_a_margin(api: Api, captured: str) -> None:
    set_policy(api, captured, max_margin=0.3)
    images = [digit(label, 50 + place) for place in range(6) for label in (0, 1, 7)]
    response = api.predict(captured, *images)
    predictions = response.results[0].predictions
    expected = {
        each.prediction_id
        for each in predictions
        if each.classes[0].probability - each.classes[1].probability <= 0.3
    }
    sure = next(each.prediction_id for each in predictions if each.prediction_id not in expected)
    assert refused(lambda: get(api, captured, sure)).reason == "CAPTURED_INPUT_NOT_FOUND"
    entries = listed(api, captured).entries
    assert {entry.captured_input.prediction_id for entry in entries} == expected
    assert not any(entry.captured_input.random_sample for entry in entries)


def test_a_policy_is_part_of_the_model_and_is_cleared_by_the_mask(api: Api, captured: str) -> None:
    model = set_policy(api, captured, random_fraction=0.5, ttl=Duration(seconds=3600)).model
    assert (model.capture.random_fraction, model.capture.ttl.seconds) == (0.5, 3600)
    assert model.capture.max_count > 0
    assert not set_policy(api, captured).model.HasField("capture")
    assert predict(api, captured, digit(0, 43)) == [""]


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"max_count": 5}, "capture"),
        ({"random_fraction": 1.5}, "capture.random_fraction"),
        ({"random_fraction": 0.5, "max_bytes": 5}, "capture.max_bytes"),
        ({"random_fraction": 0.5, "ttl": Duration(seconds=5)}, "capture.ttl"),
        ({"max_margin": float("nan")}, "capture.max_margin"),
    ],
)
def test_an_invalid_policy_is_rejected_by_name(
    api: Api, digits_model: str, policy: dict[str, Any], field: str
) -> None:
    assert field in refused(lambda: set_policy(api, digits_model, **policy)).fields


def test_unknown_names_and_tokens_are_rejected(api: Api, captured: str) -> None:
    assert refused(lambda: listed(api, "missing")).reason == "MODEL_NOT_FOUND"
    assert refused(lambda: get(api, "missing", "x")).reason == "MODEL_NOT_FOUND"
    assert refused(lambda: listed(api, captured, version=99)).reason == "VERSION_NOT_FOUND"
    assert "alias" in refused(lambda: listed(api, captured, version=1, alias="stable")).fields
    assert "page_token" in refused(lambda: listed(api, captured, page_token="x")).fields
    assert refused(lambda: get(api, captured, "../secret")).reason == "CAPTURED_INPUT_NOT_FOUND"


def test_the_client_sets_a_policy_lists_and_reads(captured: str, server: ServerProcess) -> None:
    image = digit(0, 60)
    with Client(server.target) as client:
        model = client.model(captured)
        policy = model.update(capture=CapturePolicy(random_fraction=1.0, ttl=timedelta(days=1))).capture
        assert policy is not None
        assert (policy.random_fraction, policy.ttl) == (1.0, timedelta(days=1))
        prediction = model.predict(image)
        found = model.captured_input(prediction.prediction_id)
        assert found.content == image
        assert found.captured_input.predicted == prediction.label
        (entry,) = model.review()
        assert entry.captured_input == found.captured_input
        assert model.capture_status().pending_count == 1
        assert client.usage().capture_bytes > len(image)
        assert model.update(capture=None).capture is None


def test_captured_pixels_are_returned_as_an_image(captured: str, server: ServerProcess) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(digit(7, 61))))
    with Client(server.target) as client:
        prediction = client.model(captured).predict(pixels)
        found = client.model(captured).captured_input(prediction.prediction_id)
        assert found.media_type == found.captured_input.media_type == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(found.content))), pixels)


async def test_the_asynchronous_client_lists_and_reads(captured: str, server: ServerProcess) -> None:
    image = digit(7, 60)
    async with AsyncClient(server.target) as client:
        model = client.model(captured)
        prediction = await model.predict(image)
        found = await model.captured_input(prediction.prediction_id, thumbnail_size=64)
        assert found.media_type == "image/jpeg"
        entries = [each async for each in model.review()]
        assert [each.captured_input.prediction_id for each in entries] == [prediction.prediction_id]
        assert (await model.capture_status()).captured_count == 1


def test_the_commands_set_a_policy_list_and_save(
    captured: str, server: ServerProcess, tmp_path: Path
) -> None:
    image = digit(1, 60)

    def run(*arguments: str) -> str:
        done = run_headstart("--server", server.target, *arguments, environment=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "0.5" in run("model", "capture", captured, "--random", "0.5")
    assert "captures no inputs" in run("model", "capture", captured, "--off")
    document = json.loads(run("--json", "model", "capture", captured, "--random", "1", "--ttl", "7d"))
    assert document["model"]["capture"]["ttl"] == "604800s"
    with Client(server.target) as client:
        name = client.predict(image, model=captured).prediction_id
        client.captured_input(captured, name)
    assert run("-o", "name", "captured", "list", captured).split() == [name]
    assert name in run("captured", "list", captured)
    assert "1 input" in run("captured", "status", captured)
    saved = tmp_path / "digit.png"
    run("captured", "show", captured, name, "--output", str(saved))
    assert saved.read_bytes() == image
