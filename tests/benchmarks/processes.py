"""Serving processes in front of one engine, against one process and against several servers.

Prints calls/s and the CPU time of a call by process, on a device that computes nothing and on a simulated
one (8 rows in 2 ms, one batch at a time), for images and for rows of features, which need no device. Calls
come from h2load (Debian: nghttp2-client), which sends one prepared message. Images are not decoded.
"""

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from fakes import FakeBackbone, FakeSource, settings_of
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.app.serve import serve
from headstart_server.app.supervise import process_count, supervise
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone, BackboneInfo, Content, Truncation
from headstart_server.backbones.contract.vectors import FAMILY
from integration.server.calls import Api, example, prediction_request, serves
from sample_images import photographs
from server_process import HOST, eventually, free_port

SIDE, SIZE = 224, 1280
#: The simulated device: rows of a batch, and its seconds.
ROWS, SECONDS = 8, 0.002
#: Numbers of a row of features.
NUMBERS = 128
DEVICES = {"computes nothing": 0.0, "8 rows in 2 ms": SECONDS}
#: Where the source of backbones finds its device.
_DEVICE = "BENCH_DEVICE_SECONDS"


@dataclass(frozen=True)
class PixelDecoder:
    """Makes a row of pixels without decoding, so that calls cost what the server itself costs."""

    def decode(self, content: Content) -> NDArray[np.uint8]:
        return np.full((SIDE, SIDE, 3), content[0] if isinstance(content, bytes) else 0, np.uint8)

    def truncation(self, content: Content) -> Truncation | None:
        return None


class Device(FakeBackbone):
    """Views that follow from one pixel of each row.

    Args:
        seconds: what a batch takes; one runs at a time.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("fake", size=SIZE)
        self.streams, self.batch = 3, ROWS if seconds else 32
        self._seconds, self._free = seconds, threading.Lock()

    @property
    def decoder(self) -> Any:
        return PixelDecoder()

    def decode(self, content: Content) -> Any:
        return PixelDecoder().decode(content)

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> dict[str, NDArray[np.float32]]:
        if self._seconds:
            with self._free:
                time.sleep(self._seconds)
        first = rows[:, 0, 0, :1].astype(np.float32)
        return {"last": np.repeat(first, SIZE, axis=1), "taps": np.repeat(first, 3, axis=1)}


class Source(FakeSource):
    """The device, and rows of features without one."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._catalog = Catalog()

    def info(self, name: str) -> BackboneInfo:
        return self._catalog.info(name) if name.startswith(FAMILY) else super().info(name)

    def load(self, name: str) -> Backbone:
        return self._catalog.load(name) if name.startswith(FAMILY) else super().load(name)


def source() -> Source:
    """The backbones of each process."""
    return Source(Device(float(os.environ[_DEVICE])))


class Server:
    """A server in separate processes on a device.

    Args:
        folder: of its data and its log.
        seconds: what a batch of the device takes.
        processes: serving processes; 1 for a server in one process.
    """

    def __init__(self, folder: Path, seconds: float, processes: int) -> None:
        self.port = free_port()
        settings = {"port": self.port, "data_dir": folder / "data", "processes": processes}
        settings |= {"metrics_port": "off", "default_backbone": "fake", "log_format": "json"}
        given = json.dumps({name: str(value) for name, value in settings.items()})
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--serve", given],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    _DEVICE: str(seconds),
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
            )

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"

    def seconds(self) -> Counter[str]:
        """CPU seconds of each kind of its processes so far."""
        own = psutil.Process(self._process.pid)
        used: Counter[str] = Counter()
        for process in (own, *own.children()):
            name = process.cmdline()[-1].partition("-")[0]
            times = process.cpu_times()
            used[name if name in ("engine", "serving") else "server"] += times.user + times.system
        return used

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Calls a second, and CPU milliseconds of a call by kind of process."""

    per_second: float
    cpu: Mapping[str, float]


def measure(servers: list[Server], message: Path, *, callers: int, seconds: float) -> Measurement:
    """Call one method of all servers at the same time, with connections that reach every process."""
    before = sum((server.seconds() for server in servers), Counter[str]())
    began = time.perf_counter()
    loads = [load(server.target, message, callers // len(servers), seconds) for server in servers]
    calls = sum(_calls(process) for process in loads)
    took = time.perf_counter() - began
    used = sum((server.seconds() for server in servers), Counter[str]()) - before
    cpu = {name: value / calls * 1e3 for name, value in used.items() if value / calls > 1e-5}
    return Measurement(per_second=calls / took, cpu=cpu)


def load(target: str, message: Path, callers: int, seconds: float) -> "subprocess.Popen[str]":
    """Start h2load: one call at a time on each connection."""
    headers = ["content-type: application/grpc", "te: trailers"]
    return subprocess.Popen(
        ["h2load", f"-c{callers}", "-m1", f"-D{max(1, round(seconds))}", "-d", message]
        + [part for header in headers for part in ("-H", header)]
        + [f"http://{target}/headstart.v1.PredictionService/Predict"],
        stdout=subprocess.PIPE,
        text=True,
    )


def _calls(process: "subprocess.Popen[str]") -> int:
    output, _ = process.communicate()
    found = re.search(r"(\d+) succeeded, (\d+) failed", output)
    assert found is not None, output
    assert found[2] == "0", output
    return int(found[1])


def prepared(target: str, folder: Path) -> dict[str, Path]:
    """Fine-tune one model on images and one on rows of features; write a request for each."""
    rows = [input_pb2.Input(tensor=_tensor(place)) for place in range(12)]
    with Api.connect(target) as api:
        eventually(lambda: serves(api), 300, "a server that serves")
        api.published([example(bytes([place]) + b"x", f"c{place % 2}") for place in range(12)], model="m")
        api.published(
            [
                input_pb2.Example(input=row, label={"class_name": f"c{place % 2}"})
                for place, row in enumerate(rows)
            ],
            model="rows",
        )
        requests = {
            "image": prediction_request("m", photographs(1)[0]),
            "features": feature_request(rows[0]),
        }
    files = {}
    for name, request in requests.items():
        body = request.SerializeToString()
        files[name] = folder / name
        files[name].write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
    return files


def feature_request(row: input_pb2.Input) -> predicting.PredictRequest:
    return predicting.PredictRequest(
        targets=[version_selector_pb2.VersionSelector(model="rows")], inputs=[row]
    )


def _tensor(place: int) -> input_pb2.Tensor:
    values = np.full(NUMBERS, place % 2, "<f4") + np.random.default_rng(place).normal(size=NUMBERS) / 9
    return input_pb2.Tensor(
        data_type=input_pb2.DATA_TYPE_FLOAT32, shape=[NUMBERS], data=values.astype("<f4").tobytes()
    )


@contextmanager
def running(count: int, processes: int, seconds: float) -> Iterator[tuple[list[Server], dict[str, Path]]]:
    """Some servers of some processes each, with models and requests."""
    folder = Path(tempfile.mkdtemp(prefix="headstart-bench-"))
    with ExitStack() as closing:
        closing.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = [Server(folder / str(place), seconds, processes) for place in range(count)]
        for server in servers:
            closing.callback(server.close)
        for server in servers:
            requests = prepared(server.target, folder)
        yield servers, requests


def row(title: str, found: Measurement, base: float) -> str:
    """A row of the table."""
    cpu = found.cpu
    parts = ", ".join(f"{name} {value:.2f}" for name, value in sorted(cpu.items()))
    total = sum(cpu.values())
    return f"| {title} | {found.per_second:,.0f} | {found.per_second / base:.2f} | {parts} | {total:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--devices", nargs="*", choices=DEVICES, default=list(DEVICES))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        settings = settings_of(**json.loads(given.serve))
        count = process_count(settings)
        if count > 1:
            supervise(settings, count, source="processes:source")
        else:
            serve(settings, source())
        return
    print(
        "| device, input | server | calls/s | ratio | CPU ms of a call | in all |\n|---|---|---|---|---|---|"
    )
    for device in given.devices:
        table(device, DEVICES[device], given)


def table(device: str, seconds: float, given: argparse.Namespace) -> None:
    """Print the rows of a device."""
    inputs = ("image", "features") if not seconds else ("image",)
    base: dict[str, float] = {}
    arrangements = [
        (f"{count} serving", 1, count) if count > 1 else ("one process", 1, 1) for count in given.processes
    ]
    for title, servers, processes in [*arrangements, ("2 servers", 2, 1)]:
        with running(servers, processes, seconds) as (started, requests):
            for name in inputs:
                measure(started, requests[name], callers=given.callers, seconds=given.seconds / 4)
                found = measure(started, requests[name], callers=given.callers, seconds=given.seconds)
                base.setdefault(name, found.per_second)
                print(row(f"{device}, {name} | {title}", found, base[name]), flush=True)


if __name__ == "__main__":
    main()
