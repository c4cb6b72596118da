"""Measures the processor time of one Predict by thread and part of the server, and prints tables in Markdown.

Processor time, not elapsed time, so that other work on the machine changes the figures little. The table of
parts needs py-spy (``pip install py-spy``), which samples the event loop from another process.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np

from headstart import Client
from headstart.inputs import tensors
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb
from report import machine, print_table, software
from sample_images import photographs
from server_process import ServerProcess, running

METHOD = "/headstart.v1.PredictionService/Predict"
#: Numbers of a feature row, and classes of its model.
SIZE, CLASSES = 256, 10
#: Parts of the event loop's time, by the beginning of the module that the innermost frame of Headstart is in.
PARTS = (
    ("headstart/inputs", "parsing and checks of the request"),
    ("headstart_server/api/grpc/requests", "parsing and checks of the request"),
    ("headstart_server/api/grpc/messages", "messages"),
    ("headstart_server/api/grpc/prediction_service", "messages"),
    ("headstart_server/api", "slots, interceptor and caller"),
    ("headstart_server/auth", "slots, interceptor and caller"),
    ("headstart_server/embedding", "queue and batches"),
    ("headstart_server/backbones", "queue and batches"),
    ("headstart_server/learning", "heads"),
    ("headstart_server/prediction/version_prediction", "heads"),
    ("headstart_server/prediction/recorder", "metrics, statistics and capture"),
    ("headstart_server/prediction/statistics", "metrics, statistics and capture"),
    ("headstart_server/observability", "metrics, statistics and capture"),
    ("headstart_server/models/traffic.", "metrics, statistics and capture"),
    ("headstart_server/capture", "metrics, statistics and capture"),
    ("headstart_server/models", "resolution of the version"),
    ("headstart_server/prediction", "predictor"),
)
TRANSPORT = "gRPC, asyncio and system calls"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each load")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each kind, in turns")
    parser.add_argument("--callers", type=int, default=8, help="concurrent calls")
    arguments = parser.parse_args()
    print(f"Machine: {machine()}\nSoftware: {software()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="headstart-cost-") as name:
        folder = Path(name)
        with running(folder / "data", "--metrics-port", "0") as server:
            server.wait_until_serving()
            requests = prepared(server.target)
            for request in requests.values():
                asyncio.run(load(server.target, request, arguments.callers, 1.0))
            threads: dict[str, list[Counter[str]]] = {kind: [] for kind in requests}
            for _ in range(arguments.rounds):
                for kind, request in requests.items():
                    threads[kind].append(cost(server, request, arguments.callers, arguments.seconds))
            parts = {
                kind: part_shares(server, request, arguments.callers, folder / "samples")
                for kind, request in requests.items()
            }
    print_costs(threads, parts)


def prepared(target: str) -> dict[str, bytes]:
    """Fine-tune a model of images and one of feature rows; return a request to each."""
    rng = np.random.default_rng(0)
    classes = np.arange(200) % CLASSES
    rows = (rng.normal(size=(200, SIZE)) + 5 * np.eye(CLASSES, SIZE)[classes]).astype(np.float32)
    images = photographs(20, (640, 480))
    with Client(target, timeout=300) as client:
        client.fine_tune(
            [(row, f"class {label}") for row, label in zip(rows, classes, strict=True)], model="rows"
        ).result()
        client.fine_tune(
            [(file, "ab"[place % 2]) for place, file in enumerate(images)], model="images"
        ).result()
    return {
        "one image of 640 x 480": request("images", input_pb2.Input(image=images[0])),
        f"one row of {SIZE} features": request("rows", input_pb2.Input(tensor=tensors.encode(rows[0]))),
    }


def request(model: str, content: input_pb2.Input) -> bytes:
    """Return a serialized request with one input."""
    selector = version_selector_pb2.VersionSelector(model=model)
    return pb.PredictRequest(targets=[selector], inputs=[content]).SerializeToString()


async def load(target: str, request: bytes, callers: int, seconds: float) -> int:
    """Send a request repeatedly; return the number of calls."""
    end, count = time.perf_counter() + seconds, 0
    async with grpc.aio.insecure_channel(target) as channel:
        predict = channel.unary_unary(METHOD)

        async def call_repeatedly() -> None:
            nonlocal count
            while time.perf_counter() < end:
                await predict(request)
                count += 1

        await asyncio.gather(*(call_repeatedly() for _ in range(callers)))
    return count


def cost(server: ServerProcess, request: bytes, callers: int, seconds: float) -> Counter[str]:
    """Return the milliseconds of processor time of one call, by group of threads."""
    before = thread_times(server.pid)
    calls = asyncio.run(load(server.target, request, callers, seconds))
    spent = thread_times(server.pid)
    spent.subtract(before)
    return Counter({group: nanoseconds / calls / 1e6 for group, nanoseconds in spent.items()})


def thread_times(pid: int) -> Counter[str]:
    """Return the nanoseconds of processor time that groups of threads have used."""
    found: Counter[str] = Counter()
    tasks = Path(f"/proc/{pid}/task")
    main = (tasks / str(pid) / "comm").read_text()
    for task in tasks.iterdir():
        try:
            name, used = (task / "comm").read_text(), (task / "schedstat").read_text()
        except OSError:
            # The thread has ended.
            continue
        is_python = name == main
        group = (
            "event loop" if task.name == str(pid) else "backbone threads" if is_python else "gRPC's threads"
        )
        found[group] += int(used.split()[0])
    return found


def part_shares(
    server: ServerProcess, request: bytes, callers: int, path: Path
) -> Mapping[str, float] | None:
    """Return the fraction of the event loop's time of each part; None without py-spy."""
    program = shutil.which("py-spy")
    if program is None:
        return None
    command = [program, "record", "--pid", str(server.pid), "--rate", "400", "--duration", "5", "--threads"]
    with subprocess.Popen([*command, "--format", "raw", "--output", str(path)], stdout=subprocess.DEVNULL):
        asyncio.run(load(server.target, request, callers, 7.0))
    samples: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if "MainThread" in stack.partition(";")[0]:
            samples[part_of(stack.split(";"))] += int(count)
    return {part: count / samples.total() for part, count in samples.items()}


def part_of(frames: Sequence[str]) -> str:
    """Return the part that a stack belongs to; its outermost frame comes first."""
    for frame in reversed(frames):
        found = re.search(r"\((headstart(?:_server)?/[^:]*)", frame)
        if found is None:
            continue
        return next((part for start, part in PARTS if found[1].startswith(start)), TRANSPORT)
    return TRANSPORT


def print_costs(
    threads: Mapping[str, Sequence[Counter[str]]], parts: Mapping[str, Mapping[str, float] | None]
) -> None:
    """Print milliseconds by group of threads, and those of the event loop by part."""
    groups = ("event loop", "backbone threads", "gRPC's threads")
    rows, loops = [], {}
    for kind, rounds in threads.items():
        medians = {group: float(np.median([each[group] for each in rounds])) for group in groups}
        loops[kind] = medians["event loop"]
        rows.append((kind, *(f"{medians[group]:.2f}" for group in groups), f"{sum(medians.values()):.2f}"))
    print_table("Processor time of a Predict in milliseconds", ("input", *groups, "in all"), rows)
    for kind, shares in parts.items():
        if shares is None:
            print("The time of each part needs py-spy: pip install py-spy.\n")
            return
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        print_table(
            f"Parts of the event loop's time: {kind}",
            ("part", "milliseconds", "share"),
            [(part, f"{share * loops[kind]:.3f}", f"{share:.0%}") for part, share in ranked],
        )


if __name__ == "__main__":
    main()
