"""An alias gives another version a share of its calls: by every way in, a key gets the same version.

On the server that all tests share; only a real one has the metadata, headers and metrics together.
"""

import json
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest

from headstart import Client
from headstart.inputs import tensors
from headstart.v1 import input_pb2, model_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.compat import tensorflow_serving_pb2 as serving
from headstart_server.models.traffic_split import choose_version
from headstart_server.models.version import TrafficSplit
from integration.server.calls import TIMEOUT, Api, refused
from server_process import ServerProcess

KEYS = [f"user {place}" for place in range(40)]
ROW = np.ones(4, np.float32)
SHARES = [TrafficSplit(number=2, fraction=0.4)]


@dataclass
class Shared:
    """A model whose alias names version 1 and gives version 2 a share."""

    server: ServerProcess
    api: Api
    model: str

    def metadata(self, key: str) -> list[tuple[str, str]]:
        return [("headstart-routing-key", key)]

    def predict(
        self,
        key: str = "",
        metadata: Any = (),
        further: Sequence[version_selector_pb2.VersionSelector] = (),
        **fields: Any,
    ) -> predicting.PredictResponse:
        target = version_selector_pb2.VersionSelector(model=self.model, alias="stable")
        inputs = [input_pb2.Input(tensor=tensors.encode(ROW))]
        request = predicting.PredictRequest(
            targets=[target, *further], inputs=inputs, routing_key=key, **fields
        )
        return self.api.prediction.Predict(request, metadata=metadata, timeout=TIMEOUT)

    def infer(self, key: str = "", metadata: Any = ()) -> int:
        tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1, 4])
        request = oip.ModelInferRequest(
            model_name=f"{self.model}@stable", inputs=[tensor], raw_input_contents=[ROW.tobytes()]
        )
        if key:
            request.parameters["routing_key"].string_param = key
        call = self.api.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )
        return int(call(request, metadata=metadata, timeout=TIMEOUT).model_version)

    def serve(self, method: str, metadata: Any) -> int:
        """By TensorFlow Serving's Predict or Classify."""
        spec = serving.ModelSpec(name=self.model, version_label="stable")
        if method == "Predict":
            request: Any = serving.PredictRequest(model_spec=spec)
            shape = tf.TensorShapeProto(dim=[tf.TensorShapeProto.Dim(size=size) for size in (1, 4)])
            tensor = tf.TensorProto(dtype=tf.DT_FLOAT, tensor_shape=shape, tensor_content=ROW.tobytes())
            request.inputs["inputs"].CopyFrom(tensor)
            response: Any = serving.PredictResponse
        else:
            request, response = serving.ClassificationRequest(model_spec=spec), serving.ClassificationResponse
            feature = tf.Feature(float_list=tf.FloatList(value=ROW.tolist()))
            request.input.example_list.examples.add().features.feature["row"].CopyFrom(feature)
        call = self.api.channel.unary_unary(
            f"/tensorflow.serving.PredictionService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return int(call(request, metadata=metadata, timeout=TIMEOUT).model_spec.version.value)

    def over_http(self, key: str, headers: dict[str, str]) -> int:
        tensor = {"dataType": "DATA_TYPE_FLOAT32", "shape": [4], "data": b64encode(ROW.tobytes()).decode()}
        body: dict[str, Any] = {"inputs": [{"tensor": tensor}]}
        if key:
            body["routingKey"] = key
        url = f"http://{self.server.event('http_listening')}/v1/models/{self.model}/aliases/stable:predict"
        headers = {"content-type": "application/json", **headers}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return int(json.loads(answer.read())["results"][0]["version"])

    def expected(self, key: str) -> int:
        return choose_version(key, self.model, 1, SHARES)


@pytest.fixture(scope="module")
def shared(server: ServerProcess, api: Api) -> Shared:
    model = "shared"
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 4)).astype(np.float32)
    examples = [
        input_pb2.Example(
            input=input_pb2.Input(tensor=tensors.encode(row)), label={"class_name": "ab"[int(row[0] > 0)]}
        )
        for row in rows
    ]
    for _ in range(2):
        api.published(examples, model=model)
    given = [model_pb2.TrafficSplit(version=2, fraction=0.4)]
    request = keeping.SetAliasRequest(model=model, alias="stable", version=1, traffic=given)
    alias = api.models.SetAlias(request, timeout=TIMEOUT).alias
    assert list(alias.traffic) == given
    return Shared(server, api, model)


def test_each_key_gets_its_version_and_each_version_its_share(shared: Shared):
    versions = {key: shared.predict(key).results[0].version for key in KEYS}

    assert versions == {key: shared.expected(key) for key in KEYS}
    counts = Counter(versions.values())
    assert 6 <= counts[2] <= 26
    assert {shared.predict().results[0].version for _ in range(40)} == {1, 2}


@pytest.mark.parametrize("key", KEYS[:6])
def test_every_way_in_gives_a_key_the_same_version(shared: Shared, key: str):
    metadata, header = shared.metadata(key), {"Headstart-Routing-Key": key}

    versions = {
        "metadata": shared.predict(metadata=metadata).results[0].version,
        "field first": shared.predict(key, metadata=shared.metadata("another")).results[0].version,
        "open inference": shared.infer(key),
        "open inference, metadata": shared.infer(metadata=metadata),
        "serving predict": shared.serve("Predict", metadata),
        "serving classify": shared.serve("Classify", metadata),
        "http": shared.over_http(key, {}),
        "http header": shared.over_http("", header),
    }

    assert versions == dict.fromkeys(versions, shared.expected(key))


def test_an_alias_that_is_named_twice_in_a_call_is_one_version(shared: Shared):
    again = [version_selector_pb2.VersionSelector(model=shared.model, alias="stable")] * 3
    for _ in range(20):
        response = shared.predict(further=again)
        assert len({each.version for each in response.results}) == 1


def test_calls_other_than_predict_use_the_named_version(shared: Shared):
    target = version_selector_pb2.VersionSelector(model=shared.model, alias="stable")
    evaluation = shared.api.models.GetEvaluation(keeping.GetEvaluationRequest(target=target), timeout=TIMEOUT)
    assert evaluation.version.version == 1
    with Client(shared.server.target) as client:
        (alias,) = client.get_model(shared.model).aliases
        assert (alias.version, alias.traffic) == (1, {2: 0.4})


def test_the_calls_of_each_version_are_counted_and_timed(shared: Shared):
    labels = {"model": shared.model}
    key = next(key for key in KEYS if shared.expected(key) == 2)
    before = shared.server.metrics()
    shared.predict(key)
    # Features have none, which is found once the version is.
    refused(lambda: shared.predict(key, saliency=predicting.SaliencyRequest()))
    # A version that is named by its number has no traffic split.
    shared.api.prediction.Predict(
        predicting.PredictRequest(
            targets=[version_selector_pb2.VersionSelector(model=shared.model, version=2)],
            inputs=[input_pb2.Input(tensor=tensors.encode(ROW))],
        ),
        timeout=TIMEOUT,
    )
    after = shared.server.metrics()

    def risen(name: str, **more: str) -> float:
        return after.value(name, **labels, **more) - before.value(name, **labels, **more)

    assert risen("headstart_canary_requests_total", version="2", grpc_code="OK") == 1
    code = "INVALID_ARGUMENT"
    assert risen("headstart_canary_requests_total", version="2", grpc_code=code) == 1
    assert risen("headstart_canary_request_duration_seconds_count", version="1") == 0
    assert risen("headstart_canary_request_duration_seconds_count", version="2") == 2


def test_keys_that_are_too_long_and_versions_that_are_needed_are_refused(shared: Shared):
    refusal = refused(lambda: shared.predict("x" * 257))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    delete = keeping.DeleteVersionRequest(model=shared.model, version=2)
    refusal = refused(lambda: shared.api.models.DeleteVersion(delete, timeout=TIMEOUT))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_IN_USE")
    given = [model_pb2.TrafficSplit(version=2, fraction=1.5)]
    request = keeping.SetAliasRequest(model=shared.model, alias="stable", version=1, traffic=given)
    refusal = refused(lambda: shared.api.models.SetAlias(request, timeout=TIMEOUT))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
