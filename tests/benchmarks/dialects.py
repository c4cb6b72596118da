"""The same inputs through Predict and through the protocols of other servers: what speaking them costs.

Prints calls per second and the median latency as ratios to Predict's. Each protocol is called in turn,
several rounds, so that what else the machine does meets them all.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np

from headstart import Client, Example
from headstart.inputs import tensors
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.compat import tensorflow_serving_pb2 as serving
from report import machine, print_table, software
from sample_images import photographs
from server_process import running

PREDICT = "Predict"
METHODS = {
    PREDICT: "/headstart.v1.PredictionService/Predict",
    "ModelInfer": "/inference.GRPCInferenceService/ModelInfer",
    "TensorFlow Serving's Predict": "/tensorflow.serving.PredictionService/Predict",
}
ROUNDS = 5
FEATURES = 1024


def image_requests(model: str, image: bytes) -> dict[str, bytes]:
    """One image in each protocol."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype="BYTES", shape=[1])
    raw = len(image).to_bytes(4, "little") + image
    proto = tf.TensorProto(dtype=tf.DT_STRING, string_val=[image])
    return _requests(model, input_pb2.Input(image=image), tensor, raw, proto)


def row_requests(model: str, row: np.ndarray) -> dict[str, bytes]:
    """One row of features in each protocol."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1, len(row)])
    dims = [tf.TensorShapeProto.Dim(size=size) for size in (1, len(row))]
    proto = tf.TensorProto(
        dtype=tf.DT_FLOAT, tensor_shape=tf.TensorShapeProto(dim=dims), tensor_content=row.tobytes()
    )
    return _requests(model, input_pb2.Input(tensor=tensors.encode(row)), tensor, row.tobytes(), proto)


def _requests(
    model: str,
    own: input_pb2.Input,
    tensor: oip.ModelInferRequest.InferInputTensor,
    raw: bytes,
    proto: tf.TensorProto,
) -> dict[str, bytes]:
    target = version_selector_pb2.VersionSelector(model=model)
    predict = predicting.PredictRequest(targets=[target], inputs=[own], top_k=10_000)
    infer = oip.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])
    served = serving.PredictRequest(model_spec=serving.ModelSpec(name=model), inputs={"inputs": proto})
    messages = (predict, infer, served)
    return {name: each.SerializeToString() for name, each in zip(METHODS, messages, strict=True)}


async def measured(
    target: str, requests: Mapping[str, bytes], callers: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Calls per second and median latency in milliseconds of each, medians over the rounds."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in requests}
    async with grpc.aio.insecure_channel(target) as channel:
        for turn in range(ROUNDS + 1):
            for name, request in requests.items():
                measurements = await _round(channel.unary_unary(METHODS[name]), request, callers, seconds)
                if turn:  # the first one warms up
                    rounds[name].append(measurements)
    return {
        name: (statistics.median(a for a, _ in each), statistics.median(b for _, b in each))
        for name, each in rounds.items()
    }


async def _round(
    call: grpc.aio.UnaryUnaryMultiCallable, request: bytes, callers: int, seconds: float
) -> tuple[float, float]:
    latencies: list[float] = []
    begin = time.perf_counter()

    async def repeat() -> None:
        while (started := time.perf_counter()) < begin + seconds:
            await call(request)
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(repeat() for _ in range(callers)))
    return len(latencies) / (time.perf_counter() - begin), statistics.median(latencies) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    seconds = parser.parse_args().seconds
    rows = np.random.default_rng(0).normal(size=(40, FEATURES)).astype(np.float32)
    files = photographs(20)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as server:
        server.wait_until_serving()
        with Client(server.target) as client:
            for model, inputs in (("images", files), ("rows", list(rows))):
                examples = [Example(each, str(place % 2)) for place, each in enumerate(inputs)]
                client.fine_tune(examples, model=model).result(120)
        lines = []
        for what, requests in (
            ("one image", image_requests("images", files[0])),
            (f"one row of {FEATURES} features", row_requests("rows", rows[0])),
        ):
            for callers in (1, 8):
                measurements = asyncio.run(measured(server.target, requests, callers, seconds))
                base = measurements[PREDICT]
                lines += [
                    (
                        what,
                        str(callers),
                        name,
                        f"{per_second:.0f}",
                        f"{per_second / base[0]:.2f}",
                        f"{latency:.2f}",
                        f"{latency / base[1]:.2f}",
                    )
                    for name, (per_second, latency) in measurements.items()
                ]
    print(f"{machine()}\n{software()}\n")
    head = ("input", "callers", "call", "calls a second", "to Predict", "median ms", "to Predict")
    print_table("Other protocols", head, lines)


if __name__ == "__main__":
    main()
