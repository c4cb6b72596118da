"""The life of a server: start, serve, stop."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from headstart_server.addresses import host_and_port
from headstart_server.api.grpc.executors import CallPool
from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.server import Server
from headstart_server.app.build import Objects
from headstart_server.app.gauges import add_gauges
from headstart_server.app.maintenance import Maintenance
from headstart_server.app.membership import Membership
from headstart_server.app.memory import keep_started_objects
from headstart_server.app.server_logs import warn_unprotected
from headstart_server.app.services import grpc_server, http_port, webhook_sender
from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.errors import DatabaseUnavailable, StorageFull
from headstart_server.observability.metrics_port import open_metrics_port
from headstart_server.processes.part import WHOLE, Part
from headstart_server.settings.settings import Settings
from headstart_server.storage import failpoints

if TYPE_CHECKING:
    from headstart_server.api.http.port import HttpPort

log = structlog.get_logger(__name__)

#: Seconds that running calls have to end if the server stops before it was ready.
START_GRACE_SECONDS = 0.5
#: Seconds that a stopping server has to send its last traces.
TRACES_SECONDS = 3.0


class App:
    """One server over one data folder.

    Args:
        settings: the settings of the server.
        source: provides the backbones; None uses the `Catalog`.
        part: the part of the server that this process is.
        membership: connects this process with the server's other processes.

    Raises:
        Exception: as `Objects`. All opened objects are closed again.
    """

    def __init__(
        self,
        settings: Settings,
        source: BackboneSource | None = None,
        *,
        part: Part = WHOLE,
        membership: Membership | None = None,
    ) -> None:
        failpoints.arm_from_environment()
        self._settings = settings
        self._part = part
        self._membership = membership or Membership()
        self._grace = min(START_GRACE_SECONDS, settings.server.grace_period)
        with ExitStack() as closing:
            self.objects = Objects(settings, source, closing, part)
            self._maintenance = Maintenance(self.objects)
            self._webhook_sender = webhook_sender(self.objects) if part.runs_jobs else None
            add_gauges(self.objects)
            self._opened = closing.pop_all()

    def close(self) -> None:
        """Close a server that was not run; `run` closes it itself."""
        self._opened.close()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Serve until SIGTERM, SIGINT or the event; then stop gracefully.

        Each step of the start pushes its counterpart to one stack. So a failing start stops the parts that it
        started, and a failing step of the stop does not skip the others. Raise OSError if a port is in use or
        a TLS file cannot be read, and BackboneUnavailable if the default backbone cannot be loaded.
        """
        stop = stop or asyncio.Event()
        async with AsyncExitStack() as stopping:
            stopping.enter_context(self._opened)
            self._handle_signals(stop)
            if not self._part.shares_data:
                warn_unprotected(self._settings)
            server = await self._start(stopping)
            stopped = _task(stopping, stop.wait())
            warming = _task(stopping, self._warm(server))
            await asyncio.wait({warming, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                self._grace = self._settings.server.grace_period
                await stopped
        if not self._part.shares_data:
            log.info("stopped")

    def _handle_signals(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(CallPool(32, "store"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if self.objects.audit is not None:
            loop.add_signal_handler(signal.SIGHUP, self.objects.audit.reopen)
        elif not self._part.shares_data and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # Otherwise SIGHUP would end the process, and its calls, at this moment.
            loop.add_signal_handler(signal.SIGHUP, stop.set)

    async def _start(self, stopping: AsyncExitStack) -> Server | None:
        """Start in the reverse order of the stop: the parts that must stop last are started first."""
        objects, part = self.objects, self._part
        stopping.push_async_callback(asyncio.to_thread, objects.tracing.close, TRACES_SECONDS)
        if part.runs_jobs:
            self._maintenance.take_over()
        if not part.shares_data:
            self._serve_metrics(stopping)
        server, http = self._bind(stopping) if part.serves else (None, None)
        for step in (objects.traffic.write, objects.job_store.queue.leave, objects.erasures.release):
            stopping.push_async_callback(asyncio.to_thread, _leave, step)
        heartbeat = objects.heartbeat if part.runs_jobs else None
        for service in (heartbeat, objects.poller, objects.captures.inputs, self._webhook_sender):
            if service is not None:
                stopping.push_async_callback(asyncio.to_thread, service.stop)
                service.start()
        stopping.callback(self._membership.leave)
        if part.runs_jobs:
            # After the calls and jobs, which must not wait for the retrain that it may be submitting.
            stopping.push_async_callback(asyncio.to_thread, objects.retrainer.stop)
        stopping.push_async_callback(self._end_calls_and_jobs, server, http)
        await self._membership.join(objects, server)
        if server is not None:
            await server.start()
            if http is not None:
                http.start()
            self._log_ports(server, http)
        if part.runs_jobs:
            objects.workers.start()
            objects.retrainer.start()
        self._begin_stop_with(stopping, server)
        return server

    def _bind(self, stopping: AsyncExitStack) -> "tuple[Server, HttpPort | None]":
        """Bind both ports before anything runs: a port in use is the most frequent failure."""
        server = grpc_server(self.objects)
        stopping.push_async_callback(server.close)
        http = http_port(self.objects, server)
        if http is not None:
            stopping.push_async_callback(http.stop, 0.0)
        return server, http

    def _log_ports(self, server: Server, http: "HttpPort | None") -> None:
        if self._part.shares_data:
            # The supervisor logs the ports once all processes listen.
            self._membership.listening()
            return
        settings = self._settings
        if http is not None:
            log.info("http_listening", address=host_and_port(settings.server.host, http.port))
        log.info("backbone_loading", backbone=self.objects.pool.default)
        address = host_and_port(settings.server.host, server.port)
        log.info("listening", address=address, data_dir=str(settings.storage.data_dir))

    def _serve_metrics(self, stopping: AsyncExitStack) -> None:
        server, registry = self._settings.server, self.objects.telemetry.registry
        metrics = open_metrics_port(server.host, self._settings.metrics_port, registry, server.host_names)
        if metrics is not None:
            stopping.push_async_callback(asyncio.to_thread, metrics.close)

    def _begin_stop_with(self, stopping: AsyncExitStack, server: Server | None) -> None:
        """Push the first steps of a stop, the last one first."""
        objects = self.objects
        # The preparation of a backbone may take minutes.
        stopping.callback(objects.pool.stop_loading)
        stopping.callback(objects.watcher.drain)
        if server is not None:
            stopping.callback(server.set_serving, False)
        stopping.callback(objects.submissions.close)
        maintenance = self._maintenance
        loops = [maintenance.clean_repeatedly, maintenance.write_traffic_repeatedly]
        if self._part.runs_jobs:
            loops.append(maintenance.resume_erasures_repeatedly)
            if (files := tls_files(self._settings.tls)) is not None:
                loops.append(partial(maintenance.check_certificate_repeatedly, files))
        for loop in loops:
            _task(stopping, loop())
        stopping.callback(objects.erasures.close)
        if not self._part.shares_data:
            stopping.callback(lambda: log.info("stopping", grace_seconds=self._grace))

    async def _end_calls_and_jobs(self, server: Server | None, http: "HttpPort | None") -> None:
        # Jobs return to the queue at their next batch while the last calls end.
        jobs = asyncio.create_task(asyncio.to_thread(self.objects.workers.stop, self._grace))
        try:
            if server is not None:
                await server.stop(self._grace, None if http is None else http.stop)
        finally:
            await jobs

    async def _warm(self, server: Server | None) -> None:
        pool = self.objects.pool
        # The pool loads in a daemon thread, so the server can stop during a download of minutes.
        embedder = await pool.ready(partial(pool.get, ""), None)
        keep_started_objects()
        await self._membership.ready(self.objects, server, embedder)
        # This is another daemon thread, for the same reason.
        threading.Thread(target=pool.prepare_all, name="prepare", daemon=True).start()


def _leave(step: Callable[[], object]) -> None:
    """Take a step of the stop that the database may prevent."""
    with suppress(DatabaseUnavailable, StorageFull):
        step()


def _task(stopping: AsyncExitStack, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    """Run a coroutine until the stop cancels it."""
    task = asyncio.create_task(work)
    stopping.callback(task.cancel)
    return task
