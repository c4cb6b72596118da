"""Watch jobs in the event loop, for the calls that wait for their events."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence

from headstart_server.auth.permissions import Scope
from headstart_server.errors import Draining
from headstart_server.jobs.job import Job, JobEvent
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_reader import EVENTS_AT_ONCE, JobReader
from headstart_server.jobs.watching import Position, Watched


class EventCursor:
    """Read the new events of a job in steps. The caller waits between steps, unless there are more events.

    Attributes:
        has_more: whether the next step may find more events without waiting.
        is_over: whether the job has ended and all its events were read.
    """

    def __init__(self, reader: JobReader, job_id: str, after: int) -> None:
        self._reader = reader
        self._job_id = job_id
        self._after = after
        self.has_more = False
        self.is_over = False

    def step(self) -> Sequence[JobEvent]:
        """Return the events since the last step, or the first of many.

        Raise DatabaseUnavailable if the database does not answer; the next step returns what this one missed.
        """
        events = self._reader.events(self._job_id, self._after)
        if not events and self._reader.get(self._job_id).state.is_terminal:
            # The cursor began after the last event, or the job has ended since its events were read.
            events = self._reader.events(self._job_id, self._after)
            self.is_over = not events
        if events:
            self._after = events[-1].number
            self.is_over = events[-1].state.is_terminal
        self.has_more = len(events) == EVENTS_AT_ONCE and not self.is_over
        return events


#: Seconds after which a job is read again if no notification comes.
POLL_SECONDS = 15.0
#: Seconds without an event after which a keepalive is sent: proxies end idle streams after half a minute.
QUIET_SECONDS = 20.0


class JobWatcher:
    """Watch jobs for callers that wait.

    Args:
        quiet_seconds: seconds without an event after which a keepalive is sent.
    """

    def __init__(
        self, reader: JobReader, notifier: JobNotifier, *, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._reader = reader
        self._notifier = notifier
        self._draining = False
        self._waiting: set[asyncio.Event] = set()

    def drain(self) -> None:
        """End every wait with `Draining`, so that its caller continues at another replica."""
        self._draining = True
        for wake in self._waiting:
            wake.set()

    async def events(self, job_id: str, after: int) -> AsyncGenerator[JobEvent | None, None]:
        """Yield the events of a job with a number above `after` as they occur, until the job has ended.

        Yield None as a keepalive if no event occurs for a while. Raise Draining if the server stops.
        """
        loop = asyncio.get_running_loop()
        wake, sent = asyncio.Event(), loop.time()
        cursor = EventCursor(self._reader, job_id, after)
        with self._notifier.subscribe(job_id, _waker(wake)):
            while True:
                wake.clear()
                events = await asyncio.to_thread(cursor.step)
                for event in events:
                    yield event
                if cursor.is_over:
                    return
                if events:
                    sent = loop.time()
                elif loop.time() - sent >= self._quiet_seconds:
                    yield None
                    sent = loop.time()
                await self._wait(wake, 0.0 if cursor.has_more else min(POLL_SECONDS, self._quiet_seconds))

    async def all_events(
        self, position: Position, *, model: str, scope: Scope | None
    ) -> AsyncGenerator[Watched, None]:
        """Yield the events of all jobs after a position as they occur.

        The first value comes immediately; values without events are keepalives.

        Args:
            model: only jobs of this model; empty for all.
            scope: only jobs of models within it; None for all.

        Raises:
            Draining: the server stops.
        """
        loop = asyncio.get_running_loop()
        wake, sent = asyncio.Event(), -math.inf
        with self._notifier.subscribe_to_all(_waker(wake)):
            while True:
                wake.clear()
                watched = await asyncio.to_thread(self._reader.watched, position, model=model, scope=scope)
                position = watched.position
                if watched.events or loop.time() - sent >= self._quiet_seconds:
                    yield watched
                    sent = loop.time()
                await self._wait(wake, 0.0 if watched.has_more else min(POLL_SECONDS, self._quiet_seconds))

    async def ended(self, job_id: str, seconds: float) -> Job:
        """Return a job once it has ended, or its state after some seconds.

        Raise Draining if the server stops.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        wake = asyncio.Event()
        with self._notifier.subscribe(job_id, _waker(wake)):
            while True:
                wake.clear()
                job = await asyncio.to_thread(self._reader.get, job_id)
                left = deadline - loop.time()
                if job.state.is_terminal or left <= 0:
                    return job
                await self._wait(wake, min(left, POLL_SECONDS))

    async def _wait(self, wake: asyncio.Event, seconds: float) -> None:
        self._waiting.add(wake)
        try:
            if not self._draining:
                await asyncio.wait_for(wake.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(wake)
        if self._draining:
            raise Draining("The server is stopping. Call again at another replica, or once it has restarted.")


def _waker(wake: asyncio.Event) -> "_Waker":
    return _Waker(asyncio.get_running_loop(), wake)


class _Waker:
    """Set an event of an event loop from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
        self._loop, self._wake = loop, wake

    def __call__(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)
