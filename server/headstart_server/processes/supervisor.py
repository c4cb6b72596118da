"""Starts the engine and the serving processes of a server, and restarts those that end."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric as Family

from headstart_server.addresses import host_and_port
from headstart_server.observability.metrics_port import open_metrics_port
from headstart_server.observability.telemetry import process_age
from headstart_server.processes.caller_table import CallerTable
from headstart_server.processes.channel import Channel, ProcessEndedError
from headstart_server.processes.merged_metrics import MergedMetrics, MetricsRequest, Page
from headstart_server.processes.part import Role
from headstart_server.processes.ports import ReservedPort
from headstart_server.processes.process_spec import ProcessSpec
from headstart_server.settings.settings import Settings

log = structlog.get_logger(__name__)

#: The module that a process runs.
_PROCESS = "headstart_server.app.process"
#: Seconds in addition to the grace period after which a process that does not stop is killed.
_STOP_SECONDS = 10.0
#: A process that ends sooner than this is restarted after a pause, which doubles up to a maximum.
_STEADY_SECONDS, _FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 0.5, 10.0
#: Seconds to wait for the metrics of a process, before its previous ones are used.
_METRICS_SECONDS = 5.0


class Supervisor:
    """The processes of one server.

    Args:
        settings: the settings of the server.
        count: number of serving processes.
        locks: open lock files of the data, which each process also keeps open.
        source: ``MODULE:FUNCTION`` that returns the source of backbones; None for the catalog.
    """

    def __init__(
        self, settings: Settings, count: int, locks: tuple[int, ...] = (), source: str | None = None
    ) -> None:
        self._settings = settings
        self._count = count
        self._locks = locks
        self._source = source
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._children = [_Child(Role.ENGINE, 0)]
        self._children += [_Child(Role.SERVING, number) for number in range(1, count + 1)]
        self._engine = self._children[0]
        self._metrics = MergedMetrics()
        self._has_listened = self._has_served = self._is_serving = False
        self._stop_begun: float | None = None
        self._callers = -1

    def run(self) -> None:
        """Run the processes until SIGTERM, SIGINT, or SIGHUP without an audit log.

        Raise OSError if a port is in use, and ProcessEndedError if a process could not start.
        """
        with ExitStack() as closing:
            self._callers = CallerTable.create(self._count)
            closing.callback(os.close, self._callers)
            self._reserve_ports(closing)
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
                *([signal.SIGHUP] if self._handles_hangups else []),
            ):
                signal.signal(number, lambda received, _: self._events.put(("signal", received)))
            self._serve_metrics(closing)
            closing.callback(self._kill_all)
            for child in self._children:
                self._start(child)
            while any(child.is_running for child in self._children) or self._stop_begun is None:
                self._step()
        log.info("stopped")

    def collect(self) -> list[Family]:
        """Return the metrics of all processes."""
        requests = [(child, child.request_metrics()) for child in self._children]
        deadline = time.monotonic() + _METRICS_SECONDS
        for child, future in requests:
            if future is not None:
                with suppress(Exception):
                    child.families = future.result(max(0.0, deadline - time.monotonic()))
        own = ProcessCollector(registry=None).collect()
        families = [*(child.families for child in self._children), own]
        return self._metrics.page(families, is_serving=self._is_serving)

    @property
    def _has_audit_log(self) -> bool:
        return self._settings.auth.audit_log is not None

    @property
    def _handles_hangups(self) -> bool:
        return self._has_audit_log or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def _reserve_ports(self, closing: ExitStack) -> None:
        server = self._settings.server
        held = closing.enter_context(ReservedPort(server.host, server.port, purpose="gRPC", flag="--port"))
        ports = {"port": held.number}
        if server.http_port is not None:
            http = closing.enter_context(
                ReservedPort(server.host, server.http_port, purpose="HTTP", flag="--http-port")
            )
            ports["http_port"] = http.number
        self._settings = self._settings.replace(**ports)

    def _serve_metrics(self, closing: ExitStack) -> None:
        registry = CollectorRegistry()
        registry.register(Page(self.collect))
        server = self._settings.server
        metrics = open_metrics_port(server.host, self._settings.metrics_port, registry, server.host_names)
        if metrics is not None:
            closing.callback(metrics.close)

    def _step(self) -> None:
        """Handle one event, or the timeouts that are due."""
        with suppress(queue.Empty):
            kind, *details = self._events.get(timeout=self._seconds_until_due())
            if kind == "signal":
                self._signalled(*details)
            elif kind == "message":
                self._received(*details)
            else:
                self._ended(*details)
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now and self._stop_begun is None:
                self._restart(child)
        if self._stop_begun is not None:
            self._continue_stop(now)

    def _seconds_until_due(self) -> float:
        due = [child.due for child in self._children if child.due is not None]
        if self._stop_begun is not None:
            return 0.2
        return max(0.01, min(due) - time.monotonic()) if due else 60.0

    def _start(self, child: "_Child", *, is_restart: bool = False) -> None:
        control, other = Channel.pair()
        with other:
            spec = ProcessSpec(
                settings=self._settings,
                role=child.role,
                number=child.number,
                count=self._count,
                is_restart=is_restart,
                supervisor=os.getpid(),
                control=other.fileno(),
                callers=self._callers,
                locks=self._locks,
                source=self._source,
            )
            child.start(spec, control)
        threading.Thread(
            target=self._listen,
            args=(child, control, child.process),
            name=f"process-{child.name}",
            daemon=True,
        ).start()

    def _restart(self, child: "_Child") -> None:
        """Start the successor of a process that ended."""
        try:
            self._start(child, is_restart=True)
        except (OSError, RuntimeError) as error:
            # The machine has no process, thread, file or memory left; the other processes serve meanwhile.
            self._start_failed(child, error)

    @staticmethod
    def _start_failed(child: "_Child", error: Exception) -> None:
        child.abandon()
        child.plan_restart()
        log.error(
            "process_start_failed",
            process=child.name,
            error=str(error),
            restart_seconds=round(child.pause, 1),
        )

    def _listen(self, child: "_Child", control: Channel, process: "subprocess.Popen[bytes]") -> None:
        """Forward the messages of a process, then wait for its exit."""
        with suppress(EOFError):
            while True:
                (kind, *values), _ = control.receive()
                if kind == "metrics":
                    child.answer_metrics(*values)
                else:
                    self._events.put(("message", child, process, kind, values))
        self._events.put(("ended", child, process, process.wait()))

    def _received(self, child: "_Child", process: object, kind: str, values: list[Any]) -> None:
        if process is not child.process:
            return
        if kind == "up":
            child.is_up = True
            try:
                self._connect(child)
            except OSError as error:
                if not self._has_served:
                    raise
                self._start_failed(child, error)
        elif kind == "listening":
            child.is_listening = True
            self._log_ports()
        elif kind == "ready":
            child.facts = values[0]
            child.is_ready = True
            self._update_health()

    def _log_ports(self) -> None:
        """Log the ports once all processes listen for the first time."""
        if self._has_listened or not all(child.is_listening for child in self._children[1:]):
            return
        self._has_listened = True
        server = self._settings.server
        if server.http_port is not None:
            log.info("http_listening", address=host_and_port(server.host, server.http_port))
        log.info(
            "listening",
            address=host_and_port(server.host, server.port),
            data_dir=str(self._settings.storage.data_dir),
            processes=self._count,
        )

    def _connect(self, child: "_Child") -> None:
        """Connect the engine with one or all serving processes."""
        if not self._engine.is_up:
            return
        servings = self._children[1:] if child is self._engine else [child]
        for serving in servings:
            if serving.is_up:
                one, other = socket.socketpair()
                with one, other:
                    self._engine.send(("connect",), one.fileno())
                    serving.send(("connect",), other.fileno())

    def _update_health(self) -> None:
        """Let all processes report SERVING once each of them is ready, and NOT_SERVING before."""
        is_serving = all(child.is_ready for child in self._children) and self._stop_begun is None
        if is_serving == self._is_serving:
            return
        self._is_serving = is_serving
        for child in self._children:
            child.send(("serving", is_serving))
        if is_serving:
            is_first, self._has_served = not self._has_served, True
            seconds = round(process_age(), 2)
            if is_first:
                log.info("serving", **self._engine.facts, processes=self._count, seconds_since_start=seconds)
            else:
                log.info("processes_complete", processes=self._count)

    def _ended(self, child: "_Child", process: object, code: int) -> None:
        if process is not child.process:
            return
        self._metrics.end(child.families)
        child.clear()
        if self._stop_begun is not None:
            return
        self._update_health()
        if not self._has_served:
            raise ProcessEndedError(
                f"The process {child.name} of the server ended with exit code {code}. "
                "Its log output above has the reason."
            )
        child.plan_restart()
        log.error("process_ended", process=child.name, exit_code=code, restart_seconds=round(child.pause, 1))

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP and self._has_audit_log:
            for child in self._children:
                # Before it is up, SIGHUP would end it.
                if child.is_up:
                    child.signal(signal.SIGHUP)
        elif self._stop_begun is None:
            self._stop_begun = time.monotonic()
            log.info("stopping", grace_seconds=self._settings.server.grace_period)
            self._engine.send(("drain",))
            for child in self._children[1:]:
                child.signal(signal.SIGTERM)

    def _continue_stop(self, now: float) -> None:
        """Stop the engine after the serving processes, and kill processes that take too long."""
        begun = self._stop_begun or now
        if not any(child.is_running for child in self._children[1:]):
            self._engine.stop_once()
        if now - begun > self._settings.server.grace_period + _STOP_SECONDS:
            self._kill_all()

    def _kill_all(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                child.process.wait()


class _Child:
    """One process and its successors after restarts."""

    def __init__(self, role: Role, number: int) -> None:
        self.role = role
        self.number = number
        self.name = role.value if role is Role.ENGINE else f"{role.value}-{number}"
        self.process: subprocess.Popen[bytes] | None = None
        self.is_up = self.is_listening = self.is_ready = False
        self.facts: dict[str, Any] = {}
        #: Time of its next start; None while it runs.
        self.due: float | None = None
        #: Its most recent metrics.
        self.families: list[Family] = []
        self._channel: Channel | None = None
        self._request = MetricsRequest()
        self._started = 0.0
        #: Seconds between its last end and its next start.
        self.pause = 0.0
        self._is_stopping = False

    @property
    def is_running(self) -> bool:
        """Whether no end of the process was recorded."""
        return self.process is not None

    def start(self, spec: ProcessSpec, control: Channel) -> None:
        """Start the process; it reads its spec from standard input, because the spec has secrets."""
        self.due, self._started, self._channel = None, time.monotonic(), control
        process = subprocess.Popen(
            # `ps` shows the name.
            [sys.executable, "-m", _PROCESS, self.name],
            stdin=subprocess.PIPE,
            pass_fds=(spec.control, spec.callers, *spec.locks),
            # Ctrl-C in a terminal reaches the supervisor only.
            process_group=0,
        )
        self.process = process
        pipe = process.stdin
        if pipe is not None:
            with suppress(BrokenPipeError), pipe:
                pipe.write(spec.pickled())

    def send(self, message: tuple[Any, ...], *files: int) -> None:
        """Send a message; another thread detects a process that ended."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.send(message, files)

    def request_metrics(self) -> "Future[list[Family]] | None":
        """Request the metrics; None if the process is not running."""
        return self._request.begin(lambda: self.send(("collect",))) if self.is_up else None

    def answer_metrics(self, families: list[Family]) -> None:
        """Store metrics that the process sent."""
        self._request.answer(families)

    def signal(self, number: int) -> None:
        """Send a signal if the process runs."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def stop_once(self) -> None:
        """Send SIGTERM, once."""
        if not self._is_stopping:
            self._is_stopping = True
            self.signal(signal.SIGTERM)

    def clear(self) -> None:
        """Record that the process ended."""
        self.process, self.is_up, self.is_ready, self.families = None, False, False, []
        self._request.cancel()
        if self._channel is not None:
            self._channel.close()

    def abandon(self) -> None:
        """Kill the process, if it was started, because its start failed."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.clear()
        self._started = time.monotonic()

    def plan_restart(self) -> None:
        """Plan the next start, after a pause if the process ended soon."""
        now = time.monotonic()
        is_steady = now - self._started >= _STEADY_SECONDS
        self.pause = 0.0 if is_steady else min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self.pause))
        self.due = now + self.pause
