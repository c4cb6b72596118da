"""Predict calls at a fixed concurrency, from a process of their own.

Run as a program: prints throughput and latencies as JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence

import grpc
import numpy as np

from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as stubs
from pictures import photographs


async def measure(
    target: str, model: str, concurrency: int, seconds: float, files: Sequence[bytes]
) -> dict[str, float]:
    """Call Predict with one picture each, always so many at once, for some seconds after a short warm-up."""
    requests = [
        pb.PredictRequest(target=pb.VersionSelector(model=model), inputs=[input_pb2.Input(image=file)])
        for file in files
    ]
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(target) as channel:
        predict = stubs.PredictionServiceStub(channel).Predict
        begin = time.perf_counter() + min(1.0, seconds / 4)
        end = begin + seconds

        async def call_repeatedly(place: int) -> None:
            while True:
                started = time.perf_counter()
                if started >= end:
                    return
                await predict(requests[place % len(requests)])
                finished = time.perf_counter()
                if started >= begin and finished <= end:
                    latencies.append(finished - started)
                place += concurrency

        await asyncio.gather(*map(call_repeatedly, range(concurrency)))
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"per_second": len(latencies) / seconds, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("model")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    measured = asyncio.run(
        measure(arguments.target, arguments.model, arguments.concurrency, arguments.seconds, photographs(64))
    )
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
