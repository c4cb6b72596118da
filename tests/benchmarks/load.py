"""Predict calls at a fixed concurrency, from a process of their own.

Run as a program: prints throughput and latencies as JSON.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence

import grpc
import numpy as np

from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb
from sample_images import photographs

METHOD = "/headstart.v1.PredictionService/Predict"


async def measure(
    target: str, models: Sequence[str], concurrency: int, seconds: float, files: Sequence[bytes]
) -> dict[str, float]:
    """Call Predict with one image each, always so many at once, for some seconds after a short warm-up.

    Each call asks one of the models, chosen at random. Requests are made beforehand and answers not parsed:
    what a caller takes of the processor is missing to the server.
    """
    choice = random.Random(0)
    requests = [
        pb.PredictRequest(
            targets=[version_selector_pb2.VersionSelector(model=model)],
            inputs=[input_pb2.Input(image=files[place % len(files)])],
        ).SerializeToString()
        for place, model in enumerate(models * max(1, len(files) // len(models)))
    ]
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(target) as channel:
        predict = channel.unary_unary(METHOD)
        begin = time.perf_counter() + min(1.0, seconds / 4)
        end = begin + seconds

        async def call_repeatedly() -> None:
            while True:
                started = time.perf_counter()
                if started >= end:
                    return
                await predict(choice.choice(requests))
                finished = time.perf_counter()
                if started >= begin and finished <= end:
                    latencies.append(finished - started)

        await asyncio.gather(*(call_repeatedly() for _ in range(concurrency)))
    if not latencies:
        raise SystemExit(f"Expected calls to begin and end within {seconds:g} seconds. Received: none.")
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"per_second": len(latencies) / seconds, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("model")
    parser.add_argument("--models", type=int, default=0, help="ask MODEL-0, MODEL-1 and so on, so many")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    models = [f"{arguments.model}-{place}" for place in range(arguments.models)] or [arguments.model]
    measured = asyncio.run(
        measure(arguments.target, models, arguments.concurrency, arguments.seconds, photographs(64))
    )
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
