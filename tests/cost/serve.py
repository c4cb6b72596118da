"""A server on a backbone that costs nothing, which reports the longest pause of its event loop.

Its settings come as JSON in the first argument; `probe` among them is the port of the report. Each connection
to that port gets one line, the longest pause in seconds since the one before it.
"""

import asyncio
import json
import os
import sys
import threading
import time

from fakes import FakeBackbone, FakeSource, settings_of
from headstart_server.app import lifecycle
from headstart_server.app.serve import serve

_TICK = 0.001


class Probe:
    """Measures how long the event loop does not get to a task that only sleeps.

    A pause is the time that passed, less the time that the loop's thread could have run while other threads
    had all cores. So it holds the thread's work, and its waits for the interpreter's lock; for those it is at
    most the processor time of this process, because the thread that has the lock may wait for a core, too.
    """

    def __init__(self) -> None:
        self._longest = 0.0
        self._schedule = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    async def run(self) -> None:
        while True:
            passed, used, waited = time.monotonic(), time.process_time(), self._waited()
            await asyncio.sleep(_TICK)
            pause = min(
                time.monotonic() - passed - (self._waited() - waited), time.process_time() - used + _TICK
            )
            self._longest = max(self._longest, pause)

    def _waited(self) -> float:
        """Return the seconds that the loop's thread has waited for a core."""
        return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9

    async def report(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self._longest}\n".encode())
        self._longest = 0.0
        writer.close()


class ProbedApp(lifecycle.App):
    """The server with its probe."""

    probe_port = 0

    async def run(self, stop: asyncio.Event | None = None) -> None:
        probe = Probe()
        running = asyncio.create_task(probe.run())
        async with await asyncio.start_server(probe.report, "127.0.0.1", self.probe_port):
            await super().run(stop)
        running.cancel()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    ProbedApp.probe_port = settings.pop("probe")
    lifecycle.App = ProbedApp  # type: ignore[misc]
    serve(settings_of(default_backbone="fake", **settings), FakeSource(FakeBackbone()))
