"""A server on a backbone that costs nothing, which reports the longest pause of its event loop.

Its settings come as JSON in the first argument; `probe` among them is the port of the report. Each connection
to that port gets one line, the longest pause in seconds since the one before it.
"""

import asyncio
import json
import sys
import time

from fakes import FakeBackbone, FakeSource, settings_of
from headstart_server.app import lifecycle

_TICK = 0.001


class Probe:
    """Measures how long the event loop does not get to a task that only sleeps.

    A pause is the shorter of the time that passed and the processor time of this process: other programs on
    the machine may hold its cores.
    """

    def __init__(self) -> None:
        self._longest = 0.0

    async def run(self) -> None:
        while True:
            passed, used = time.monotonic(), time.process_time()
            await asyncio.sleep(_TICK)
            pause = min(time.monotonic() - passed, time.process_time() - used + _TICK)
            self._longest = max(self._longest, pause)

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
    lifecycle.serve(settings_of(default_backbone="fake", **settings), FakeSource(FakeBackbone()))
