"""A job, for asynchronous callers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, nullcontext
from datetime import timedelta
from typing import TypeVar

from headstart.calls import calls
from headstart.calls.job_watcher import (
    STATUS_SLICE_SECONDS,
    EventCursor,
    finished_version,
    job_repr,
    wait_timeout,
)
from headstart.calls.model_calls import get_version
from headstart.errors import DeadlineExceeded, Unavailable
from headstart.progress import ProgressBar
from headstart.results import JobEvent, JobStatus, Version
from headstart.transport.async_connection import AsyncConnection
from headstart.transport.retries import Backoff, Deadline
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef

Result = TypeVar("Result")


class AsyncJob:
    """A fine-tune job on the server; as `Job`."""

    def __init__(self, job_id: str, connection: AsyncConnection, status: JobStatus | None = None) -> None:
        self._id = job_id
        self._connection = connection
        self._status = status

    def __repr__(self) -> str:
        return f"AsyncJob({job_repr(self._id, self._status)})"

    @property
    def job_id(self) -> str:
        """The ID of the job; `AsyncClient.job` returns a handle for it."""
        return self._id

    @property
    def last_status(self) -> JobStatus | None:
        """The last status that the server returned, without a call; None if it is unknown."""
        return self._status

    async def status(self, wait: float | timedelta | None = None) -> JobStatus:
        """Return the status of the job; as `Job.status`."""
        return self._note(await self._connection.send(calls.job_status(self._id, seconds(wait or 0.0))))

    async def result(
        self,
        timeout: float | timedelta | None = None,
        on_event: Callable[[JobEvent], object] | None = None,
        *,
        progress: bool = False,
    ) -> Version:
        """Wait until the job has ended and return its version; as `Job.result`."""
        deadline = Deadline(None if timeout is None else seconds(timeout))
        with ProgressBar() if progress else nullcontext() as bar:
            listeners = [each for each in (on_event, bar) if each is not None]
            if listeners:
                async for event in self._events(0, deadline):
                    for listener in listeners:
                        listener(event)
        status = await self._end(deadline)
        number = finished_version(status)
        ref = VersionRef(status.spec.model, version=number)
        return await self._persist(get_version(ref), deadline)

    def watch(self, after: int = 0) -> AsyncIterator[JobEvent]:
        """Yield the events of the job until it has ended; as `Job.watch`."""
        return self._events(after, Deadline(None))

    async def cancel(self) -> JobStatus:
        """Cancel the job; as `Job.cancel`."""
        return self._note(await self._connection.send(calls.job_cancellation(self._id)))

    def _note(self, status: JobStatus) -> JobStatus:
        self._status = status
        return status

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
                    raise wait_timeout(None, self._id) from None
                raise
            if not cursor.ended:
                await asyncio.sleep(deadline.within(pause))

    async def _end(self, deadline: Deadline) -> JobStatus:
        while True:
            call = calls.job_status(self._id, deadline.within(STATUS_SLICE_SECONDS))
            status = self._note(await self._persist(call, deadline))
            if status.state.ended:
                return status
            if deadline.passed:
                raise wait_timeout(status, self._id)
            # A stopping server answers before the time is over; do not flood it.
            await asyncio.sleep(deadline.within(self._connection.settings.retries.initial_seconds))

    async def _persist(self, call: calls.Call[Result], deadline: Deadline) -> Result:
        policy = self._connection.settings.retries
        backoff = Backoff(policy, seconds=policy.outage_seconds)
        while True:
            try:
                return await self._connection.send(call)
            except Unavailable as error:
                if deadline.passed:
                    raise wait_timeout(None, self._id) from error
                await asyncio.sleep(deadline.within(backoff.delay_after(error)))
