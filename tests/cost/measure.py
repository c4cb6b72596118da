"""Sends one request after another to a server, and measures what each costs it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.replica import Replica
from cost import cases
from cost.cases import KINDS, MODEL, WATCHED, Case
from headstart.v1 import fine_tuning_service_pb2 as tuning
from server_process import START_SECONDS, eventually, free_port

SERVE, CONTROL = (Path(__file__).with_name(name) for name in ("serve.py", "control.py"))
HOST = "127.0.0.1"
#: What a request may cost: seconds of a pause, bytes beyond twice the message, and seconds of a health check.
PAUSE, MEMORY, HEALTH = 0.05, 64 << 20, 0.1
#: A busy machine slows health checks: their limit is at least so many times what an idle server takes.
NOISE = 5.0
CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Cost:
    """What a request cost.

    Attributes:
        pause: seconds for which the event loop did nothing else.
        memory: bytes by which the process grew at most.
        health: seconds that the slowest health check took meanwhile.
        control: seconds that the slowest one of a server took that does nothing else.
        code: what the server answered.
        seconds: how long that took.
    """

    pause: float
    memory: int
    health: float
    control: float
    code: str
    seconds: float


@dataclass
class Limits:
    """What requests may cost on this machine.

    Attributes:
        health: seconds.
    """

    health: float = HEALTH

    def broken_by(self, cost: Cost, nbytes: int) -> list[str]:
        """Return the limits that a cost exceeds, in words."""
        found = []
        if cost.pause > PAUSE:
            found.append(f"paused for {cost.pause * 1000:.0f} ms, more than {PAUSE * 1000:.0f}")
        most = 2 * nbytes + MEMORY
        if cost.memory > most:
            found.append(f"took {cost.memory >> 20} MiB, more than {most >> 20}")
        slowest = max(self.health, NOISE * cost.control)
        if cost.health > slowest:
            found.append(f"delayed health by {cost.health * 1000:.0f} ms, more than {slowest * 1000:.0f}")
        if cost.code in ("INTERNAL", "UNKNOWN", "500", "DEADLINE_EXCEEDED"):
            found.append(f"answered {cost.code} after {cost.seconds:.0f} s")
        return found


class Server(Replica):
    """A server with a probe, three models and three datasets."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.http_port, self.probe_port, self.control_port = free_port(), free_port(), free_port()
        self._control: subprocess.Popen[bytes] | None = None
        super().__init__(folder, http_port=self.http_port, probe=self.probe_port, **settings)

    def start(self) -> None:
        """Start it, and store what requests are about."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVE), json.dumps(self._settings)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        self._control = subprocess.Popen([sys.executable, str(CONTROL), str(self.control_port)])
        eventually(lambda: self.events("serving") or None, START_SECONDS, "a server that serves")
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.target, options) as channel:
            for model in (MODEL, WATCHED, KINDS):
                _train(channel, model)
            for method, request in cases.datasets():
                _call(channel, f"DatasetService/{method}", request)
            for method, request in cases.captures():
                _call(channel, method, request)

    def kill(self) -> None:
        """End it and its control."""
        super().kill()
        if self._control is not None:
            self._control.kill()
            self._control.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def pause(self) -> float:
        """Return the longest pause since the last call."""
        with socket.create_connection((HOST, self.probe_port), timeout=60) as connection:
            return float(connection.makefile().readline())

    def reset_peak(self) -> int:
        """Begin a new peak of the process's memory; returns its memory now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        """Return the peak of the process's memory."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) << 10


def _train(channel: grpc.Channel, model: str) -> None:
    fine_tune = channel.stream_unary("/headstart.v1.FineTuningService/FineTune")
    job = tuning.FineTuneResponse.FromString(fine_tune(iter(cases.examples(model)), timeout=60)).job
    request = tuning.StatusRequest(job_id=job.job_id, wait_duration={"seconds": 60})
    answer = _call(channel, "FineTuningService/Status", request)
    assert tuning.StatusResponse.FromString(answer).job.version == 1


def _call(channel: grpc.Channel, method: str, request: Message) -> bytes:
    """Send a request, and return the response."""
    answer: bytes = channel.unary_unary(f"/headstart.v1.{method}")(request.SerializeToString(), timeout=90)
    return answer


@dataclass
class Checker:
    """Checks health all the time, as a probe does.

    Attributes:
        slowest: seconds of the slowest check.
    """

    target: str
    slowest: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator["Checker"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
            while not self._stopped.is_set():
                began = time.monotonic()
                with suppress(grpc.RpcError):
                    stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.01)


def calibrated(server: Server, seconds: float = 3.0) -> Limits:
    """Return the limits on this machine, from what an idle server takes on it."""
    with Checker(server.target).running() as checker:
        time.sleep(seconds)
    return Limits(max(HEALTH, NOISE * checker.slowest))


def cost_of(server: Server, case: Case, *, gzip: bool = False) -> Cost:
    """Send a request, and return what it cost."""
    control = Checker(f"{HOST}:{server.control_port}")
    with control.running(), Checker(server.target).running() as checker:
        time.sleep(0.05)
        before = server.reset_peak()
        server.pause()
        checker.slowest = control.slowest = 0.0
        began = time.monotonic()
        code = _sent_over_http(server, case) if case.body is not None else _sent(server, case, gzip)
        seconds = time.monotonic() - began
    return Cost(server.pause(), server.peak() - before, checker.slowest, control.slowest, code, seconds)


def _sent(server: Server, case: Case, gzip: bool) -> str:
    options: Any = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    compression = grpc.Compression.Gzip if gzip else None
    with grpc.insecure_channel(server.target, options, compression=compression) as channel:
        try:
            if case.streams:
                for _ in channel.stream_stream(case.path)(iter(case.messages), timeout=CALL_SECONDS):
                    pass
            else:
                for _ in channel.unary_stream(case.path)(case.messages[0], timeout=CALL_SECONDS):
                    break
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _sent_over_http(server: Server, case: Case) -> str:
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=CALL_SECONDS)
    try:
        connection.request("POST", case.path, case.body, {"content-type": case.media_type})
        return str(connection.getresponse().status)
    except (ConnectionError, http.client.HTTPException):
        # Closed while the body was on its way, after a refusal.
        return "closed"
    finally:
        connection.close()
