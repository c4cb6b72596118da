"""Predict calls from a separate process: ``python -m gpu.load ADDRESS MODEL CALLERS SECONDS WIDTH HEIGHT``.

Prints the rate and the latencies as JSON.
"""

import asyncio
import itertools
import json
import sys
import time

import grpc
import numpy as np

from gpu.samples import jpegs
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb

#: Calls that are measured at least.
LEAST_CALLS = 4
METHOD = "/headstart.v1.PredictionService/Predict"


async def measure(
    address: str, model: str, callers: int, seconds: float, size: tuple[int, int]
) -> dict[str, float]:
    """Call Predict with one image each for some seconds after a short warm-up; results are not parsed."""
    selector = version_selector_pb2.VersionSelector(model=model)
    requests = itertools.cycle(
        pb.PredictRequest(targets=[selector], inputs=[input_pb2.Input(image=file)]).SerializeToString()
        for file, _ in jpegs(64, start=1 << 20, size=size)
    )
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        predict = channel.unary_unary(METHOD)
        begin = time.perf_counter() + min(1.0, seconds / 4)
        end = begin + seconds

        async def call_repeatedly() -> None:
            # On a slow machine some calls are measured anyway.
            while (started := time.perf_counter()) < end or len(latencies) < LEAST_CALLS:
                await predict(next(requests))
                if started >= begin:
                    latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(call_repeatedly() for _ in range(callers)))
        elapsed = time.perf_counter() - begin
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"per_second": len(latencies) / elapsed, "p50": p50, "p99": p99}


if __name__ == "__main__":
    address, model, callers, seconds, width, height = sys.argv[1:]
    found = asyncio.run(measure(address, model, int(callers), float(seconds), (int(width), int(height))))
    json.dump(found, sys.stdout)
