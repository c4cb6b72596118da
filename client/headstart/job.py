"""A job, for synchronous and asynchronous callers."""

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, nullcontext
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from headstart.calls import calls
from headstart.calls.job_watcher import (
    ANSWER_SECONDS,
    STATUS_SLICE_SECONDS,
    EventCursor,
    finished_version,
    job_repr,
    wait_timeout,
)
from headstart.calls.model_calls import get_version
from headstart.errors import HeadstartError
from headstart.progress import ProgressBar
from headstart.results import JobEvent, JobStatus, Version
from headstart.transport.connection import Connection
from headstart.transport.retries import Deadline, Outage
from headstart.transport.settings import seconds
from headstart.twins import async_iterator, coroutine
from headstart.version_ref import VersionRef

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BaseJob:
    """A job with the coroutines that follow it, for synchronous or asynchronous callers."""

    def __init__(self, job_id: str, connection: Connection, status: JobStatus | None = None) -> None:
        self._id = job_id
        self._connection = connection
        self._exchange = connection.exchange
        self._status = status

    def __repr__(self) -> str:
        return f"{type(self).__name__}({job_repr(self._id, self._status)})"

    @property
    def job_id(self) -> str:
        """The ID of the job; the method `job` of a client returns a handle for it."""
        return self._id

    @property
    def last_status(self) -> JobStatus | None:
        """The last status that the server returned, without a call; None if it is unknown."""
        return self._status

    async def _fetch(self, call: calls.Call[JobStatus], deadline: Deadline) -> JobStatus:
        self._status = await self._send(call, deadline)
        return self._status

    async def _send(self, call: calls.Call[Result], deadline: Deadline) -> Result:
        """Send a call within the client's timeout, but not much longer than until the deadline."""
        limit, left = self._exchange.settings.timeout, deadline.remaining()
        if left is not None:
            answer = max(left - call.extra_seconds, 0.0) + ANSWER_SECONDS
            limit = answer if limit is None else min(limit, answer)
        return await self._exchange.send(call, limit)

    async def _result(
        self, deadline: Deadline, on_event: Callable[[JobEvent], object] | None, progress: bool
    ) -> Version:
        with ProgressBar() if progress else nullcontext() as bar:
            listeners = [each for each in (on_event, bar) if each is not None]
            if listeners:
                async with aclosing(self._events(0, deadline)) as events:
                    async for event in events:
                        for listener in listeners:
                            listener(event)
        status = await self._end(deadline)
        number = finished_version(status)
        ref = VersionRef(status.spec.model, version=number)
        return await self._persist(get_version(ref), deadline)

    async def _events(self, after: int, deadline: Deadline) -> AsyncGenerator[JobEvent, None]:
        cursor = EventCursor(self._id, after, self._exchange.settings.retries)
        while not cursor.ended:
            try:
                async with aclosing(self._exchange.receive(cursor.call(), deadline.remaining())) as events:
                    async for event in events:
                        if cursor.accept(event):
                            yield event
                pause = 0.0
                if not cursor.ended:
                    pause = cursor.settle(await self._fetch(calls.job_status(self._id), deadline))
            except HeadstartError as error:
                pause = cursor.interrupted(error)
                if deadline.passed:
                    raise wait_timeout(None, self._id) from error
            if not cursor.ended:
                await self._exchange.wire.pause(deadline.within(pause))

    async def _end(self, deadline: Deadline) -> JobStatus:
        while True:
            call = calls.job_status(self._id, deadline.within(STATUS_SLICE_SECONDS))
            status = self._status = await self._persist(call, deadline)
            if status.state.ended:
                return status
            if deadline.passed:
                raise wait_timeout(status, self._id)
            # A stopping server answers before the time is over; do not flood it.
            await self._exchange.wire.pause(deadline.within(self._exchange.settings.retries.initial_seconds))

    async def _persist(self, call: calls.Call[Result], deadline: Deadline) -> Result:
        outage = Outage(self._exchange.settings.retries)
        while True:
            try:
                return await self._send(call, deadline)
            except HeadstartError as error:
                pause = outage.interrupted(error)
                if deadline.passed:
                    raise wait_timeout(None, self._id) from error
                await self._exchange.wire.pause(deadline.within(pause))


class Job(BaseJob):
    """A fine-tune job on the server. It continues when the client closes."""

    def status(self, wait: float | timedelta | None = None) -> JobStatus:
        """Return the status of the job.

        Args:
            wait: the longest wait for the job's end, in seconds or as a timedelta, at most an hour.
                None: no wait.

        Raises:
            NotFound: the job does not exist.
        """
        call = calls.job_status(self._id, seconds(wait or 0.0))
        return self._connection.finish(self._fetch(call, Deadline(None)))

    def result(
        self,
        timeout: float | timedelta | None = None,
        on_event: Callable[[JobEvent], object] | None = None,
        *,
        progress: bool = False,
    ) -> Version:
        """Wait until the job has ended, across lost connections and restarts of the server.

        Args:
            timeout: seconds, after which the server has up to 5 more to answer. None: no limit.
            on_event: called with each event of the job, past events first.
            progress: True shows a progress bar, in terminals (on standard error) and notebooks.

        Returns:
            The version that the job published.

        Raises:
            JobFailed: the job failed; the error has its reason and message.
            JobCancelled: the job was cancelled.
            TimeoutError: the job has not ended in time. It continues.
            NotFound: the job does not exist, or its version was deleted.
            Unavailable: no server answered for `RetryPolicy.outage_seconds`.
            ResourceExhausted: the server was busy for so long.
        """
        deadline = Deadline(None if timeout is None else seconds(timeout))
        return self._connection.finish(self._result(deadline, on_event, progress))

    def watch(self, after: int = 0) -> Iterator[JobEvent]:
        """Yield the events of the job until it has ended.

        After a lost connection, watching resumes with the next event.

        Args:
            after: yield only events with a higher number. 0: past events first.

        Raises:
            NotFound: the job does not exist.
            Unavailable: no server answered for `RetryPolicy.outage_seconds`.
            ResourceExhausted: the server was busy for so long.
        """
        return self._connection.iterate(self._events(after, Deadline(None)))

    def cancel(self) -> JobStatus:
        """Cancel the job. A queued job ends immediately, a running job at its next batch.

        Raises:
            NotFound: the job does not exist.
        """
        return self._connection.finish(self._fetch(calls.job_cancellation(self._id), Deadline(None)))


class AsyncJob(BaseJob):
    """A fine-tune job on the server; as `Job`."""

    status = coroutine(Job.status)
    result = coroutine(Job.result)
    watch = async_iterator(Job.watch)
    cancel = coroutine(Job.cancel)


def job_coroutine(
    method: Callable[Concatenate[Any, Arguments], Job],
) -> Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, AsyncJob]]:
    """Return the asynchronous method for a synchronous one that starts a job."""
    call: Any = coroutine(method)
    call.__signature__ = inspect.signature(method).replace(return_annotation=AsyncJob)
    return cast(Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, AsyncJob]], call)
