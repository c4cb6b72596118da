"""What this machine could do at best: the network alone, decoding and network alone, an empty gRPC method.

Run as a separate program, so that nothing else is in its process: prints one figure as JSON.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import openvino

from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as stubs
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)
from headstart_server.backbones.networks.quantization import SUFFIX, base_name
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue
from sample_images import photographs

#: Rows of the batch that OpenVINO alone is given: what the runtime is given by the engine, too.
BATCH = 2


def network_and_engine(subject: "_Subject", seconds: float) -> dict[str, float]:
    """Rows a second of OpenVINO in process, and of the engine around it, in turns; decoded beforehand."""
    backbone = subject.backbone()
    rows = [backbone.decode(file) for file in photographs(64)]
    alone, engine = _OpenVino(subject, np.stack(rows[:BATCH])), _Engine(backbone, rows)
    rates: dict[str, list[float]] = {"alone": [], "engine": []}
    for measure in (alone.rate, engine.rate):
        measure(seconds / 4)
    for _ in range(4):
        rates["alone"].append(alone.rate(seconds / 4))
        rates["engine"].append(engine.rate(seconds / 4))
    engine.close()
    return {name: float(np.median(found)) for name, found in rates.items()}


def decode_and_network(subject: "_Subject", seconds: float) -> dict[str, float]:
    """Images a second of decoding and network alone, in a thread for each core, in the engine's batches."""
    backbone = subject.backbone()
    files = photographs(64)

    def work(number: int) -> int:
        places = [(number + place) % len(files) for place in range(backbone.batch)]
        backbone.run(np.stack([backbone.decode(files[place]) for place in places]))
        return len(places)

    _in_threads(work, seconds / 4)
    return {"rate": _in_threads(work, seconds)}


class _OpenVino:
    """OpenVINO and nothing else: compiled for this batch, as many requests in flight as streams."""

    def __init__(self, subject: "_Subject", rows: np.ndarray) -> None:
        settings = subject.settings
        path = subject.network()
        precision = "bf16" if settings.precision is Precision.BFLOAT16 else "f32"
        core = openvino.Core()
        network = core.read_model(path)
        network.reshape(rows.shape)
        self._network = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "NUM_STREAMS": settings.streams,
                "INFERENCE_NUM_THREADS": settings.streams,
            },
        )
        self._rows = rows
        self._streams = settings.streams

    def rate(self, seconds: float) -> float:
        queue = openvino.AsyncInferQueue(self._network, self._streams)
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            queue.start_async({0: self._rows}, share_inputs=True)
            count += len(self._rows)
        queue.wait_all()
        return count / (time.perf_counter() - began)


class _Engine:
    """Lanes, batches, futures and all: what training's features go through, without decoding."""

    def __init__(self, backbone: Backbone, rows: list[np.ndarray]) -> None:
        rows_at_once = backbone.batch
        queue = LaneQueue(BatchSizes(rows_at_once, rows_at_once), streams=backbone.streams, pairing=True)
        batcher = Batcher(backbone.run, queue, self, threads=available_cores() + 1)
        batcher.start()
        self._rows = rows
        self._embedder = Embedder(_Decoded(backbone), batcher, FeatureCache(0), max_pending=1)

    def rate(self, seconds: float) -> float:
        began, count = time.perf_counter(), 0
        digests = map(str, range(10**9))
        while time.perf_counter() < began + seconds:
            part = [next(digests) for _ in range(256)]
            for _ in extract(self._embedder, part, lambda place: self._rows[place % 64], window=32):
                count += 1
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        self._embedder.close()

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        """As an observer of batches: looks away."""

    def inputs_dropped(self, lane: Lane, rows: int, cause: str) -> None:
        """As an observer of batches: looks away."""


class _Decoded:
    """A backbone whose inputs are rows already."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> object:
        return getattr(self._backbone, name)

    def decode(self, row: np.ndarray) -> np.ndarray:
        return row


def _in_threads(work: Callable[[int], int], seconds: float) -> float:
    """What a thread for each core gets done in a second."""
    cores = available_cores()
    counts = [0] * cores
    began = time.perf_counter()

    def repeat(place: int) -> None:
        number = place
        while time.perf_counter() < began + seconds:
            counts[place] += work(number)
            number += cores

    threads = [threading.Thread(target=repeat, args=(place,)) for place in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


class _Subject:
    """The default backbone in one precision.

    Args:
        precision: its precision; `INT8` is its quantized form.
        cache: folder of prepared backbones.
    """

    def __init__(self, precision: Precision, cache: Path) -> None:
        self.settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=precision, cache=cache).settled()
        self._catalog = Catalog(runtimes=self.settings)
        self._name = DEFAULT + (SUFFIX if precision is Precision.INT8 else "")

    def backbone(self) -> Backbone:
        return self._catalog.load(self._name)

    def network(self) -> Path:
        """Return the path of its network."""
        if base_name(self._name) is None:
            return self._catalog.conversion(self._name)
        return self._catalog.quantized.find(self._name)[1] / NETWORK_FILE


class _Echo(stubs.PredictionServiceServicer):
    """Takes what Predict takes, does nothing, and answers what Predict answers."""

    def __init__(self) -> None:
        classes = [pb.ClassProbability(name=str(place), probability=0.1, index=place) for place in range(5)]
        predictions = pb.VersionPredictions(model="bench", predictions=[pb.Prediction(classes=classes)])
        self._response = pb.PredictResponse(results=[predictions])

    async def Predict(self, request: pb.PredictRequest, context: object) -> pb.PredictResponse:  # noqa: N802
        return self._response


async def serve_echo() -> None:
    """Serve the empty method on a free port, which is printed, until killed."""
    server = grpc.aio.server()
    stubs.add_PredictionServiceServicer_to_server(_Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Measure one limit and print it, or serve the empty method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("network", "decode", "echo"))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--precision", type=Precision, default=Precision.FLOAT32)
    parser.add_argument("--backbone-cache", type=Path, default=default_cache())
    arguments = parser.parse_args()
    if arguments.what == "echo":
        asyncio.run(serve_echo())
        return
    measure = {"network": network_and_engine, "decode": decode_and_network}[arguments.what]
    json.dump(measure(_Subject(arguments.precision, arguments.backbone_cache), arguments.seconds), sys.stdout)


if __name__ == "__main__":
    main()
