"""One job as an asynchronous caller holds it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import TypeVar

from headstart import calls
from headstart.async_connection import AsyncConnection
from headstart.errors import DeadlineExceeded, Unavailable
from headstart.following import STATUS_SLICE_SECONDS, EventCursor, finished_version, still_going
from headstart.results import JobEvent, JobStatus, Version
from headstart.retries import Backoff, Deadline
from headstart.settings import seconds
from headstart.versions import found_version

__all__ = ["AsyncJob"]

Result = TypeVar("Result")


class AsyncJob:
    """A fine-tune on its way, as `Job` but awaited.

    Args:
        job_id: its name, given by the server.
        connection: to the server.
    """

    def __init__(self, job_id: str, connection: AsyncConnection) -> None:
        self._id = job_id
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncJob({self._id!r})"

    @property
    def id(self) -> str:
        """Its name; `AsyncClient.job` takes it up again."""
        return self._id

    async def status(self, wait: float | timedelta | None = None) -> JobStatus:
        """Asks where the job stands; as `Job.status`."""
        return await self._connection.send(calls.job_status(self._id, seconds(wait or 0.0)))

    async def result(
        self,
        timeout: float | timedelta | None = None,
        on_event: Callable[[JobEvent], object] | None = None,
    ) -> Version:
        """Waits until the job has ended and gives its version; as `Job.result`.

        Args:
            timeout: seconds. None: as long as it takes.
            on_event: called with each event of the job, the past ones first.

        Raises:
            JobFailed: it failed; reason and message are its own.
            JobCancelled: it was cancelled.
            TimeoutError: it has not ended in time. It goes on.
            NotFound: there is no such job, or its version is deleted already.
            Unavailable: no server has answered for too long.
        """
        deadline = Deadline(None if timeout is None else seconds(timeout))
        if on_event is not None:
            async for event in self._events(0, deadline):
                on_event(event)
        status = await self._end(deadline)
        number = finished_version(status)
        token = ""
        while True:
            page = await self._persist(calls.version_page(status.spec.model, token), deadline)
            version, token = found_version(page, number)
            if version is not None:
                return version

    def watch(self, after: int = 0) -> AsyncIterator[JobEvent]:
        """Gives the job's events as they happen, until it has ended; as `Job.watch`."""
        return self._events(after, Deadline(None))

    async def cancel(self) -> JobStatus:
        """Asks to cancel the job; as `Job.cancel`."""
        return await self._connection.send(calls.job_cancellation(self._id))

    async def _events(self, after: int, deadline: Deadline) -> AsyncIterator[JobEvent]:
        cursor = EventCursor(self._id, after, self._connection.settings.retries)
        while not cursor.ended:
            try:
                async with aclosing(self._connection.receive(cursor.call(), deadline.remaining())) as events:
                    async for event in events:
                        if cursor.accept(event):
                            yield event
                pause = 0.0 if cursor.ended else cursor.settle(await self.status())
            except Unavailable as error:
                pause = cursor.interrupted(error)
            except DeadlineExceeded:
                if deadline.passed:
                    raise still_going(None, self._id) from None
                raise
            if not cursor.ended:
                await asyncio.sleep(deadline.within(pause))

    async def _end(self, deadline: Deadline) -> JobStatus:
        while True:
            call = calls.job_status(self._id, deadline.within(STATUS_SLICE_SECONDS))
            status = await self._persist(call, deadline)
            if status.state.ended:
                return status
            if deadline.passed:
                raise still_going(status, self._id)
            # A server that stops answers before the time is over; do not besiege it.
            await asyncio.sleep(deadline.within(self._connection.settings.retries.initial_seconds))

    async def _persist(self, call: calls.Call[Result], deadline: Deadline) -> Result:
        policy = self._connection.settings.retries
        backoff = Backoff(policy, seconds=policy.outage_seconds)
        while True:
            try:
                return await self._connection.send(call)
            except Unavailable as error:
                if deadline.passed:
                    raise still_going(None, self._id) from error
                await asyncio.sleep(deadline.within(backoff.delay_after(error)))
