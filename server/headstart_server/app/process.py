"""The program and the membership of one process of a server with several, started by the supervisor."""

import asyncio
import os
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import structlog

from headstart_server.api.server import Server
from headstart_server.app.build import Objects
from headstart_server.app.lifecycle import App
from headstart_server.app.membership import Membership
from headstart_server.app.memory import keep_freed_memory
from headstart_server.app.server_logs import configure_server_logs
from headstart_server.app.start_failure import cause_of, end_process, unexpected
from headstart_server.embedding.embedder import Embedder
from headstart_server.observability.telemetry import process_age
from headstart_server.processes.channel import Channel
from headstart_server.processes.engine_service import EngineHooks, EngineService
from headstart_server.processes.process_spec import ProcessSpec, die_with

log = structlog.get_logger(__name__)


class SupervisedMembership(Membership):
    """The membership of a process whose supervisor connects it to the others.

    Args:
        control: the connection to the supervisor.
    """

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._objects: Objects | None = None
        self._server: Server | None = None
        self._service: EngineService | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_connected = asyncio.Event()

    async def join(self, objects: Objects, server: Server | None) -> None:
        self._objects, self._server, self._loop = objects, server, asyncio.get_running_loop()
        if objects.part.runs_jobs:
            hooks = EngineHooks(
                wake=objects.workers.wake,
                cancel=objects.heartbeat.cancel,
                drop=objects.copies.drop,
                erase=partial(objects.erasures.erase, rebuild=True),
            )
            self._service = EngineService(objects.pool, objects.cache, hooks)
            objects.notifier.on_publish = self._service.publish_change
        else:
            objects.part.engine.on_change = objects.poller.wake
            # The supervisor starts a successor, which it connects.
            objects.part.engine.on_failure = partial(os._exit, 1)
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()
        self._control.send(("up",))
        if not objects.part.runs_jobs:
            # Calls that arrive before the engine is connected wait in the port's queue.
            await self._is_connected.wait()

    def listening(self) -> None:
        self._control.send(("listening",))

    async def ready(self, objects: Objects, server: Server | None, embedder: Embedder) -> None:
        del server
        objects.telemetry.serving_started(round(process_age(), 2))
        facts = {"backbone": embedder.info.name, "runtime": embedder.runtime}
        self._control.send(("ready", facts))

    def leave(self) -> None:
        if self._service is not None:
            self._service.close()

    def _listen(self) -> None:
        """Handle the supervisor's messages; this process ends when the supervisor does, or when one fails."""
        try:
            with suppress(EOFError):
                while True:
                    (kind, *values), files = self._control.receive()
                    getattr(self, f"_{kind}")(*values, *files)
        except Exception as error:  # noqa: BLE001 - a process that no message reaches must be replaced
            log.error("process_connection_failed", error=cause_of(error) or unexpected(error))
        finally:
            os._exit(1)

    def _connect(self, descriptor: int) -> None:
        if self._service is not None:
            self._service.connect(descriptor)
            return
        if self._objects is not None and self._loop is not None:
            self._objects.part.engine.connect(descriptor)
            self._loop.call_soon_threadsafe(self._is_connected.set)

    def _serving(self, is_serving: bool) -> None:
        if self._server is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._server.set_serving, is_serving)

    def _collect(self) -> None:
        if self._objects is not None:
            self._control.send(("metrics", list(self._objects.telemetry.registry.collect())))

    def _drain(self) -> None:
        """Return the running jobs to the queue; compute features until the serving processes have ended."""
        if self._objects is not None:
            grace = self._objects.settings.server.grace_period
            threading.Thread(
                target=self._objects.workers.stop, args=(grace,), name="drain", daemon=True
            ).start()


def main() -> None:
    """Run the process that the standard input describes."""
    keep_freed_memory()
    spec = ProcessSpec.read(sys.stdin.buffer)
    die_with(spec.supervisor)
    for descriptor in (spec.control, spec.callers, *spec.locks):
        os.set_inheritable(descriptor, False)
    part = spec.part
    configure_server_logs(spec.settings, process=part.name)
    try:
        membership = SupervisedMembership(Channel(socket.socket(fileno=spec.control)))
        app = App(spec.settings, spec.open_source(), part=part, membership=membership)
        asyncio.run(app.run())
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all end in one line
        _fail(part.name, error, is_debugging=spec.settings.observability.log_level == "debug")
    end_process(0)


def _fail(name: str, error: BaseException, *, is_debugging: bool) -> NoReturn:
    if is_debugging:
        log.error("process_failed", process=name, exc_info=error)
    line: Any = cause_of(error) or unexpected(error)
    print(line, file=sys.stderr, flush=True)
    end_process(1)


if __name__ == "__main__":
    main()
