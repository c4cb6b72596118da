"""A server on the device: its start and memory, fine-tunes, and Predict alone and during training."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from gpu.report import Row
from gpu.samples import jpegs
from gpu.sizes import Options
from headstart import Client
from server_process import ServerProcess, running

#: Goal of the p99 of Predict during training: how many times the idle one.
RATIO = 1.5
#: The first start compiles for the device.
START_SECONDS = 600.0
MODEL = "gpu-check"
#: Threads that fine-tune next to Predict.
TRAINERS = 2


def serving(options: Options) -> Iterator[Row]:
    """Measure a server from its start to Predict during training."""
    with _server(options, "first") as (_, first):
        yield Row(measure="first start to SERVING, with compilation", value=f"{first:.1f} s", number=first)
    with _server(options, "second") as (server, seconds):
        yield Row(measure="second start to SERVING", value=f"{seconds:.1f} s", number=seconds)
        memory = server.rss / (1 << 20)
        yield Row(measure="memory after the start", value=f"{memory:.0f} MiB", number=memory)
        with Client(server.target, timeout=600) as client:
            yield from (_fine_tune(client, options, count) for count in options.sizes.fine_tunes)
            yield from _predicts(server, client, options)
        yield Row(measure="memory after all loads", value=f"{server.rss >> 20} MiB")


@contextmanager
def _server(options: Options, name: str) -> Iterator[tuple[ServerProcess, float]]:
    """Yield a server that serves, and the seconds that its start took."""
    flags = ["--runtime", "keras", "--default-backbone", options.backbone]
    flags += ["--backbone-cache", str(options.folder / "server-cache"), "--metrics-port", "0"]
    began = time.perf_counter()
    with running(options.folder / name, *flags) as server:
        server.wait_until_serving(START_SECONDS)
        yield server, time.perf_counter() - began
        server.terminate()


def _fine_tune(client: Client, options: Options, count: int) -> Row:
    """Measure the seconds from the call to the first Predict of the new version."""
    # Numbers that no other fine-tune has: features of seen images are cached.
    examples = list(jpegs(count, start=count * 1000, size=options.sizes.image_size))
    began = time.perf_counter()
    job = client.fine_tune(examples, model=MODEL)
    version = job.result()
    prediction = client.predict(examples[0][0], model=MODEL)
    seconds = time.perf_counter() - began
    if prediction.version != version.version:
        raise AssertionError(f"Expected version {version.version}. Received: {prediction.version}.")
    steps = ", ".join(
        f"{step} {spent.total_seconds():.2f}" for step, spent in job.status().step_durations.items()
    )
    accuracy = version.metrics.accuracy
    value = f"{seconds:.2f} s, {count / seconds:,.0f} images/s ({steps}); accuracy {accuracy:.1%}"
    return Row(measure=f"fine-tune of {count:,} images, call to first Predict", value=value, number=seconds)


def _predicts(server: ServerProcess, client: Client, options: Options) -> Iterator[Row]:
    """Measure Predict alone, and next to a fine-tune of unseen images."""
    for callers in options.sizes.callers:
        idle = _load(server, options, callers)
        yield Row(measure=f"Predict, {callers} callers, idle", value=_shown(idle), number=idle["per_second"])
        with _training(client, options, callers):
            busy = _load(server, options, callers)
        ratio = busy["p99"] / idle["p99"]
        yield Row(
            measure=f"Predict, {callers} callers, during training",
            value=f"{_shown(busy)}, {ratio:.2f} times the idle p99",
            goal=f"p99 ≤ {RATIO:g} times idle",
            met=options.met(ratio <= RATIO),
            number=busy["per_second"],
        )


@contextmanager
def _training(client: Client, options: Options, callers: int) -> Iterator[None]:
    """Run fine-tunes of unseen images until the block ends, the next sent while one runs."""
    ended, count = threading.Event(), options.sizes.training_images

    def train(place: int) -> None:
        numbers = itertools.count((1 << 24) * (1 + callers) + place * (1 << 22), count)
        while not ended.is_set():
            examples = list(jpegs(count, start=next(numbers), size=options.sizes.image_size))
            job = client.fine_tune(examples, model=f"{MODEL}-other-{place}")
            begun.set()
            while not job.status(wait=0.5).state.ended:
                if ended.is_set():
                    job.cancel()

    begun = threading.Event()
    with ThreadPoolExecutor(TRAINERS) as threads:
        running_ = [threads.submit(train, place) for place in range(TRAINERS)]
        try:
            while not begun.wait(0.1) and not any(one.done() for one in running_):
                pass
            yield
        finally:
            ended.set()
        for one in running_:
            one.result()


def _load(server: ServerProcess, options: Options, callers: int) -> dict[str, float]:
    width, height = options.sizes.image_size
    arguments = [server.target, MODEL, str(callers), str(options.sizes.seconds), str(width), str(height)]
    done = subprocess.run(
        [sys.executable, "-m", "gpu.load", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The load failed: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _shown(load: dict[str, float]) -> str:
    return f"{load['per_second']:,.0f}/s, p50 {load['p50'] * 1e3:.1f} ms, p99 {load['p99'] * 1e3:.1f} ms"
