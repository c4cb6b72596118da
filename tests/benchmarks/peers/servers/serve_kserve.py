"""Serves the variants with KServe's Python server: a custom predictor that takes files over gRPC.

Its batcher is a sidecar of a Kubernetes pod, and speaks HTTP only, so it is missing here.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from network import Network, Settings, read_settings


class Predictor(Model):
    """One variant."""

    def __init__(self, name: str, settings: Settings, threads: ThreadPoolExecutor) -> None:
        super().__init__(name)
        self._network = Network(name, settings)
        self._threads = threads
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        """Classify the file, in a thread: the event loop would stand still otherwise."""
        files = [bytes(file) for file in payload.inputs[0].as_numpy().ravel()]
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._threads, self._network.classify, files)
        output = InferOutput("probabilities", list(answers.shape), "FP32")
        output.set_data_from_numpy(np.ascontiguousarray(answers))
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    settings = read_settings()
    threads = ThreadPoolExecutor(settings.workers)
    server = ModelServer(
        http_port=settings.spare_ports[0], grpc_port=settings.port, enable_latency_logging=False
    )
    server.start([Predictor(name, settings, threads) for name in settings.variants])
