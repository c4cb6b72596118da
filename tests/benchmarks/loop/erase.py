"""Erasure of an example that many versions were trained on, with rebuild, by a real server."""

import json
import time
from pathlib import Path

import numpy as np
import psutil

from headstart import Client, Example, ExampleEdit
from loop.measurement import Options, Result
from server_process import ServerProcess

VERSIONS, QUICK_VERSIONS, EXAMPLES = 200, 20, 1000
SIZE, CLASSES = 1280, 10
LIMIT_SECONDS = 30.0


def measure(options: Options) -> Result:
    """Fine-tune versions that differ in one label, erase an example of all, and fit each from scratch."""
    versions = QUICK_VERSIONS if options.quick else VERSIONS
    server = ServerProcess(options.folder / "data", "--rate-limit", "off")
    try:
        server.wait_until_serving()
        with Client(server.target, timeout=3600) as client:
            return _measure(client, psutil.Process(server.pid), server.data / "versions", versions)
    finally:
        server.kill()


def _measure(client: Client, process: psutil.Process, folder: Path, versions: int) -> Result:
    examples = _examples()
    client.fine_tune(examples, model="all").result()
    for number in range(2, versions + 1):
        client.fine_tune(model="all", parent=1, edits=[_edit(number)]).result()
    before, started = process.cpu_times(), time.perf_counter()
    erased = client.erase_example("all", "0", rebuild=True)
    seconds, after = time.perf_counter() - started, process.cpu_times()
    used = after.user + after.system - before.user - before.system
    certificate = erased.certificate
    assert certificate is not None
    replaced = [each for each in certificate.versions if each.new_version is not None]
    # Each successor against a fine-tune without the example.
    client.fine_tune(examples[1:], model="scratch").result()
    different = 0
    for each in replaced:
        edits = [] if each.version == 1 else [_edit(each.version)]
        job = client.fine_tune(model="scratch", parent=1, edits=edits)
        job.result()
        manifest = json.loads((folder / f"{job.job_id}.1" / "manifest.json").read_text())
        different += manifest["head_digest"] != each.new_head_digest
    per_version = seconds / versions
    text = (
        f"{seconds:.1f} s, {per_version * 1000:.0f} ms for each of {versions} versions "
        f"({used / versions * 1000:.0f} ms of a core), {different} of {len(replaced)} successors differ"
    )
    is_fast = per_version * VERSIONS <= LIMIT_SECONDS
    return Result(value=text, met=is_fast and not different and len(replaced) == versions)


def _examples() -> list[Example]:
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, SIZE))
    classes = np.arange(EXAMPLES) % CLASSES
    rows = (rng.normal(size=(EXAMPLES, SIZE)) + centers[classes]).astype(np.float32)
    return [
        Example(row, label=f"class {label}", id=str(place))
        for place, (row, label) in enumerate(zip(rows, classes, strict=True))
    ]


def _edit(number: int) -> ExampleEdit:
    return ExampleEdit(example_id=str(number), label=f"class {(number + 1) % CLASSES}")
