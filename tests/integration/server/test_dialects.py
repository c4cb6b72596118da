"""Clients of other model servers, as their makers ship them, get the answers that Headstart's own calls give.

Each runs in a separate process, with its own messages: two of them would not fit into one. What they cannot
send, or what all would send alike, goes through our own messages.
"""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from foreign import environment
from headstart.inputs import tensors
from headstart.v1 import input_pb2, model_service_pb2
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.compat import tensorflow_serving_pb2 as serving
from integration.server.calls import TIMEOUT, Api, digit, digits, refused
from programs import CLIENTS, PERF_ANALYZER
from server_process import ServerProcess, eventually

# The first use installs the clients.
pytestmark = pytest.mark.timeout(600)

CALLS = Path(environment.__file__).parent
DOCUMENT = Path(__file__).parents[3] / "docs" / "guides" / "other-clients.md"
MODEL, ALIAS = "foreign", "stable"
#: A model of six features, that gives their sum.
SUMS = "sums"
#: Unlike those learned from.
SAMPLES = [(0, 40), (7, 41), (1, 42)]
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module", autouse=True)
def model(api: Api) -> str:
    """A model of two versions; the alias names the first."""
    api.published(digits((0, 1, 7), 4), model=MODEL, alias=ALIAS)
    return api.published(digits((0, 1, 7), 12), model=MODEL).spec.model


@pytest.fixture(scope="module")
def rows(api: Api) -> np.ndarray:
    """What `SUMS` was fitted on, [40, 6]."""
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    examples = [
        input_pb2.Example(
            input=input_pb2.Input(tensor=tensors.encode(row)), label={"number": float(row.sum())}
        )
        for row in rows
    ]
    api.published(examples, model=SUMS)
    return rows


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{label}-{place}.png" for label, place in SAMPLES]
    for path, sample in zip(paths, SAMPLES, strict=True):
        path.write_bytes(digit(*sample))
    return list(map(str, paths))


@pytest.fixture(scope="module")
def clients() -> str:
    """The interpreter of the environment that has them."""
    try:
        return str(environment.python())
    except subprocess.CalledProcessError:
        CLIENTS.refuse()


def ours(api: Api, **selector: Any) -> tuple[list[str], list[list[float]]]:
    """What our own Predict answers: the likeliest labels, and the probabilities by class."""
    response = api.predict(MODEL, *(digit(*sample) for sample in SAMPLES), top_k=10_000, **selector)
    by_index = [sorted(each.classes, key=lambda one: one.index) for each in response.results[0].predictions]
    labels = [each.classes[0].name for each in response.results[0].predictions]
    return labels, [[one.probability for one in classes] for classes in by_index]


def ran(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT * 2, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def same(reported: Sequence[Any], expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(
        np.array(reported, np.float32).ravel(), np.array(expected, np.float32).ravel()
    )


# The clients


@pytest.mark.usefixtures("rows")
def test_tritons_client_gets_our_answers(api: Api, server: ServerProcess, files: list[str], clients: str):
    program = str(CALLS / "triton_calls.py")
    reported = json.loads(ran(clients, program, server.target, MODEL, ALIAS, SUMS, *files).splitlines()[-1])
    labels, probabilities = ours(api)
    of_alias, by_alias = ours(api, alias=ALIAS)

    assert (reported["live"], reported["ready"], reported["model_ready"]) == (
        True,
        True,
        [True, True, False, False],
    )
    assert reported["server"]["name"] == "headstart"
    assert reported["server"]["extensions"] == [
        "classification",
        "model_repository",
        "model_configuration",
        "statistics",
    ]
    assert reported["model"]["versions"] == ["1", "2"]
    assert reported["model"]["inputs"] == [{"name": "input", "datatype": "BYTES", "shape": ["-1", "1"]}]
    assert reported["model"]["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]},
        {"name": "label", "datatype": "BYTES", "shape": ["-1"]},
    ]
    assert reported["config"]["config"]["input"][0] == {
        "name": "input",
        "data_type": "TYPE_STRING",
        "dims": ["1"],
    }
    index = {(each["name"], each["version"]): each["state"] for each in reported["index"]["models"]}
    assert {version: index[MODEL, version] for version in ("1", "2")} == {"1": "READY", "2": "READY"}

    assert (reported["answer"]["id"], reported["answer"]["name"], reported["answer"]["version"]) == (
        "seven",
        MODEL,
        "2",
    )
    assert reported["answer"]["label"] == labels
    same(reported["answer"]["probabilities"], probabilities)
    assert reported["chosen"]["outputs"] == ["label", "probabilities"]
    likeliest = [row[0].split(":") for row in reported["chosen"]["classes"]]
    assert [len(row) for row in reported["chosen"]["classes"]] == [2, 2, 2]
    assert [label for _, _, label in likeliest] == of_alias
    assert [float(score) for score, _, _ in likeliest] == pytest.approx(
        [max(row) for row in by_alias], abs=1e-6
    )

    halves, whole = reported["bfloat16"]
    assert halves == whole
    assert (reported["regions"], reported["unregistered"]) == ({}, None)
    check_statistics(**reported["statistics"])

    streamed = reported["streamed"]
    assert [each for each in streamed if each[0]] == [[str(n), labels] for n in range(40) if n != 20]
    assert "There is no model 'missing'" in streamed[20][1]
    codes = {name: error[0].removeprefix("StatusCode.") for name, error in reported["errors"].items()}
    assert codes == {
        "model": "NOT_FOUND",
        "alias": "NOT_FOUND",
        "version": "INVALID_ARGUMENT",
        "output": "INVALID_ARGUMENT",
        "datatype": "INVALID_ARGUMENT",
        "bytes": "INVALID_ARGUMENT",
        "unload": "UNIMPLEMENTED",
        "input in shared memory": "INVALID_ARGUMENT",
        "output in shared memory": "INVALID_ARGUMENT",
        "region": "UNIMPLEMENTED",
        "cuda region": "UNIMPLEMENTED",
        "statistics": "NOT_FOUND",
    }
    for name in ("input in shared memory", "output in shared memory", "region", "cuda region"):
        assert "'corner' of shared memory" in reported["errors"][name][1]
    assert "Input 0: Expected a JPEG, PNG" in reported["errors"]["bytes"][1]


def check_statistics(before: Any, after: Any, model: Any, all: Any) -> None:
    """One call of three images that was answered, and one that was not, lie between."""

    def numbers(reported: Any) -> dict[str, int]:
        parts = {name: int(reported.get(name, 0)) for name in ("inference_count", "execution_count")}
        stages = reported["inference_stats"]
        parts |= {f"{name} calls": int(each.get("count", 0)) for name, each in stages.items()}
        return parts | {f"{name} ns": int(each.get("ns", 0)) for name, each in stages.items()}

    ((first,), (last,)) = before, after
    assert (last["name"], last["version"]) == (MODEL, "1")
    was, now = numbers(first), numbers(last)
    more = {name: now[name] - was.get(name, 0) for name in now}
    assert (more["inference_count"], more["execution_count"]) == (3, 1)
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    calls = {name: more[f"{name} calls"] for name in ("success", "fail", *stages)}
    assert calls == dict.fromkeys(calls, 1)
    # Stages of several inputs overlap: each is of its longest.
    assert more["success ns"] >= max(more[f"{name} ns"] for name in stages) > 0
    assert more["fail ns"] > 0
    assert int(last["last_inference"]) > 1.7e12
    assert [each["version"] for each in model] == ["1", "2"]
    assert {(MODEL, "1"), (MODEL, "2"), (SUMS, "1")} <= {(each["name"], each["version"]) for each in all}


def test_kserves_client_gets_our_answers_typed_and_raw(
    api: Api, server: ServerProcess, files: list[str], clients: str
):
    program = str(CALLS / "kserve_calls.py")
    reported = json.loads(ran(clients, program, server.target, MODEL, *files).splitlines()[-1])
    labels, probabilities = ours(api)

    assert (reported["live"], reported["ready"], reported["model_ready"]) == (True, True, [True, False])
    assert (reported["typed"]["id"], reported["raw"]["id"]) == ("eight", "nine")
    for each in (reported["typed"], reported["raw"]):
        assert each["label"] == labels
        same(each["probabilities"], probabilities)


def test_tensorflow_servings_client_gets_our_answers(api: Api, server: ServerProcess, files: list[str]):
    program = str(CALLS / "tensorflow_serving_calls.py")
    reported = json.loads(ran(sys.executable, program, server.target, MODEL, ALIAS, *files).splitlines()[-1])
    newest, first = ours(api), ours(api, version=1)

    for name, version, (labels, probabilities) in (
        ("newest", 2, newest),
        ("numbered", 1, first),
        ("labeled", 1, first),
    ):
        assert (reported[name]["version"], reported[name]["label"]) == (version, labels)
        same(reported[name]["probabilities"], probabilities)
    assert reported["filtered"] == ["label"]
    assert [classes[0][0] for classes in reported["classified"]] == newest[0]
    assert [classes[0][1] for classes in reported["classified"]] == [max(row) for row in newest[1]]
    assert [number for number, _ in reported["both"]] == [2, 1]
    assert reported["both"][0][1] == reported["classified"]
    assert [classes[0] for classes in reported["both"][1][1]] == [
        [label, max(row)] for label, row in zip(*first, strict=True)
    ]
    assert reported["inputs"] == {"inputs": "string"}
    assert reported["outputs"] == {"probabilities": ["float32", [-1, 3]], "label": ["string", [-1]]}
    assert reported["methods"] == {
        "serving_default": "tensorflow/serving/predict",
        "classify": "tensorflow/serving/classify",
    }
    available = serving.ModelVersionStatus.AVAILABLE
    assert reported["status"] == [[2, available], [1, available]]
    assert {name: error[0] for name, error in reported["errors"].items()} == {
        "model": "NOT_FOUND",
        "label": "NOT_FOUND",
        "version": "NOT_FOUND",
        "dtype": "INVALID_ARGUMENT",
        "output": "INVALID_ARGUMENT",
        "regress": "INVALID_ARGUMENT",
        "regress among several": "INVALID_ARGUMENT",
        "other method": "INVALID_ARGUMENT",
        "no task": "INVALID_ARGUMENT",
        "reload": "UNIMPLEMENTED",
    }


def test_tritons_perf_analyzer_measures_a_model(
    server: ServerProcess, files: list[str], clients: str, tmp_path: Path
):
    program = environment.perf_analyzer() or PERF_ANALYZER.refuse()
    image = Path(files[0]).read_bytes()
    # As Triton wants strings of bytes in base 64: behind their length.
    value = b64encode(len(image).to_bytes(4, "little") + image).decode()
    (tmp_path / "data.json").write_text(json.dumps({"data": [{"input": {"b64": value}}]}))
    flags = ["--measurement-mode", "count_windows", "--measurement-request-count", "10", "-s", "1000"]
    reported = ran(
        str(program), "-m", MODEL, "-u", server.target, "-i", "grpc", "--input-data", "data.json", *flags,
        folder=tmp_path,
    )  # fmt: skip
    assert re.search(r"Concurrency: 1, throughput: [1-9][0-9.]* infer/sec", reported), reported


def test_the_examples_of_the_document_work_as_written(
    api: Api, server: ServerProcess, clients: str, tmp_path: Path
):
    api.published(digits((0, 1), 4), model="pets", alias="stable")
    (tmp_path / "cat.jpg").write_bytes(digit(0, 50))
    (tmp_path / "dog.jpg").write_bytes(digit(1, 50))
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    programs = {"tritonclient": clients, "kserve": clients, "tensorflow_serving": sys.executable}
    assert len(blocks) == len(programs)
    for block, (package, program) in zip(blocks, programs.items(), strict=True):
        assert package in block
        reported = ran(program, "-c", block.replace("localhost:8765", server.target), folder=tmp_path)
        assert "b'0', b'1'" in reported.replace("b'0' b'1'", "b'0', b'1'") or "['0', '1']" in reported, (
            reported
        )


# The messages of TensorFlow and of clients in the same process


def test_tensorflow_and_our_messages_live_in_one_process():
    lines = [
        "from headstart_server.api.compat import services, tensorflow_serving_pb2 as own",
        "import tensorflow; from tensorflow_serving.apis import predict_pb2",
    ]
    # As in a server: ours are there first, and TensorFlow comes with the first network that Keras runs.
    lines.append(
        "request = own.PredictRequest(); request.inputs['x'].string_val.append(b'y');"
        "print(predict_pb2.PredictRequest.FromString(request.SerializeToString()).inputs['x'].string_val)"
    )
    assert ran(sys.executable, "-c", "\n".join(lines)) == "[b'y']\n"


def test_reflection_describes_the_dialects(api: Api):
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    request = reflection_pb2.ServerReflectionRequest
    names = [
        "inference.GRPCInferenceService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    ]
    requests = [request(list_services=""), *(request(file_containing_symbol=name) for name in names)]
    listed, *found = stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT)
    files = {
        file.name: file
        for each in found
        for file in map(FileDescriptorProto.FromString, each.file_descriptor_response.file_descriptor_proto)
    }
    services = chain.from_iterable(file.service for file in files.values())

    assert {service.name for service in listed.list_services_response.service} >= set(names)
    methods = {service.name: {method.name for method in service.method} for service in services}
    assert "ModelInfer" in methods["GRPCInferenceService"]
    assert "GetModelMetadata" in methods["PredictionService"]
    assert "GetModelStatus" in methods["ModelService"]


# What all clients would send alike


def infer(api: Api, request: oip.ModelInferRequest, timeout: float = TIMEOUT) -> Any:
    call = api.channel.unary_unary(
        INFER,
        request_serializer=oip.ModelInferRequest.SerializeToString,
        response_deserializer=oip.ModelInferResponse.FromString,
    )
    return call(request, timeout=timeout)


def infer_request(model: str, datatype: str, values: Any) -> Any:
    tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype=datatype, shape=values.shape)
    return oip.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[values.tobytes()])


def test_pixels_are_images(api: Api):
    pixels = np.stack([np.asarray(Image.open(BytesIO(digit(*sample))).convert("RGB")) for sample in SAMPLES])
    response = infer(api, infer_request(MODEL, "UINT8", pixels))
    labels, probabilities = ours(api)
    same(np.frombuffer(response.raw_output_contents[0], np.float32), probabilities)
    assert [response.raw_output_contents[1][4 + place * 5] for place in range(3)] == [
        ord(label) for label in labels
    ]


def test_features_are_answered_with_the_numbers_of_a_regression(api: Api, rows: np.ndarray):
    response = infer(api, infer_request(SUMS, "FP32", rows[:5]))
    request = serving.RegressionRequest(model_spec=serving.ModelSpec(name=SUMS))
    for row in rows[:5]:
        feature = tf.Feature(float_list=tf.FloatList(value=row.tolist()))
        request.input.example_list.examples.add().features.feature["row"].CopyFrom(feature)
    regress = api.channel.unary_unary(
        "/tensorflow.serving.PredictionService/Regress",
        request_serializer=serving.RegressionRequest.SerializeToString,
        response_deserializer=serving.RegressionResponse.FromString,
    )
    reported = [each.value for each in regress(request, timeout=TIMEOUT).result.regressions]

    assert [(each.name, each.datatype, list(each.shape)) for each in response.outputs] == [
        ("value", "FP32", [5])
    ]
    values = np.frombuffer(response.raw_output_contents[0], np.float32)
    np.testing.assert_allclose(values, rows[:5].sum(axis=1), atol=0.2)
    np.testing.assert_array_equal(np.array(reported, np.float32), values)


def test_tasks_on_inputs_of_two_kinds_are_refused(api: Api, rows: np.ndarray):
    request = serving.MultiInferenceRequest()
    for model, method in ((MODEL, "classify"), (SUMS, "regress")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = model
    call = api.channel.unary_unary(
        "/tensorflow.serving.PredictionService/MultiInference",
        request_serializer=serving.MultiInferenceRequest.SerializeToString,
        response_deserializer=serving.MultiInferenceResponse.FromString,
    )
    with pytest.raises(grpc.RpcError, match="Received: image and tensor"):
        call(request, timeout=TIMEOUT)
    # The numbers of a regression, twice.
    request.tasks[0].CopyFrom(request.tasks[1])
    feature = tf.Feature(float_list=tf.FloatList(value=rows[0].tolist()))
    request.input.example_list.examples.add().features.feature["row"].CopyFrom(feature)
    one, other = call(request, timeout=TIMEOUT).results
    assert one == other
    assert one.regression_result.regressions[0].value == pytest.approx(rows[0].sum(), abs=0.2)


def test_a_timeout_of_the_message_is_a_deadline(api: Api):
    request = infer_request(MODEL, "UINT8", np.zeros((1, 8, 8, 3), np.uint8))
    request.parameters["timeout"].int64_param = 1  # microsecond
    refusal = refused(lambda: infer(api, request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


def test_too_many_inputs_are_refused_as_predict_does(api: Api):
    refusal = refused(lambda: infer(api, infer_request(MODEL, "UINT8", np.zeros((257, 1, 1, 3), np.uint8))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "Expected 1 to 256 inputs in 'input'. Received: 257." in refusal.message


def test_bytes_that_are_no_message_are_refused(api: Api):
    refusal = refused(lambda: api.channel.unary_unary(INFER)(b"\xff\xff\xff", timeout=TIMEOUT))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_calls_and_predictions_are_counted_as_others_are(api: Api, server: ServerProcess):
    before = server.metrics()
    infer(api, infer_request(MODEL, "UINT8", np.zeros((2, 8, 8, 3), np.uint8)))

    def counted() -> bool:
        now = server.metrics()
        service, _, method = INFER.strip("/").partition("/")
        calls = {
            "grpc_type": "unary",
            "grpc_service": service,
            "grpc_method": method,
            "grpc_code": "OK",
        }
        inputs = {"model": MODEL, "version": "2"}
        return (
            now.value("grpc_server_handled_total", **calls)
            - before.value("grpc_server_handled_total", **calls),
            now.value("headstart_predictions_total", **inputs)
            - before.value("headstart_predictions_total", **inputs),
        ) == (1, 2)

    eventually(counted, TIMEOUT, "a call and two inputs to be counted")


def test_a_deleted_model_is_there_for_no_one(api: Api):
    api.published(digits((0, 1), 3), model="gone")
    infer(api, infer_request("gone", "UINT8", np.zeros((1, 8, 8, 3), np.uint8)))
    api.models.DeleteModel(model_service_pb2.DeleteModelRequest(model="gone", force=True), timeout=TIMEOUT)
    refusal = refused(lambda: infer(api, infer_request("gone", "UINT8", np.zeros((1, 8, 8, 3), np.uint8))))
    assert refusal.reason == "MODEL_NOT_FOUND"
