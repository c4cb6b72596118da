"""Bad input: callers get an error that names what is wrong, and the server goes on."""

import base64
import json
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import grpc
import numpy as np
import pytest

from headstart.inputs import tensors
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1.errors_pb2 import ErrorReason
from integration.server.calls import (
    TIMEOUT,
    Api,
    Refusal,
    digit,
    digits,
    duration,
    example,
    examples_message,
    noise,
    photograph,
    prediction_request,
    refused,
    stream,
)
from server_process import ServerProcess, eventually

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
FAILED = job_pb2.JOB_STATE_FAILED


@pytest.fixture(autouse=True)
def still_answers(api: Api, digits_model: str) -> Iterator[None]:
    """After each test a good call is answered as ever."""
    yield
    assert len(api.predict(digits_model, digit(0, 30)).results[0].predictions[0].classes) == 3


@pytest.fixture
def no_trace(api: Api, server: ServerProcess, model: str) -> Iterator[None]:
    """Afterwards there is no job of the model, and no new file in the data folder."""
    folder = server.data / "datasets"
    before = set(folder.iterdir())
    yield
    eventually(lambda: set(folder.iterdir()) <= before, TIMEOUT, "a folder of datasets without new files")
    assert not api.fine_tuning.ListJobs(tuning.ListJobsRequest(model=model)).jobs


# Images


@cache
def bomb() -> bytes:
    """A whole and valid PNG of 50,000 x 50,000 pixels in some 300 kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    side = 50_000
    packer = zlib.compressobj(1)
    rows = bytes((1 + side // 8) * 1000)
    pixels = b"".join(packer.compress(rows) for _ in range(side // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def cut(image: bytes, share: float) -> bytes:
    return image[: int(len(image) * share)]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"", "no bytes"),
        (b"%PDF-1.7 and so on", "18 bytes beginning with b'%PDF-1.7 and"),
        (b"\x89PNG\r\n\x1a\n", "Expected"),
        (cut(photograph("china"), 0.5), "Expected"),
        (cut(photograph("china"), 0.002), "Expected"),
        (cut(digit(0, 0), 0.7), "Expected"),
        (bytes(1_000_000), "1000000 bytes"),
    ],
    ids=["nothing", "another file", "signature", "half a JPEG", "head of a JPEG", "cut PNG", "zeros"],
)
def test_bytes_that_are_no_whole_image_are_refused_by_their_place(
    api: Api, digits_model: str, image: bytes, expected: str
):
    refusal = refused(lambda: api.predict(digits_model, digit(0, 0), digit(0, 1), image))

    assert (refusal.code, refusal.reason) == (INVALID, "UNDECODABLE_INPUT")
    assert list(refusal.fields) == ["inputs[2]"]
    assert refusal.message.startswith("Input 2: ")
    assert expected in refusal.message
    assert "Received: " in refusal.message


def test_an_input_of_too_many_bytes_is_refused(api: Api, digits_model: str):
    refusal = refused(lambda: api.predict(digits_model, digit(0, 0), bytes((8 << 20) + 1)))

    assert (refusal.code, refusal.reason) == (INVALID, "INPUT_TOO_LARGE")
    assert list(refusal.fields) == ["inputs[1]"]
    assert refusal.message.startswith("Input 1: Expected at most 8388608 bytes. Received: 8388609.")


def test_a_refusal_names_all_inputs_at_fault(api: Api, digits_model: str):
    refusal = refused(lambda: api.predict(digits_model, b"a", digit(0, 0), b"b"))

    assert list(refusal.fields) == ["inputs[0]", "inputs[2]"]
    assert "2 of 3 inputs" in refusal.message


def test_an_image_of_too_many_pixels_is_refused_and_takes_no_memory(
    api: Api, server: ServerProcess, digits_model: str, model: str
):
    before = server.rss
    for _ in range(8):
        refusal = refused(lambda: api.predict(digits_model, bomb()))
        assert (refusal.code, refusal.reason) == (INVALID, "INPUT_TOO_LARGE")
        assert list(refusal.fields) == ["inputs[0]"]
        assert "50,000 x 50,000" in refusal.message
        assert "64,000,000" in refusal.message
    job = api.ended(
        api.fine_tune([*digits((0, 1), 2), example(bomb(), "0", example_id="bomb")], model=model).job_id
    )
    assert job.state == FAILED
    assert "example 4 ('bomb')" in job.error.message
    assert server.rss - before < 150 << 20


@pytest.mark.parametrize(
    ("tensor", "reason", "field"),
    [
        (tensors.encode(np.zeros((4, 4, 3), np.float32)), "WRONG_MODALITY", "inputs[0]"),
        (tensors.encode(np.zeros((4, 4, 5), np.uint8)), "WRONG_MODALITY", "inputs[0]"),
        (tensors.encode(np.zeros((0, 4, 3), np.uint8)), "UNDECODABLE_INPUT", "inputs[0]"),
        (input_pb2.Tensor(data_type=1, shape=[4, 4, 3], data=b"short"), "INVALID_FIELD", "inputs[0].tensor"),
        (input_pb2.Tensor(data_type=1, shape=[-4, -4], data=b"x" * 16), "INVALID_FIELD", "inputs[0].tensor"),
        (input_pb2.Tensor(data_type=99, shape=[1], data=b"x"), "INVALID_FIELD", "inputs[0].tensor"),
        (input_pb2.Tensor(data_type=1, shape=[2**62, 4], data=b""), "INVALID_FIELD", "inputs[0].tensor"),
    ],
    ids=["floats", "four channels", "no pixels", "too few bytes", "negative", "unknown type", "huge"],
)
def test_arrays_that_are_no_image_are_refused(
    api: Api, digits_model: str, tensor: input_pb2.Tensor, reason: str, field: str
):
    request = predicting.PredictRequest(
        targets=[version_selector_pb2.VersionSelector(model=digits_model)],
        inputs=[input_pb2.Input(tensor=tensor)],
    )
    refusal = refused(lambda: api.prediction.Predict(request))

    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert list(refusal.fields) == [field]
    assert "Received: " in refusal.message


def test_a_text_is_refused_by_a_backbone_for_images(api: Api, digits_model: str, model: str):
    text = input_pb2.Input(text="a cat")
    request = prediction_request(digits_model)
    request.inputs.append(text)
    examples = [*digits((0, 1), 2), input_pb2.Example(input=text, label={"class_name": "0"})]
    calls: dict[str, Callable[[], object]] = {
        "inputs[0]": lambda: api.prediction.Predict(request),
        "examples[4].input": lambda: api.fine_tune(examples, model=model),
    }

    for field, call in calls.items():
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (INVALID, "WRONG_MODALITY")
        assert list(refusal.fields) == [field]
        assert f"Expected image or tensor in {field}. Received: text." in refusal.message
    embedded = refused(
        lambda: api.prediction.Embed(predicting.EmbedRequest(inputs=[text], backbone="efficientnet-lite0"))
    )
    assert embedded.reason == "WRONG_MODALITY"


# Calls of Predict and Embed


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            {"targets": [version_selector_pb2.VersionSelector(model="m")] * 1000},
            "targets",
        ),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 0}, "top_k"),
        ({"inputs": [input_pb2.Input(image=b"x")] * 257}, "inputs"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else change,
)
def test_fields_of_a_prediction_that_are_out_of_range_are_named(
    api: Api, digits_model: str, change: dict, field: str
):
    refusal = refused(lambda: api.prediction.Predict(changed_request(digits_model, change)))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert list(refusal.fields) == [field]
    assert "Expected " in refusal.message
    assert "Received: " in refusal.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"targets": []}, "targets"),
        ({"targets": [version_selector_pb2.VersionSelector()]}, "targets[0].model"),
        ({"targets": [version_selector_pb2.VersionSelector(version=1)]}, "targets[0].model"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [input_pb2.Input()]}, "inputs[0]"),
    ],
    ids=["targets", "selector", "model", "inputs", "content"],
)
def test_missing_fields_of_a_prediction_are_named(api: Api, digits_model: str, change: dict, field: str):
    refusal = refused(lambda: api.prediction.Predict(changed_request(digits_model, change)))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert list(refusal.fields) == [field]
    assert re.search(rf"{re.escape(field)} (is missing|has no content)\. S", refusal.message)


def changed_request(model: str, change: dict) -> predicting.PredictRequest:
    """Return a valid request with some of its fields replaced."""
    good = {
        "targets": [version_selector_pb2.VersionSelector(model=model)],
        "inputs": [input_pb2.Input(image=digit(0, 0))],
    }
    return predicting.PredictRequest(**{**good, **change})


def test_an_unknown_view_is_refused_with_those_there_are(api: Api):
    request = predicting.EmbedRequest(inputs=[input_pb2.Input(image=digit(0, 0))], views=["last", "first"])
    refusal = refused(lambda: api.prediction.Embed(request))

    assert (refusal.reason, list(refusal.fields)) == ("INVALID_FIELD", ["views[1]"])
    assert "last, taps" in refusal.message


@pytest.mark.parametrize("name", ["missing", "../digits", "x" * 128, "ü" * 128, "a b"])
def test_what_is_not_there_is_not_found_whatever_its_name(api: Api, digits_model: str, name: str):
    image = input_pb2.Input(image=digit(0, 0))
    calls: dict[str, Callable[[], object]] = {
        "MODEL_NOT_FOUND": lambda: api.models.GetModel(keeping.GetModelRequest(model=name)),
        "ALIAS_NOT_FOUND": lambda: api.predict(digits_model, digit(0, 0), alias=name),
        "JOB_NOT_FOUND": lambda: api.status(name),
        "MODEL_NOT_FOUND ": lambda: api.predict(name, digit(0, 0)),
        "BACKBONE_NOT_FOUND": lambda: api.prediction.Embed(
            predicting.EmbedRequest(backbone=name, inputs=[image])
        ),
        "BACKBONE_NOT_FOUND ": lambda: api.fine_tune(digits((0, 1), 2), model="new", backbone=name),
        "JOB_NOT_FOUND ": lambda: list(api.watch(name)),
        " JOB_NOT_FOUND": lambda: api.fine_tuning.Cancel(tuning.CancelRequest(job_id=name)),
        " MODEL_NOT_FOUND": lambda: api.models.DeleteModel(keeping.DeleteModelRequest(model=name)),
    }

    for reason, call in calls.items():
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (NOT_FOUND, reason.strip())
        assert name[:20] in refusal.message
        assert len(refusal.message.encode()) < 2000


def test_missing_names_are_refused_by_their_field(api: Api, digits_model: str):
    calls: dict[str, Callable[[], object]] = {
        "model": lambda: api.models.GetModel(keeping.GetModelRequest()),
        "model ": lambda: api.models.DeleteModel(keeping.DeleteModelRequest()),
        "job_id": lambda: api.status(""),
        "job_id ": lambda: list(api.watch("")),
        " job_id": lambda: api.fine_tuning.Cancel(tuning.CancelRequest()),
        "version": lambda: api.models.DeleteVersion(keeping.DeleteVersionRequest(model=digits_model)),
        " version": lambda: api.models.SetAlias(keeping.SetAliasRequest(model=digits_model, alias="stable")),
        "spec.model": lambda: api.fine_tune(digits((0, 1), 2), model=""),
        "source": lambda: api.fine_tuning.Rebase(tuning.RebaseRequest(backbone="auto")),
    }

    for field, call in calls.items():
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
        assert list(refusal.fields) == [field.strip()]
        assert refusal.message.startswith(f"{field.strip()} is missing")
    assert refused(lambda: api.predict(digits_model, digit(0, 0), alias="")).reason == "ALIAS_NOT_FOUND"


@pytest.mark.parametrize("name", ["x" * 10_000_000, "ü" * 20_000, "a\0c"], ids=["10 MB", "long", "NUL"])
def test_a_name_that_none_can_have_is_refused_before_it_is_looked_for(api: Api, digits_model: str, name: str):
    image = input_pb2.Input(image=digit(0, 0))
    calls: dict[str, Callable[[], object]] = {
        "targets[0].model": lambda: api.predict(name, digit(0, 0)),
        "targets[0].alias": lambda: api.predict(digits_model, digit(0, 0), alias=name),
        "job_id": lambda: api.status(name),
        "job_id ": lambda: list(api.watch(name)),
        "backbone": lambda: api.prediction.Embed(predicting.EmbedRequest(backbone=name, inputs=[image])),
        "spec.request_id": lambda: api.fine_tune(digits((0, 1), 2), model="new", request_id=name),
        "page_token": lambda: api.models.ListModels(keeping.ListModelsRequest(page_token=name)),
        "example_id": lambda: api.models.EraseExample(
            keeping.EraseExampleRequest(model="-", example_id=name)
        ),
    }
    for field, call in calls.items():
        refusal = refused(call)
        assert (refusal.reason, list(refusal.fields)) == ("INVALID_FIELD", [field.strip()])
        assert len(refusal.message.encode()) < 1000


@pytest.mark.parametrize(
    "source", ["keras:MobileNetV3Small", "hf:org/name", "onnx:/etc/passwd", "https://169.254.169.254/a"]
)
def test_no_call_names_where_a_backbone_comes_from(api: Api, digits_model: str, model: str, source: str):
    source_version = version_selector_pb2.VersionSelector(model=digits_model, version=1)
    auto = {"backbone": "auto", "backbone_candidates": [source]}
    for call in (
        lambda: api.prediction.Embed(
            predicting.EmbedRequest(backbone=source, inputs=[input_pb2.Input(image=digit(0, 0))])
        ),
        lambda: api.fine_tune(digits((0, 1), 2), model=model, backbone=source),
        lambda: api.fine_tune(digits((0, 1), 2), model=model, **auto),
        lambda: api.fine_tuning.Rebase(tuning.RebaseRequest(source=source_version, backbone=source)),
        lambda: api.fine_tuning.Rebase(tuning.RebaseRequest(source=source_version, **auto)),
    ):
        assert refused(call).reason == "BACKBONE_NOT_FOUND"


def test_version_0_is_not_the_newest(api: Api, digits_model: str):
    refusal = refused(lambda: api.predict(digits_model, digit(0, 0), version=0))

    assert (refusal.code, refusal.reason) == (NOT_FOUND, "VERSION_NOT_FOUND")


@pytest.mark.parametrize("number", [-1, 2, 2**63 - 1, -(2**63)])
def test_a_version_that_is_not_there_is_not_found(api: Api, digits_model: str, number: int):
    for call in (
        lambda: api.predict(digits_model, digit(0, 0), version=number),
        lambda: api.models.DeleteVersion(keeping.DeleteVersionRequest(model=digits_model, version=number)),
        lambda: api.models.SetAlias(
            keeping.SetAliasRequest(model=digits_model, alias="stable", version=number)
        ),
    ):
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (NOT_FOUND, "VERSION_NOT_FOUND")
        assert refusal.metadata == {"model": digits_model, "version": str(number)}


# Specs


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"model": "../x"}, "spec.model"),
        ({"model": "a/b"}, "spec.model"),
        ({"model": ".hidden"}, "spec.model"),
        ({"model": "a\n"}, "spec.model"),
        ({"model": "x" * 129}, "spec.model"),
        ({"model": "x" * 1_000_000}, "spec.model"),
        ({"alias": "7"}, "spec.alias"),
        ({"alias": "a b"}, "spec.alias"),
        ({"held_out_fraction": float("nan")}, "spec.held_out_fraction"),
        ({"held_out_fraction": -0.1}, "spec.held_out_fraction"),
        ({"held_out_fraction": 0.91}, "spec.held_out_fraction"),
        ({"max_excluded_fraction": float("nan")}, "spec.max_excluded_fraction"),
        ({"max_excluded_fraction": float("inf")}, "spec.max_excluded_fraction"),
        ({"ttl": duration(0)}, "spec.ttl"),
        ({"ttl": duration(-5)}, "spec.ttl"),
        ({"ttl": duration(10_000 * 365 * 86400)}, "spec.ttl"),
        ({"display_name": "x" * 257}, "spec.display_name"),
        ({"tags": {"": "x"}}, "spec.tags"),
        ({"tags": {"k" * 64: "x"}}, "spec.tags.key"),
        ({"tags": {"k\x1b]0;": "x"}}, "spec.tags.key"),
        ({"tags": {"k": "x" * 257}}, "spec.tags['k']"),
        ({"tags": {"k": "\x1b[31mred"}}, "spec.tags['k']"),
        ({"tags": {str(number): "" for number in range(65)}}, "spec.tags"),
        ({"request_id": "x" * 129}, "spec.request_id"),
        ({"recipe": {"ridge": {"regularization": float("nan")}}}, "spec.recipe.ridge.regularization"),
        ({"recipe": {"ridge": {"regularization": 0.0}}}, "spec.recipe.ridge.regularization"),
        ({"recipe": {"ridge": {"regularization": -1.0}}}, "spec.recipe.ridge.regularization"),
        ({"recipe": {"ridge": {"regularization": 1e-300}}}, "spec.recipe.ridge.regularization"),
        ({"recipe": {"ridge": {"temperature": float("inf")}}}, "spec.recipe.ridge.temperature"),
        ({"recipe": {"ridge": {"temperature": 1e-320}}}, "spec.recipe.ridge.temperature"),
        ({"recipe": {"ridge": {"folds": -2}}}, "spec.recipe.ridge.folds"),
        ({"recipe": {"ridge": {"folds": 1}}}, "spec.recipe.ridge.folds"),
        ({"recipe": {"ridge": {"view": "first"}}}, "spec.recipe.ridge.view"),
        ({"recipe": {"ridge": {"view": "last", "views": ["taps"]}}}, "spec.recipe.ridge.views"),
        ({"recipe": {"ridge": {"views": ["taps", "taps"]}}}, "spec.recipe.ridge.views"),
        ({"recipe": {"ridge": {"scaling": 9}}}, "spec.recipe.ridge.scaling"),
        ({"recipe": {"logistic": {"regularization": -1.0}}}, "spec.recipe.logistic.regularization"),
        ({"recipe": {"logistic": {"folds": 1}}}, "spec.recipe.logistic.folds"),
        ({"recipe": {"logistic": {"views": ["first"]}}}, "spec.recipe.logistic.view"),
        ({"recipe": {"logistic": {"time_budget": {"seconds": 0}}}}, "spec.recipe.logistic.time_budget"),
    ],
    ids=lambda spec: str(spec)[:60] if isinstance(spec, dict) else "",
)
@pytest.mark.usefixtures("no_trace")
def test_parts_of_a_spec_that_are_out_of_range_are_named(api: Api, model: str, spec: dict, field: str):
    refusal = refused(lambda: api.fine_tune(digits((0, 1), 2), **{"model": model, **spec}))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert list(refusal.fields) == [field]
    assert "Expected " in refusal.message
    assert "Received: " in refusal.message


@pytest.mark.parametrize(("regularization", "temperature"), [(1e-9, 1e-6), (1e9, 1e6)])
def test_the_most_extreme_recipe_still_gives_probabilities(
    api: Api, model: str, regularization: float, temperature: float
):
    ridge = job_pb2.RidgeRecipe(regularization=regularization, temperature=temperature)
    api.published(digits((0, 1), 4), model=model, recipe=job_pb2.Recipe(ridge=ridge))
    (prediction,) = api.predict(model, digit(0, 30)).results[0].predictions

    assert sum(each.probability for each in prediction.classes) == pytest.approx(1, abs=1e-5)


# Examples


def refused_examples(api: Api, model: str, *examples: input_pb2.Example, **spec) -> Refusal:
    return refused(lambda: api.fine_tune([*digits((0, 1), 2), *examples], model=model, **spec))


@pytest.mark.usefixtures("no_trace")
def test_an_empty_dataset_is_refused(api: Api, model: str):
    refusal = refused(lambda: api.fine_tune([], model=model))

    assert (refusal.code, refusal.reason) == (INVALID, "EMPTY_DATASET")
    assert "There are no examples" in refusal.message


@pytest.mark.usefixtures("no_trace")
def test_a_dataset_of_one_class_is_refused(api: Api, model: str):
    refusal = refused(lambda: api.fine_tune(digits((7,), 3), model=model))

    assert (refusal.code, refusal.reason) == (INVALID, "TOO_FEW_CLASSES")
    assert "Received: 3 examples, all of class '7'" in refusal.message


@pytest.mark.usefixtures("no_trace")
def test_a_dataset_that_is_all_held_out_is_refused(api: Api, model: str):
    refusal = refused(lambda: api.fine_tune(digits((0, 1), 3, held_out=True), model=model))

    assert (refusal.code, refusal.reason) == (INVALID, "EMPTY_DATASET")


@pytest.mark.usefixtures("no_trace")
def test_a_class_with_held_out_examples_only_is_refused(api: Api, model: str):
    refusal = refused_examples(api, model, example(digit(7, 0), "7", held_out=True))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert "class '7'" in refusal.message


@pytest.mark.usefixtures("no_trace")
def test_a_held_out_fraction_and_marked_examples_are_refused_together(api: Api, model: str):
    refusal = refused_examples(api, model, example(digit(0, 9), "0", held_out=True), held_out_fraction=0.2)

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["examples[4].held_out"])


def test_a_class_with_one_example_is_learned(api: Api, model: str):
    api.published([*digits((0, 1), 5), example(digit(7, 0), "7")], model=model)

    assert api.names(model, digit(7, 0)) == ["7"]


@pytest.mark.parametrize(
    ("label", "received"),
    [
        ("", "an empty label"),
        (" \u2003", "a blank label"),
        ("x" * 10_000, "10000"),
        ("ü" * 129, "258"),
        ("a\nb", "U+000A as character 1"),
        ("\0", "U+0000 as character 0"),
        ("cat\u202egod", "U+202E as character 3"),
    ],
    ids=["empty", "blank", "10 kB", "too long in UTF-8", "newline", "NUL", "change of direction"],
)
@pytest.mark.usefixtures("no_trace")
def test_an_invalid_label_is_refused_by_its_place(api: Api, model: str, label: str, received: str):
    refusal = refused_examples(api, model, example(digit(0, 9), label))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_LABEL")
    assert list(refusal.fields) == ["examples[4].label.class_name"]
    assert f"Received: {received}" in refusal.message


@pytest.mark.parametrize("label", ["x" * 256, "ü" * 128, "日本語", "../../etc", "a b", "O'Brien; --"])
def test_any_other_label_is_a_class(api: Api, model: str, label: str):
    api.published([*digits((0,), 3), *[example(digit(1, place), label) for place in range(3)]], model=model)

    assert api.names(model, digit(1, 0)) == [label]


@pytest.mark.usefixtures("no_trace")
def test_an_id_that_is_too_long_is_refused_by_its_place(api: Api, model: str):
    refusal = refused_examples(api, model, example(digit(0, 9), "0", example_id="x" * 257))

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["examples[4].example_id"])


@pytest.mark.usefixtures("no_trace")
def test_an_example_without_input_is_refused_by_its_place(api: Api, model: str):
    refusal = refused_examples(api, model, input_pb2.Example(label={"class_name": "0"}))

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["examples[4].input"])


@pytest.mark.usefixtures("no_trace")
def test_a_hundred_thousand_classes_are_refused_at_the_first_too_many(
    api: Api, server: ServerProcess, model: str
):
    image, count = digit(0, 0), 100_000
    made = 0

    def examples() -> Iterator[input_pb2.Example]:
        nonlocal made
        for made in range(1, count + 1):
            yield example(image, f"class {made}")

    before = server.rss
    refusal = refused(lambda: api.fine_tune(examples(), model=model, batch=100))

    assert (refusal.code, refusal.reason) == (INVALID, "TOO_MANY_CLASSES")
    assert (
        "more than the 1,000 classes that the server allows: example 1000 has class 1001" in refusal.message
    )
    assert refusal.metadata == {"limit": "1000"}
    # What was on its way when the refusal came was still sent.
    assert made < count / 2
    assert server.rss - before < 100 << 20


@pytest.mark.usefixtures("no_trace")
def test_a_hundred_thousand_examples_in_one_message_are_refused(api: Api, server: ServerProcess, model: str):
    message = examples_message([example(b"x", f"class {number}") for number in range(100_000)])
    before = server.rss
    refusal = refused(lambda: api.fine_tuning.FineTune(iter([*stream([], model=model), message])))

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["examples.examples"])
    assert "at most 10000 entries" in refusal.message
    assert server.rss - before < 64 << 20


def test_a_compressed_message_is_refused_before_it_is_unpacked(
    server: ServerProcess,
):
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.target, options) as channel:
        predict = channel.unary_unary("/headstart.v1.PredictionService/Predict")
        before = server.rss
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            # 8 MiB, fewer than a message may have, that gzip packs into 8 KiB.
            with pytest.raises(grpc.RpcError) as caught:
                predict(bytes(8 << 20), compression=compression, timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "is disabled" in str(caught.value.details())
    assert server.rss - before < 4 << 20
    # Any client could fill the log.
    assert "is disabled" not in server.log


def test_the_same_content_with_different_labels_fails_the_job_by_its_places(api: Api, model: str):
    examples = [*digits((0, 1), 3), example(digit(0, 1), "1", example_id="twin")]
    job = api.ended(api.fine_tune(examples, model=model).job_id)
    kept = api.published(examples, model=model, max_excluded_fraction=0.4)

    assert job.state == FAILED
    assert "example 2: The same content has the label '0' here and '1' at example 6" in (job.error.message)
    assert [
        (fault.index, fault.example_id, ErrorReason.Name(fault.reason).removeprefix("ERROR_REASON_"))
        for fault in kept.excluded_examples
    ] == [
        (2, "", "CONTRADICTING_LABELS"),
        (6, "twin", "CONTRADICTING_LABELS"),
    ]


def test_equal_rows_of_numbers_may_have_different_labels(api: Api, model: str):
    # Two passengers of the same sex and class: one survived.
    rows = [((0, 1), "yes"), ((0, 1), "no"), ((1, 3), "no"), ((1, 3), "no"), ((1, 2), "no"), ((0, 2), "yes")]
    sent = [
        input_pb2.Example(
            input={"tensor": tensors.encode(np.array(row, np.float32))}, label={"class_name": name}
        )
        for row, name in rows
    ]
    job = api.published(sent, model=model, backbone="features:2")
    assert (job.example_count, list(job.excluded_examples)) == (6, [])
    alike = [each for each in sent if each.input == sent[0].input] * 3
    assert api.published(alike, model=model, backbone="features:2").excluded_count == 0


def test_inputs_that_cannot_be_read_are_skipped_on_request(api: Api, digits_model: str):
    good, other = digit(0, 0), digit(1, 0)
    request = prediction_request(
        digits_model, good, b"bad", b"text", other, skip_invalid_inputs=True, return_features=True
    )
    request.inputs[2].text = "a text"
    response = api.prediction.Predict(request)

    assert [(fault.index, fault.reason) for fault in response.faults] == [
        (1, ErrorReason.ERROR_REASON_UNDECODABLE_INPUT),
        (2, ErrorReason.ERROR_REASON_WRONG_MODALITY),
    ]
    assert response.faults[0].message.startswith("Expected a JPEG, PNG, WebP, GIF or BMP image. Received:")
    alone = api.predict(digits_model, good, other)
    predictions = response.results[0].predictions
    assert [predictions[0], predictions[3]] == list(alone.results[0].predictions)
    assert [bool(each.classes) for each in predictions] == [True, False, False, True]
    features = tensors.decode(response.features[0].views["last"])
    assert np.isnan(features).any(axis=1).tolist() == [False, True, True, False]
    request.inputs[0].text = "also a text"
    request.inputs[3].image = b"bad, too"
    refusal = refused(lambda: api.prediction.Predict(request))
    assert list(refusal.fields) == [f"inputs[{place}]" for place in range(4)]


def test_a_text_among_images_is_excluded_like_an_image_that_cannot_be_read(api: Api, model: str):
    note = input_pb2.Example(
        input=input_pb2.Input(text="a note"), label={"class_name": "0"}, example_id="0/notes.txt"
    )
    examples = [*digits((0, 1), 3), note]
    refusal = refused(lambda: api.fine_tune(examples, model=model))
    kept = api.published(examples, model=model, max_excluded_fraction=0.4)

    assert (refusal.reason, list(refusal.fields)) == ("WRONG_MODALITY", ["examples[6].input"])
    assert [(fault.index, fault.example_id, fault.reason) for fault in kept.excluded_examples] == [
        (6, "0/notes.txt", ErrorReason.ERROR_REASON_WRONG_MODALITY)
    ]


def test_the_same_content_with_the_same_label_is_no_fault(api: Api, model: str):
    job = api.published([*digits((0, 1), 3), *digits((0, 1), 3)], model=model)

    assert (job.example_count, job.excluded_count) == (12, 0)


def test_without_leave_one_example_that_cannot_be_read_fails_the_job(api: Api, model: str):
    examples = [*digits((0, 1), 3), example(b"not an image", "0", example_id="notes/readme.txt")]
    job = api.ended(api.fine_tune(examples, model=model).job_id)

    assert job.state == FAILED
    assert job.error.code == INVALID.value[0]
    assert "1 of 7 examples cannot be used, and max_excluded_fraction allows 0" in job.error.message
    assert "example 6 ('notes/readme.txt'): Expected a JPEG" in job.error.message
    assert job.version == 0
    assert [(fault.index, fault.example_id) for fault in job.excluded_examples] == [(6, "notes/readme.txt")]
    assert refused(lambda: api.predict(model, digit(0, 0))).reason == "MODEL_NOT_FOUND"


def test_with_leave_examples_that_cannot_be_read_are_left_out_and_listed(api: Api, model: str):
    broken = [
        example(b"not an image", "0", example_id="a"),
        example(cut(photograph("china"), 0.3), "1", example_id="b"),
        example(bomb(), "1", example_id="c"),
    ]
    job = api.published([*broken, *digits((0, 1), 3)], model=model, max_excluded_fraction=0.5)

    assert [
        (fault.index, fault.example_id, ErrorReason.Name(fault.reason).removeprefix("ERROR_REASON_"))
        for fault in job.excluded_examples
    ] == [
        (0, "a", "UNDECODABLE_INPUT"),
        (1, "b", "UNDECODABLE_INPUT"),
        (2, "c", "INPUT_TOO_LARGE"),
    ]
    assert all("Received: " in fault.message for fault in job.excluded_examples)
    assert job.excluded_count == 3
    version = api.versions(model)[0]
    assert version.lineage.example_count == 6


def test_a_job_whose_last_good_class_is_dropped_fails_for_it(api: Api, model: str):
    examples = [*digits((0,), 3), *[example(b"broken %d" % place, "1") for place in range(3)]]
    job = api.ended(api.fine_tune(examples, model=model, max_excluded_fraction=1.0).job_id)

    assert job.state == FAILED
    assert "all of class '0'" in job.error.message


# Streams


@pytest.mark.parametrize(
    ("parts", "received"),
    [
        ([], "an empty stream"),
        (["nothing"], "an empty message"),
        (["examples", "spec"], "examples"),
        (["spec", "examples", "spec"], "spec"),
        (["spec", "nothing"], "an empty message"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("no_trace")
def test_a_stream_in_another_order_is_refused(api: Api, model: str, parts: list[str], received: str):
    messages = {
        "spec": next(stream([], model=model)),
        "examples": examples_message(digits((0, 1), 2)),
        "nothing": tuning.FineTuneRequest(),
    }
    refusal = refused(lambda: api.fine_tuning.FineTune(iter([messages[part] for part in parts])))

    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_STREAM")
    assert f"Received: {received}" in refusal.message


@pytest.mark.parametrize("end", ["cancel", "deadline"])
@pytest.mark.usefixtures("no_trace")
def test_a_stream_that_breaks_off_is_never_taken_for_a_complete_one(api: Api, model: str, end: str):
    examples = digits((0, 1), 20)

    for place in range(40):
        sent, given_up = threading.Event(), threading.Event()

        def requests(
            batches: int = place % 4, sent: threading.Event = sent, given_up: threading.Event = given_up
        ) -> Iterator[tuning.FineTuneRequest]:
            messages = stream(examples, model=model, batch=10)
            for _ in range(1 + batches):
                yield next(messages)
            sent.set()
            given_up.wait(60)

        call = api.fine_tuning.FineTune.future(requests(), timeout=0.02 if end == "deadline" else 30)
        if end == "cancel":
            assert sent.wait(60)
            call.cancel()
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            call.result(60)
        given_up.set()


#: Sends a spec and some examples, says so, and dies.
DYING_CALLER = """
import os, sys, threading, grpc
messages = [bytes.fromhex(line) for line in sys.stdin.read().split()]
def requests():
    yield from messages
    print("sent", flush=True)
    threading.Event().wait()
channel = grpc.insecure_channel(sys.argv[1])
call = channel.stream_unary("/headstart.v1.FineTuningService/FineTune").future(requests())
threading.Event().wait()
"""


@pytest.mark.usefixtures("no_trace")
def test_a_caller_that_dies_amid_its_examples_leaves_nothing(api: Api, server: ServerProcess, model: str):
    messages = "\n".join(
        message.SerializeToString().hex() for message in stream(digits((0, 1), 5), model=model, batch=5)
    )
    command = [sys.executable, "-c", DYING_CALLER, server.target]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as caller:
        caller.stdin.write(messages)
        caller.stdin.close()
        assert caller.stdout.readline() == "sent\n"
        eventually(lambda: list((server.data / "datasets").glob("*.part")), TIMEOUT, "the first examples")
        caller.kill()


# Messages, pages, deadlines, callers that leave


@pytest.mark.usefixtures("no_trace")
def test_an_example_over_the_message_limit_is_refused(api: Api, model: str):
    refusal = refused(lambda: api.fine_tune([example(bytes(17 << 20), "0")], model=model))

    assert refusal.code == EXHAUSTED
    # The largest input of the server, 8 MiB, in base64, and a MiB.
    assert str((8 << 20) * 4 // 3 + (1 << 20)) in refusal.message


def token(*key: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": -1},
        {"page_token": "garbage"},
        {"page_token": "ü" * 5000},
        {"page_token": token({})},
        {"page_token": token(10**30)},
        {"page_token": token("\ud800")},
        {"page_token": token(True)},
        {"page_token": base64.urlsafe_b64encode(b"[" * 1500).decode()},
        {"page_token": base64.urlsafe_b64encode(b"[" * 100_000).decode()},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_pages_that_no_answer_named_are_refused_by_every_list(api: Api, digits_model: str, fields: dict):
    calls: list[Callable[[], object]] = [
        lambda: api.fine_tuning.ListJobs(tuning.ListJobsRequest(**fields)),
        lambda: api.models.ListModels(keeping.ListModelsRequest(**fields)),
        lambda: api.models.ListVersions(keeping.ListVersionsRequest(model=digits_model, **fields)),
        lambda: api.models.ListBackbones(keeping.ListBackbonesRequest(**fields)),
    ]
    for call in calls:
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
        assert list(refusal.fields) == list(fields)
        assert "Received: " in refusal.message


@pytest.mark.parametrize("wait", [-1.0, 3601.0])
def test_a_wait_out_of_range_is_refused(api: Api, wait: float):
    refusal = refused(
        lambda: api.fine_tuning.Status(tuning.StatusRequest(job_id="any", wait_duration=duration(wait)))
    )

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["wait_duration"])


def test_an_unknown_state_is_refused(api: Api):
    refusal = refused(lambda: api.fine_tuning.ListJobs(tuning.ListJobsRequest(states=[3, 77])))

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["states"])
    assert "77" in refusal.message


@pytest.mark.parametrize("alias", ["", "7", "a b", "../x", "x" * 1000])
def test_an_alias_that_may_not_be_called_so_is_refused(api: Api, digits_model: str, alias: str):
    request = keeping.SetAliasRequest(model=digits_model, alias=alias, version=1)
    refusal = refused(lambda: api.models.SetAlias(request))

    assert (refusal.code, list(refusal.fields)) == (INVALID, ["alias"])


def test_an_expired_deadline_ends_the_call(api: Api, server: ServerProcess, digits_model: str):
    # Sixteen take longer than any of these, and those of all three together fit into what the server holds:
    # what one call leaves behind takes no place from the next.
    for timeout in (0.0, 0.001, 0.005):
        refusal = refused(
            lambda timeout=timeout: api.predict(digits_model, *[digit(0, 0)] * 16, timeout=timeout)
        )
        assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: held(server) == 0, TIMEOUT, "an empty queue")


def held(server: ServerProcess) -> float:
    return server.metrics().value("headstart_queue_depth", lane="predict")


def test_callers_that_leave_free_their_place(api: Api, server: ServerProcess, digits_model: str):
    images = [item.input.image for item in noise(16, seed=300)]
    request = prediction_request(digits_model, *images)

    for place in range(60):
        calls = [api.prediction.Predict.future(request, timeout=30) for _ in range(4)]
        if place % 2:
            eventually(lambda calls=calls: held(server) > 0 or calls[0].done(), TIMEOUT, "a queue")
        for call in calls:
            call.cancel()
    eventually(lambda: held(server) == 0, TIMEOUT, "an empty queue")

    # The server holds 64 inputs at most, so this is answered only if every place is free again.
    def answered() -> bool:
        try:
            return len(api.predict(digits_model, *[digit(0, 0)] * 64).results[0].predictions) == 64
        except grpc.RpcError as error:
            if error.code() != EXHAUSTED:
                raise
            return False

    eventually(answered, TIMEOUT, "all places to be free")
