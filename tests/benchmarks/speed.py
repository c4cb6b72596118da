"""Predict and features of a running server in one precision, and what share of the possible they reach."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dialects
import light_load
from headstart import Client, Example
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings, has_bfloat16
from load import METHOD
from sample_images import photographs
from server_process import HOST

HERE = Path(__file__).parent
#: Least seconds of a load that is one of several: on a busy machine a shorter one ends before its calls do.
LEAST_SECONDS = 1.5
#: Generators of load, the lighter one first.
H2LOAD, PYTHON = "h2load", "Python"
CALLERS = (1, 8, 32)
#: Callers of which the share of decoding and network alone is measured.
BUSY_CALLERS = (8, 32)
#: Callers that send feature rows.
ROW_CALLERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is measured.

    Attributes:
        precision: precision of the default backbone.
        cache: folder of prepared backbones.
    """

    precision: Precision
    cache: Path

    @property
    def name(self) -> str:
        """The name of the precision."""
        return self.precision.value

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of a program that runs the backbone."""
        return "--precision", self.precision.value, "--backbone-cache", str(self.cache)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Share that Predict reaches of decoding and network alone, or of an empty method if that is less.

    Attributes:
        share: median over pairs of measurements that follow each other.
        rate: Predict calls a second.
        limit: images a second of decoding and network alone.
    """

    share: float
    rate: float
    limit: float

    @property
    def text(self) -> str:
        """The share with its parts."""
        return f"{self.share:.0%} ({self.rate:.0f} of {self.limit:.0f}/s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Figures of Predict in one precision.

    Attributes:
        loads: ``per_second``, ``p50_ms`` and ``p99_ms`` by generator and number of callers.
        shares: share of the possible by the lightest generator, by the number of callers.
        empty: calls a second of an empty method.
    """

    loads: dict[str, dict[int, dict[str, float]]]
    shares: dict[int, Share]
    empty: float

    @property
    def generator(self) -> str:
        """The lightest generator that is installed."""
        return next(iter(self.loads))

    def rows(self, precision: str) -> list[tuple[str, ...]]:
        """Return the rows of the table of Predict."""
        rows = []
        for callers in CALLERS:
            row = [precision, str(callers)]
            for generator in (H2LOAD, PYTHON):
                row += _cells(self.loads.get(generator, {}).get(callers))
            share = self.shares.get(callers)
            rows.append((*row, share.text if share else ""))
        return rows


def _cells(load: dict[str, float] | None) -> list[str]:
    if load is None:
        return ["-"] * 3
    return [f"{load['per_second']:.0f}", f"{load['p50_ms']:.0f} ms", f"{load['p99_ms']:.0f} ms"]


def generators() -> Sequence[str]:
    """Return the generators that are installed, the lightest first."""
    return (H2LOAD, PYTHON) if light_load.H2LOAD.find() else (PYTHON,)


def precisions(cache: Path) -> list[Precision]:
    """Return the precisions that can be measured: 8 bits if prepared and proven, then the native ones."""
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=Precision.INT8, cache=cache)
    is_proven = Catalog(runtimes=settings).quantized.preferred(DEFAULT) != DEFAULT
    floats = [Precision.BFLOAT16] if has_bfloat16() else []
    return [*([Precision.INT8] if is_proven else []), *floats, Precision.FLOAT32]


def prepare(cache: Path) -> str:
    """Prepare and quantize the default backbone unless done before, and return what the proof says."""
    command = [sys.executable, "-m", "headstart_server", "prepare", DEFAULT, "--int8"]
    done = subprocess.run(
        [*command, "--backbone-cache", str(cache)], check=False, capture_output=True, text=True
    )
    lines = done.stdout.strip() or done.stderr.strip()
    return lines if done.returncode == 0 else f"The default backbone is not available in 8 bits: {lines}"


def speed(target: str, model: str, subject: Subject, seconds: float, turns: int) -> Speed:
    """Measure Predict with one image a call, and its share of what this machine can do at best."""
    lightest, part = generators()[0], max(LEAST_SECONDS, seconds / 3)
    with echo() as echo_target:
        empty = load(echo_target, model, 32, seconds, generator=lightest, check=False)["per_second"]
    limits: list[float] = []
    rates: dict[int, list[float]] = {callers: [] for callers in BUSY_CALLERS}
    for _ in range(turns):
        limits.append(program("limits.py", "decode", "--seconds", str(part), *subject.flags)["rate"])
        for callers, each in rates.items():
            each.append(load(target, model, callers, part, generator=lightest)["per_second"])
    # Each against the limit just before it: what else the machine does changes from second to second.
    shares = {
        callers: Share(
            share=statistics.median(
                rate / min(limit, empty) for rate, limit in zip(each, limits, strict=True)
            ),
            rate=statistics.median(each),
            limit=statistics.median(limits),
        )
        for callers, each in rates.items()
    }
    loads = {
        generator: {
            callers: load(target, model, callers, seconds, generator=generator) for callers in CALLERS
        }
        for generator in generators()
    }
    return Speed(loads=loads, shares=shares, empty=empty)


def network(subject: Subject, seconds: float) -> dict[str, float]:
    """Return the rows a second of OpenVINO alone and of the engine around it, in one precision."""
    return program("limits.py", "network", "--seconds", str(2 * seconds), *subject.flags)


def feature_rows(target: str, client: Client, seconds: float) -> dict[str, float]:
    """Return the calls a second with one row of features each, by their method; empty without h2load."""
    if H2LOAD not in generators():
        return {}
    rows = np.random.default_rng(0).normal(size=(40, dialects.FEATURES)).astype(np.float32)
    client.fine_tune([Example(row, str(place % 2)) for place, row in enumerate(rows)], model="rows").result()
    requests = dialects.row_requests("rows", rows[0])
    measured = {}
    for name in (dialects.PREDICT, "ModelInfer"):
        request = light_load.grpc_request(target, dialects.METHODS[name], requests[name])
        measured[name] = _succeeded(light_load.measure(request, callers=ROW_CALLERS, seconds=seconds))
    return {name: each["per_second"] for name, each in measured.items()}


def load(
    target: str,
    model: str,
    callers: int,
    seconds: float,
    *,
    models: int = 0,
    generator: str = PYTHON,
    check: bool = True,
) -> dict[str, float]:
    """Call Predict for some seconds; return rate and latencies.

    Args:
        target: host and port of the server.
        model: model that predicts; with `models`, the beginning of the names of so many.
        callers: calls at once.
        seconds: how long calls are counted.
        models: number of models, each call to one at random; 0 means `model` itself.
        generator: what sends the calls. h2load sends one image again and again.
        check: whether the server predicts, so that its answers to the same image must not change.
    """
    if generator == PYTHON:
        flags = ["--concurrency", str(callers), "--seconds", str(seconds), "--models", str(models)]
        return program("load.py", target, model, *flags)
    (file,) = photographs(1)
    message = pb.PredictRequest(
        targets=[version_selector_pb2.VersionSelector(model=model)], inputs=[input_pb2.Input(image=file)]
    )
    request = light_load.grpc_request(target, METHOD, message.SerializeToString())
    before = _predicted(target, model, file) if check else None
    measured = _succeeded(light_load.measure(request, callers=callers, seconds=seconds))
    if before != (_predicted(target, model, file) if check else None):
        raise SystemExit(f"The prediction of {model} changed during the load, so the load is not valid.")
    return measured


def _predicted(target: str, model: str, file: bytes) -> object:
    with Client(target, timeout=60) as client:
        return client.predict(file, model=model).label


def _succeeded(measured: dict[str, Any]) -> dict[str, Any]:
    if measured["failures"]:
        raise SystemExit(f"Calls failed, so the load is not valid: {measured['failures']}")
    return measured


def program(name: str, *arguments: str) -> dict[str, float]:
    """Return what another program of this folder prints."""
    command = [sys.executable, str(HERE / name), *arguments]
    measured: dict[str, float] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return measured


@contextmanager
def echo() -> Iterator[str]:
    """The address of an empty gRPC method."""
    command = [sys.executable, str(HERE / "limits.py"), "echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"{HOST}:{process.stdout.readline().strip()}"
        finally:
            process.kill()
