"""Relabels examples of a version on a real server, from the call to the first Predict of the new version."""

import re
import statistics
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from headstart import Client, Example, ExampleEdit
from loop.measurement import Options, Result
from sample_images import LabeledImage, digits
from server_process import ServerProcess, eventually, running

EXAMPLES, RELABELED, ROUNDS, QUICK_ROUNDS = 1000, 20, 9, 5
MODEL, MOST_SECONDS = "loop", 0.5
START_SECONDS = 300.0


def measure(options: Options) -> Result:
    """Measure the median of several relabels, and the backbone batches of all of them."""
    images = digits()[: EXAMPLES + 1]
    with (
        running(options.folder / "data", "--metrics-port", "0") as server,
        Client(server.target, timeout=START_SECONDS) as client,
    ):
        eventually(client.ready, START_SECONDS, "the server")
        sent = [Example(image.png, image.label, image.id) for image in images[:EXAMPLES]]
        client.fine_tune(sent, model=MODEL).result()
        rounds, batches = _relabel(server, client, images, QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = [each.total for each in rounds]
    median = statistics.median(seconds)
    parts = ", ".join(
        f"{name} {statistics.median(getattr(each, name) for each in rounds) * 1000:.0f} ms"
        for name in ("accepted", "published", "predicted", "server_cpu")
    )
    return Result(
        value=f"{median:.2f} s median, {min(seconds):.2f} to {max(seconds):.2f} ({parts}); "
        f"{batches} backbone batches",
        met=median <= MOST_SECONDS and not batches,
    )


@dataclass(frozen=True, kw_only=True)
class Round:
    """The seconds of one relabel: until the call returned, the version was there, and it had predicted."""

    accepted: float
    published: float
    predicted: float
    server_cpu: float  # seconds of a core that the server used meanwhile

    @property
    def total(self) -> float:
        return self.accepted + self.published + self.predicted


def _relabel(
    server: ServerProcess, client: Client, images: Sequence[LabeledImage], rounds: int
) -> tuple[list[Round], int]:
    unseen = images[EXAMPLES].png
    client.predict(unseen, model=MODEL)
    before, found = _train_batches(server), []
    process = psutil.Process(server.pid)
    for number in range(1, rounds + 1):
        edits = [
            ExampleEdit(example_id=image.id, label=str((int(image.label) + 1) % 10))
            for image in images[number * RELABELED : (number + 1) * RELABELED]
        ]
        used, began = sum(process.cpu_times()[:2]), time.perf_counter()
        job = client.fine_tune(model=MODEL, parent=number, edits=edits)
        accepted = time.perf_counter()
        version = job.result()
        published = time.perf_counter()
        client.predict(unseen, model=f"{MODEL}@{version.version}")
        found.append(
            Round(
                accepted=accepted - began,
                published=published - accepted,
                predicted=time.perf_counter() - published,
                server_cpu=sum(process.cpu_times()[:2]) - used,
            )
        )
        if version.lineage.edited_example_count != RELABELED:
            raise ValueError(f"{version.lineage.edited_example_count} examples were relabeled.")
    return found, _train_batches(server) - before


def _train_batches(server: ServerProcess) -> int:
    with urllib.request.urlopen(f"http://{server.event('metrics_listening')}", timeout=30) as page:
        text = page.read().decode()
    found = re.search(r'^headstart_batch_size_count\{[^}]*lane="train"[^}]*\} ([0-9.]+)', text, re.MULTILINE)
    return int(float(found[1])) if found else 0
