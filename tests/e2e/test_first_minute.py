"""The first minute of a server: calls that come before its backbone is converted wait for it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from benchmarks.sample_images import LabeledImage
from forked_keras import worker_of
from headstart import Client, RetryPolicy
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1 import prediction_service_pb2_grpc as predicting_grpc
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_serving_pb2 as serving
from prepared import copy_prepared
from programs import CURL
from server_process import ServerProcess, eventually, running

pytestmark = pytest.mark.timeout(400)

#: Seconds that a conversion may take on a machine that also runs other tests.
PATIENCE = 240.0
#: Repeats nothing.
ONCE = RetryPolicy(attempts=1)

Split = tuple[list[LabeledImage], list[LabeledImage]]


@contextmanager
def started(data: Path, *flags: str) -> Iterator[ServerProcess]:
    """A server that listens, with a separate cache of backbones."""
    with running(data, "--backbone-cache", str(data.parent / "cache"), "--http-port", "0", *flags) as server:
        server.event("listening")
        yield server


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that listens, with an empty cache of backbones."""
    with started(tmp_path / "data") as server:
        yield server


def events(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry["event"] == name]


def embedded(server: ServerProcess, image: bytes, timeout: float = PATIENCE) -> predicting.EmbedResponse:
    with grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel:
        stub = predicting_grpc.PredictionServiceStub(channel)
        request = predicting.EmbedRequest(inputs=[input_pb2.Input(image=image)])
        return stub.Embed(request, timeout=timeout)


def run_command(server: ServerProcess, *arguments: str) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("headstart"))
    command = [program, "--server", server.target, "--timeout", str(PATIENCE), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def curl(url: str, *arguments: str) -> dict[str, Any]:
    command = ["curl", "--silent", "--show-error", "--fail-with-body", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def infer(server: ServerProcess, image: bytes) -> list[bytes]:
    request = oip.ModelInferRequest(
        model_name="pets", raw_input_contents=[len(image).to_bytes(4, "little") + image]
    )
    request.inputs.add(name="input", datatype="BYTES", shape=[1, 1])
    method = "/inference.GRPCInferenceService/ModelInfer"
    return list(_called(server, method, request, oip.ModelInferResponse).raw_output_contents)


def classify(server: ServerProcess, image: bytes) -> str:
    request = serving.ClassificationRequest()
    request.model_spec.name = "pets"
    feature = request.input.example_list.examples.add().features.feature["image"]
    feature.bytes_list.value.append(image)
    method = "/tensorflow.serving.PredictionService/Classify"
    answer = _called(server, method, request, serving.ClassificationResponse)
    return answer.result.classifications[0].classes[0].label


def _called(server: ServerProcess, method: str, request: Any, response: Any) -> Any:
    with grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel:
        call = channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, timeout=PATIENCE)


def on_earlier_versions(
    server: ServerProcess, client: Client, train: list[LabeledImage], image: bytes, dataset: str
) -> dict[str, Callable[[], object]]:
    examples = [(each.png, each.label) for each in train]
    return {
        "predict": lambda: client.predict(image, model="pets", version=1).label,
        "evaluate": lambda: client.evaluate(examples, model="pets").metrics.accuracy,
        "compare": lambda: client.compare("pets@1", "pets@2", examples).example_count,
        "rebase": lambda: client.rebase("pets", backbone="efficientnet-lite0").result().version,
        "validate": lambda: client.validate(examples, model="pets").valid,
        "at a URI": lambda: client.fine_tune(dataset, model="listed").result().version,
        "Open Inference Protocol": lambda: infer(server, image)[0],
        "TensorFlow Serving": lambda: classify(server, image),
    }


def on_new_models(
    server: ServerProcess, client: Client, train: list[LabeledImage], query: Path, folder: Path
) -> dict[str, Callable[[], object]]:
    http = "http://" + server.event("http_listening")

    def python() -> str:
        client.fine_tune([(each.png, each.label) for each in train], model="python").result()
        return client.predict(query.read_bytes(), model="python").label

    def command() -> str:
        run_command(server, "fine-tune", "command", str(folder))
        (result,) = run_command(server, "predict", "command", str(query))["results"]
        return result["predictions"][0]["label"]["className"]

    def over_http() -> str:
        body = ("--data-binary", f"@{zipped(folder)}", "-H", "content-type: application/zip")
        job = curl(f"{http}/v1/models/http:fineTune", *body)["job"]
        curl(f"{http}/v1/jobs/{job['jobId']}?waitDuration={PATIENCE:.0f}s")
        return curl(f"{http}/v1/models/http:predict", "-F", f"image=@{query}")["results"][0]["model"]

    def embed() -> bool:
        return embedded(server, query.read_bytes()).features.backbone == "efficientnet-lite0"

    def embed_over_http() -> bool:
        answer = curl(f"{http}/v1/backbones/efficientnet-lite0:embed", "-F", f"image=@{query}")
        return answer["features"]["backbone"] == "efficientnet-lite0"

    calls = (python, command, over_http, embed, embed_over_http)
    return {call.__name__: call for call in calls}


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.parent / "http"), "zip", folder))


def test_calls_of_every_kind_wait_for_a_conversion(
    tmp_path: Path, images: Split, folder: Path, queries: list[Path]
) -> None:
    CURL.need()
    train, test = images
    examples = [(each.png, each.label) for each in train]
    # The same data folder gets an empty cache of backbones then, as after an update of OpenVINO.
    # The user's cache may have an 8-bit backbone too, which would be the default.
    copy_prepared("efficientnet-lite0", tmp_path / "earlier")
    earlier = ("--backbone-cache", str(tmp_path / "earlier"))
    with running(tmp_path / "data", *earlier) as before, Client(before.target, timeout=PATIENCE) as client:
        for _ in range(2):
            client.fine_tune(examples, model="pets").result()
        assert before.terminate() == 0
    sets = tmp_path / "sets"
    shutil.copytree(folder, sets)
    lines = [f"{path.relative_to(sets)},{path.parent.name}" for path in sets.glob("*/*")]
    (sets / "listed.csv").write_text("\n".join(["path,label", *lines]))
    with (
        started(tmp_path / "data", "--allow-dataset-uri", f"file://{sets}") as server,
        Client(server.target, retries=ONCE, timeout=PATIENCE) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        calls = {
            **on_earlier_versions(server, client, train, test[0].png, f"file://{sets}/listed.csv"),
            **on_new_models(server, client, train, queries[0], folder),
        }
        begun = {name: pool.submit(call) for name, call in calls.items()}
        assert not client.ready()
        time.sleep(1.0)
        assert events(server, "serving") == []
        ended = {name: future.exception() for name, future in begun.items() if future.done()}
        assert ended == {}
        assert all(future.result(PATIENCE) for future in begun.values())

        progress = [
            each for each in events(server, "backbone_preparing") if each["backbone"] == "efficientnet-lite0"
        ]
    steps = {"loading TensorFlow", "building the network", "exporting"}
    assert {each["step"] for each in progress} >= steps
    assert [each["percent"] for each in progress] == sorted(each["percent"] for each in progress)
    assert all(each["remaining_seconds"] >= 1 for each in progress)
    assert events(server, "backbone_prepared")[0]["seconds"] > 0


def test_a_wait_ends_with_its_deadline_its_caller_and_the_failure_of_the_conversion(
    fresh: ServerProcess, images: Split
) -> None:
    image = images[1][0].png
    begun = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        embedded(fresh, image, timeout=1.0)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun > 0.9
    # It did not wait for the end of the conversion.
    assert events(fresh, "serving") == []

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(embedded, fresh, image) for _ in range(8)]
        child = eventually(lambda: _converting(fresh), PATIENCE, "the conversion")
        time.sleep(1.0)
        child.kill()
        codes = {future.exception().code() for future in waiting}
    assert codes == {grpc.StatusCode.FAILED_PRECONDITION}
    eventually(lambda: not fresh.is_running, PATIENCE, "the end of the server")


def _converting(server: ServerProcess) -> psutil.Process | None:
    return worker_of(server.pid, "prepare_command")


def test_while_another_backbone_is_converted_the_first_one_answers(tmp_path: Path, images: Split) -> None:
    train, test = images
    copy_prepared("efficientnet-lite0", tmp_path / "cache")
    with (
        started(tmp_path / "data") as server,
        Client(server.target, retries=ONCE, timeout=PATIENCE) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        client.fine_tune([(each.png, each.label) for each in train], model="first").result()
        other = pool.submit(client.embed, test[0].png, backbone="efficientnet-lite2")
        answers = 0
        while not other.done():
            assert client.predict(test[0].png, model="first", timeout=30.0).label
            answers += 1
            # The conversion runs at a low priority: it needs some of the processor's time.
            wait([other], timeout=0.05)
        assert other.result()["last"].shape
    assert answers > 10
