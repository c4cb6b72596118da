"""The latency of Predict with capture on, against capture off, in one run of one server."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import psutil

from headstart import CapturePolicy, Client
from headstart_server.learning.features.feature_matrix import Float64
from loop.measurement import Options, Result
from sample_images import digits
from server_process import running

#: The policy that is on: every condition that takes work, and one input of ten at random.
POLICY = CapturePolicy(random_fraction=0.1, max_margin=0.2, max_typicality=0.05, rare_class_fraction=0.05)
#: Seconds of all rounds, each of one block for each setting; calls of each block, and concurrent callers.
SECONDS, QUICK_SECONDS, CALLS, CALLERS = 300.0, 60.0, 100, 2
#: Calls at the beginning of a block that do not count: the policy has just changed.
SETTLING = 20
#: The ratio that must not be exceeded.
LIMIT = 1.05
#: Above this upper bound of the ratio of off to off, other load decides the ratio of on to off.
QUIET = 1.2
#: Off is measured twice: the ratio of the two shows what the machine's other load does to a ratio.
_SETTINGS = {"off": None, "on": POLICY, "off again": None}
_MODEL, _SAMPLES = "digits", 1000


def measure(options: Options) -> Result:
    """Measure short blocks of calls with capture off, on and off again, in turns."""
    images = digits()
    with running(options.folder / "data", "--rate-limit", "off") as server, Client(server.target) as client:
        server.wait_until_serving()
        labeled = [(image.png, image.label) for image in images[:300]]
        client.fine_tune(labeled, model=_MODEL).result()
        inputs = cycle([image.png for image in images[300:]])
        _block(client, inputs)
        blocks: dict[str, list[Float64]] = {name: [] for name in _SETTINGS}
        used = dict.fromkeys(_SETTINGS, 0.0)
        process, number = psutil.Process(server.pid), 0
        end = time.monotonic() + (QUICK_SECONDS if options.quick else SECONDS)
        while time.monotonic() < end:
            order = list(_SETTINGS.items())
            for name, policy in order[number % 3 :] + order[: number % 3]:
                client.update_model(_MODEL, capture=policy)
                before = sum(process.cpu_times()[:2])
                blocks[name].append(_block(client, inputs))
                used[name] += sum(process.cpu_times()[:2]) - before
            number += 1
        status = client.capture_status(_MODEL)
    lost = status.queue_full_count + status.storage_failed_count + status.quota_full_count
    control, _, high = _ratio(blocks["off again"], blocks["off"])
    ratio, low, _ = spread = _ratio(blocks["on"], blocks["off"] + blocks["off again"])
    off, on = (1000 * _p99(blocks[name]) for name in ("off", "on"))
    is_quiet = high <= QUIET
    calls = number * (CALLS + SETTLING)
    cpu_on, cpu_off = 1000 * used["on"] / calls, 500 * (used["off"] + used["off again"]) / calls
    return Result(
        value=(
            f"{_shown(spread)}: {on:.1f} ms against {off:.1f} ms; off against off {control:.3f} "
            f"(up to {high:.3f}); {number} blocks of {CALLS} calls each; {cpu_on:.2f} ms of a core "
            f"for a call against {cpu_off:.2f} ms; {status.captured_count} captured, {lost} lost"
            + ("" if is_quiet else "; the machine is too busy for a verdict")
        ),
        met=is_quiet and (ratio <= LIMIT or low <= min(LIMIT, high)) and lost == 0,
    )


def _block(client: Client, inputs: Iterator[bytes]) -> Float64:
    contents = [next(inputs) for _ in range(SETTLING + CALLS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        return np.array(list(pool.map(lambda content: _seconds(client, content), contents))[SETTLING:])


def _seconds(client: Client, content: bytes) -> float:
    began = time.perf_counter()
    client.predict(content, model=_MODEL)
    return time.perf_counter() - began


def _ratio(first: Sequence[Float64], second: Sequence[Float64]) -> tuple[float, float, float]:
    """Return the ratio of the p99 of two settings with its 90 % interval: blocks are drawn again."""
    rng = np.random.default_rng(0)
    drawn = [
        _p99([first[place] for place in rng.integers(len(first), size=len(first))])
        / _p99([second[place] for place in rng.integers(len(second), size=len(second))])
        for _ in range(_SAMPLES)
    ]
    low, high = np.quantile(drawn, [0.05, 0.95])
    return _p99(first) / _p99(second), float(low), float(high)


def _shown(ratio: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*ratio)


def _p99(blocks: Sequence[Float64]) -> float:
    return float(np.quantile(np.concatenate(blocks), 0.99))
