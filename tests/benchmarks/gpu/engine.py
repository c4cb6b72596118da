"""The runtime in use, its features, and rows per second of the device and of the engine around it."""

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np

from gpu.alone import rows_per_second
from gpu.report import Row
from gpu.samples import jpegs
from gpu.sizes import Options
from headstart_server.app.embedders import embedder_factory
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone, Content
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings, has_gpu
from headstart_server.backbones.networks.golden import (
    golden_content,
    golden_errors,
    stored_golden,
    tolerance_of,
)
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.dataset_features import extract
from headstart_server.embedding.queue import Lane
from headstart_server.observability.telemetry import Telemetry
from headstart_server.settings.settings import Settings

#: Goal of the engine: fraction of the rate of the device alone.
SHARE = 0.8
#: Distinct images that the engine is fed with, again and again.
IMAGES = 256


def runtime(options: Options) -> list[Row]:
    """Report the runtime in use, and compare its features with those of the CPU in each precision."""
    settings = _settings(options)
    backbone = _loaded(options, settings)
    devices = _devices()
    is_right = not has_gpu() or any(word in devices.lower() for word in ("cuda", "gpu"))
    flight = f"{backbone.streams} batches in flight of up to {backbone.batch} rows"
    value = f"{backbone.runtime}, {flight}, on {devices}"
    rows = [Row(measure="runtime in use", value=value, goal="the GPU if there is one", met=is_right)]
    precisions = dict.fromkeys([Precision.FLOAT32, settings.precision or Precision.FLOAT32])
    for precision in precisions:
        rows += _features(options, _loaded(options, replace(settings, precision=precision)), precision)
    return rows


def rates(options: Options) -> list[Row]:
    """Measure the device alone, and the engine from decoded rows and from JPEG files."""
    settings, seconds = _settings(options), options.sizes.seconds
    backbone = _loaded(options, settings)
    files = [file for file, _ in jpegs(IMAGES, size=options.sizes.image_size)]
    rows = [backbone.decode(file) for file in files]
    precision = settings.precision or Precision.FLOAT32
    model = _catalog(settings).network(options.backbone, precision)
    batch = np.stack([rows[place % len(rows)] for place in range(backbone.batch)])
    alone = rows_per_second(
        model, list(backbone.info.views), batch, seconds=seconds, passes=options.sizes.passes
    )
    memory = _engine_rate(cast(Backbone, _Decoded(backbone)), rows, seconds)
    encoded = _engine_rate(backbone, files, seconds)
    decoding = _decode_rate(backbone, files, seconds)
    share, reachable = memory / alone, min(alone, decoding)
    return [
        Row(
            measure=f"device alone, resident batch of {len(batch)}",
            value=f"{alone:,.0f} rows/s",
            number=alone,
        ),
        Row(
            measure="engine from decoded rows in host memory",
            value=f"{memory:,.0f} rows/s, {share:.0%} of the device alone",
            goal=f"≥ {SHARE:.0%} of the device alone",
            met=options.met(share >= SHARE),
            number=memory,
        ),
        Row(
            measure=f"decoding alone on {available_cores()} threads, JPEG of "
            f"{' x '.join(map(str, options.sizes.image_size))}",
            value=f"{decoding:,.0f} images/s",
            number=decoding,
        ),
        Row(
            measure="engine from JPEG files",
            value=f"{encoded:,.0f} images/s, {encoded / reachable:.0%} of the slower of device and decoding",
            goal=f"≥ {SHARE:.0%} of the slower",
            met=options.met(encoded >= SHARE * reachable),
            number=encoded,
        ),
    ]


def _features(options: Options, backbone: Backbone, precision: Precision) -> list[Row]:
    """Compare the golden features with the CPU's, and a row's features in batches of several sizes."""
    row = backbone.decode(golden_content(backbone.info.modality, 0))
    errors = golden_errors(backbone.run(row[None]), stored_golden(options.backbone))
    worst, tolerance = max(errors.values()), tolerance_of(precision)
    found = [
        Row(
            measure=f"golden features in {precision.value} against the CPU's",
            value=f"largest relative error {worst:.1e}",
            goal=f"≤ {tolerance:g}",
            met=bool(worst <= tolerance),
            number=worst,
        )
    ]
    others = [np.roll(row, 7 * place, axis=0) for place in range(backbone.batch)]
    whole = backbone.run(np.stack(others))
    sizes = sorted({1, 2, 3, 8, 9, backbone.batch})
    different = [
        size
        for size in sizes
        for view, features in backbone.run(np.stack(others[:size])).items()
        if not np.array_equal(features, whole[view][:size])
    ]
    value = f"differ at {different}" if different else f"bitwise equal at {', '.join(map(str, sizes))} rows"
    measure = f"a row's features in {precision.value} in batches of several sizes"
    return [*found, Row(measure=measure, value=value, goal="bitwise equal", met=not different)]


def _engine_rate(backbone: Backbone, contents: Sequence[Any], seconds: float) -> float:
    """Return rows per second of the train lane, with the queue and the threads of a server.

    On a CPU a few batches take the time already.
    """
    factory = embedder_factory(Settings(), FeatureCache(0), cast(Telemetry, _Unobserved()))
    embedder = factory(backbone)

    def read(place: int) -> Content:
        return cast(Content, contents[place % len(contents)])

    def run(count: int) -> float:
        began = time.perf_counter()
        for _, row in extract(embedder, list(map(str, range(count))), read, window=1):
            if isinstance(row, Exception):
                raise row
        return count / (time.perf_counter() - began)

    try:
        rate = run(backbone.batch)
        return run(max(backbone.batch, int(rate * seconds)))
    finally:
        embedder.close()


def _decode_rate(backbone: Backbone, files: Sequence[bytes], seconds: float) -> float:
    end, counts = time.perf_counter() + seconds, [0] * available_cores()

    def decode(place: int) -> None:
        for file in itertools.cycle(files):
            if time.perf_counter() >= end:
                return
            backbone.decode(file)
            counts[place] += 1

    threads = [threading.Thread(target=decode, args=(place,)) for place in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


class _Decoded:
    """A backbone whose inputs are rows."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> object:
        return getattr(self._backbone, name)

    def decode(self, row: np.ndarray) -> np.ndarray:
        return row


class _Unobserved:
    """Telemetry that records nothing."""

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None: ...

    def inputs_dropped(self, lane: Lane, rows: int, cause: str) -> None: ...


def _settings(options: Options) -> RuntimeSettings:
    return RuntimeSettings(kind=RuntimeKind.KERAS, cache=options.folder / "cache").settled()


def _catalog(settings: RuntimeSettings) -> Catalog:
    return Catalog(runtimes=settings)


@cache
def _loaded(options: Options, settings: RuntimeSettings) -> Backbone:
    return _catalog(settings).load(options.backbone)


def _devices() -> str:
    """Return the devices that Keras' backend computes on."""
    match load_keras().backend.backend():
        case "jax":
            import jax

            return ", ".join(f"{each.platform} {each.device_kind}" for each in jax.devices())
        case "tensorflow":
            import tensorflow as tf

            return ", ".join(each.device_type for each in tf.config.list_logical_devices())
        case _:
            import torch

            return f"cuda {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "cpu"
