"""The latency of Predict with capture on, against capture off, in one run of one server."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np

from headstart import CapturePolicy, Client
from loop.measurement import Options, Result
from sample_images import digits
from server_process import running

#: The policy that is on: every condition that takes work, and one input of ten at random.
POLICY = CapturePolicy(random_fraction=0.1, max_margin=0.2, max_typicality=0.05, rare_class_fraction=0.05)
#: Pairs of blocks with capture off and on, calls of each block, and concurrent callers.
BLOCKS, QUICK_BLOCKS, CALLS, CALLERS = 30, 10, 200, 2
_MODEL = "digits"


def measure(options: Options) -> Result:
    """Measure blocks of calls with capture off and on, in turns, so that other load meets both."""
    images = digits()
    with running(options.folder / "data") as server, Client(server.target) as client:
        server.wait_until_serving()
        labeled = [(image.png, image.label) for image in images[:300]]
        client.fine_tune(labeled, model=_MODEL).result()
        inputs = cycle([image.png for image in images[300:]])
        _block(client, inputs)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for block in range(QUICK_BLOCKS if options.quick else BLOCKS):
            for is_on in (False, True) if block % 2 else (True, False):
                client.update_model(_MODEL, capture=POLICY if is_on else None)
                seconds[is_on] += _block(client, inputs)
        status = client.capture_status(_MODEL)
    off, on = (1000 * _p99(seconds[is_on]) for is_on in (False, True))
    medians = [1000 * float(np.median(seconds[is_on])) for is_on in (False, True)]
    lost = status.queue_full_count + status.storage_failed_count + status.quota_full_count
    return Result(
        value=(
            f"{on / off:.3f}: {on:.1f} ms against {off:.1f} ms (medians {medians[1]:.1f} and "
            f"{medians[0]:.1f} ms); {status.captured_count} captured, {lost} lost"
        ),
        met=on <= 1.05 * off and lost == 0,
    )


def _block(client: Client, inputs: Iterator[bytes]) -> list[float]:
    contents = [next(inputs) for _ in range(CALLS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(lambda content: _seconds(client, content), contents))


def _seconds(client: Client, content: bytes) -> float:
    began = time.perf_counter()
    client.predict(content, model=_MODEL)
    return time.perf_counter() - began


def _p99(seconds: Sequence[float]) -> float:
    return float(np.quantile(seconds, 0.99))
