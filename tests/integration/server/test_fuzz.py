"""No bytes at all make the server fault: every answer is a result or a refusal that blames the caller."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2, label_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import (
    TIMEOUT,
    Api,
    digit,
    digits,
    examples_message,
    photograph,
    prediction_request,
)

#: What may be said to a caller who sent nonsense.
BLAMED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
# Each example is a call or more; the server is the same for all of them.
bounded = settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or None if it was refused for what was sent."""
    try:
        return call()
    except grpc.RpcError as error:
        if error.code() not in BLAMED:
            raise
        return None


METHODS = {
    "ServerService": ("GetServerInfo", "WhoAmI", "GetUsage"),
    "PredictionService": ("Predict", "Embed"),
    "FineTuningService": ("SubmitFineTune", "Status", "Cancel", "DeleteJob", "ListJobs"),
    "ModelService": (
        "ListModels",
        "GetModel",
        "GetVersion",
        "ListVersions",
        "GetTraffic",
        "ListAliasEvents",
        "UpdateVersion",
        "UpdateModel",
        "SetAlias",
        "DeleteAlias",
        "DeleteVersion",
        "DeleteModel",
        "ListBackbones",
        "GetEvaluation",
    ),
}
PATHS = [f"/headstart.v1.{service}/{name}" for service, names in METHODS.items() for name in names]


@bounded
@given(path=st.sampled_from(PATHS), message=st.binary(max_size=300))
def test_any_bytes_as_a_request(api: Api, path: str, message: bytes):
    outcome(lambda: api.channel.unary_unary(path)(message, timeout=TIMEOUT))


STREAMS = ("FineTuningService/FineTune", "EvaluationService/Evaluate", "EvaluationService/Compare")


@bounded
@given(path=st.sampled_from(STREAMS), messages=st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_as_a_stream(api: Api, path: str, messages: list[bytes]):
    send = api.channel.stream_unary(f"/headstart.v1.{path}")
    outcome(lambda: send(iter(messages), timeout=TIMEOUT))


@bounded
@given(message=st.binary(max_size=100))
def test_any_bytes_as_a_request_to_watch(api: Api, message: bytes):
    watch = api.channel.unary_stream("/headstart.v1.FineTuningService/Watch")
    outcome(lambda: list(watch(message, timeout=TIMEOUT)))


def damaged(original: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them changed, cut out or put in."""
    place = st.integers(0, len(original))

    def apply(edits: Iterable[tuple[int, int, bytes]]) -> bytes:
        changed = original
        for start, length, insert in edits:
            changed = changed[:start] + insert + changed[start + length :]
        return changed

    edit = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))
    return st.lists(edit, min_size=1, max_size=8).map(apply)


GOOD_PREDICT = prediction_request("digits", digit(0, 0), top_k=3).SerializeToString()
GOOD_STREAM = [
    tuning.FineTuneRequest(
        spec=job_pb2.FineTuneSpec(model="fuzzed", seed=3, tags={"a": "b"}, request_id="")
    ).SerializeToString(),
    examples_message(digits((0, 1), 2)).SerializeToString(),
]


@bounded
@given(message=damaged(GOOD_PREDICT))
def test_a_good_prediction_request_with_damage(api: Api, digits_model: str, message: bytes):
    outcome(
        lambda: api.channel.unary_unary("/headstart.v1.PredictionService/Predict")(message, timeout=TIMEOUT)
    )


@bounded
@given(spec=damaged(GOOD_STREAM[0]), examples=damaged(GOOD_STREAM[1]))
def test_a_good_fine_tune_with_damage(api: Api, spec: bytes, examples: bytes):
    send = api.channel.stream_unary(
        "/headstart.v1.FineTuningService/FineTune", response_deserializer=tuning.FineTuneResponse.FromString
    )
    check_jobs(api, outcome(lambda: send(iter([spec, examples]), timeout=TIMEOUT)))


def check_jobs(api: Api, response: tuning.FineTuneResponse | None) -> None:
    """A job that was accepted ends, and not by a fault of the server."""
    if response is not None and response.HasField("job"):
        assert api.ended(response.job.job_id).error.code != grpc.StatusCode.INTERNAL.value[0]


def image(kind: str) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photograph("flower"))).resize((40, 30)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_image_with_damage(api: Api, digits_model: str, kind: str):
    original = image(kind)

    @bounded
    @given(data=damaged(original))
    def check(data: bytes) -> None:
        outcome(lambda: api.predict(digits_model, data))

    check()


integers = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(2**31), 2**31 - 1)
tensor = st.builds(
    input_pb2.Tensor,
    data_type=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 99]),
    shape=st.lists(st.one_of(st.integers(0, 4), integers), max_size=4),
    data=st.binary(max_size=64),
)
content = st.one_of(
    st.builds(input_pb2.Input, image=st.one_of(st.binary(max_size=64), st.just(digit(0, 0)))),
    st.builds(input_pb2.Input, text=st.text(max_size=8)),
    st.builds(input_pb2.Input, tensor=tensor),
    st.builds(input_pb2.Input),
)
selector = st.one_of(
    st.builds(version_selector_pb2.VersionSelector, model=st.sampled_from(["digits", "none", ""])),
    st.builds(version_selector_pb2.VersionSelector, model=st.text(max_size=8), alias=st.text(max_size=8)),
    st.builds(version_selector_pb2.VersionSelector, model=st.just("digits"), version=integers),
)
prediction = st.builds(
    predicting.PredictRequest,
    inputs=st.lists(content, max_size=3),
    top_k=small,
    targets=st.lists(selector, max_size=3),
    return_features=st.booleans(),
)
floats = st.floats()
recipe = st.builds(
    job_pb2.Recipe,
    ridge=st.builds(
        job_pb2.RidgeRecipe, regularization=floats, temperature=floats, folds=small, view=st.text(max_size=4)
    ),
)
logistic = st.builds(
    job_pb2.Recipe,
    logistic=st.builds(
        job_pb2.LogisticRecipe,
        regularization=floats,
        temperature=floats,
        folds=small,
        views=st.lists(st.sampled_from(["last", "taps", "x"]), max_size=3),
        scaling=st.sampled_from(sorted(job_pb2.FeatureScaling.values())),
        balanced=st.booleans(),
    ),
)
spec = st.builds(
    job_pb2.FineTuneSpec,
    model=st.one_of(st.just("fuzzed"), st.text(max_size=6)),
    backbone=st.sampled_from(["", "", "efficientnet-lite0", "other"]),
    recipe=st.one_of(st.just(job_pb2.Recipe()), recipe, logistic),
    held_out_fraction=st.one_of(st.floats(0, 0.9), floats),
    seed=st.integers(0, 2**64 - 1),
    tags=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
    alias=st.one_of(st.just(""), st.text(max_size=4)),
    validate_only=st.booleans(),
    max_excluded_fraction=st.one_of(st.floats(0, 1), floats),
)
names = st.sampled_from(["a", "b", "c", "", "\0"])
label = st.one_of(
    st.builds(label_pb2.Label, class_name=names),
    st.builds(
        label_pb2.Label, classes=st.builds(label_pb2.LabelSet, class_names=st.lists(names, max_size=3))
    ),
    st.builds(label_pb2.Label, number=floats),
    st.builds(
        label_pb2.Label,
        probabilities=st.builds(
            label_pb2.SoftLabel, probabilities=st.dictionaries(names, floats, max_size=3)
        ),
    ),
    st.builds(label_pb2.Label),
)
labeled = st.builds(
    input_pb2.Example,
    input=content,
    label=label,
    example_id=st.text(max_size=4),
    held_out=st.booleans(),
)
good = st.sampled_from(digits((0, 1), 6))


@bounded
@given(request=prediction)
def test_any_fields_of_a_prediction(api: Api, digits_model: str, request: predicting.PredictRequest):
    response = outcome(lambda: api.prediction.Predict(request, timeout=TIMEOUT))
    if response is not None:
        assert len(response.results[0].predictions) == len(request.inputs)


@bounded
@given(spec=spec, examples=st.lists(st.one_of(good, good, good, labeled), max_size=12))
def test_any_fields_of_a_fine_tune(api: Api, spec: job_pb2.FineTuneSpec, examples: list[input_pb2.Example]):
    requests = [tuning.FineTuneRequest(spec=spec), examples_message(examples)]
    check_jobs(api, outcome(lambda: api.fine_tuning.FineTune(iter(requests), timeout=TIMEOUT)))


@bounded
@given(
    model=st.text(max_size=6),
    name=st.text(max_size=6),
    number=integers,
    size=small,
    token=st.text(max_size=20),
)
def test_any_fields_of_the_calls_on_models(
    api: Api, digits_model: str, model: str, name: str, number: int, size: int, token: str
):
    for target in (model, digits_model):
        for call, request in (
            (api.models.GetModel, keeping.GetModelRequest(model=target)),
            (
                api.models.ListVersions,
                keeping.ListVersionsRequest(model=target, page_size=size, page_token=token, order_by=name),
            ),
            (
                api.models.SetAlias,
                keeping.SetAliasRequest(model=target, alias=name, version=number, etag=token),
            ),
            (
                api.models.DeleteVersion,
                keeping.DeleteVersionRequest(model=target, version=number - (number == 1)),
            ),
            (api.fine_tuning.ListJobs, tuning.ListJobsRequest(model=target, page_size=size, states=[size])),
        ):
            outcome(lambda call=call, request=request: call(request, timeout=TIMEOUT))
