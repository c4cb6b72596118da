"""Methods that start and follow jobs."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from functools import partial
from typing import Any, Unpack

from headstart.arguments import FineTuneSettings, open_fine_tune
from headstart.async_job import AsyncJob
from headstart.async_methods.base import AsyncMethods
from headstart.calls import calls
from headstart.calls.job_calls import JobsCursor, job_deletion
from headstart.calls.rebasing import RebaseSettings, rebase
from headstart.errors import Unavailable
from headstart.inputs.examples import Examples
from headstart.results import (
    JobEvent,
    JobState,
    Validation,
)
from headstart.transport import upload
from headstart.transport.connection import UploadReport


class AsyncTrainingMethods(AsyncMethods):
    """Start fine-tunes and follow their jobs."""

    async def fine_tune(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        request_id: str | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> AsyncJob:
        """Send examples and start a job; as `Client.fine_tune`."""
        request_id = request_id or str(uuid.uuid4())
        spec, source = await asyncio.to_thread(open_fine_tune, model, examples, y, settings, request_id)
        return self.job(await self._connection.upload(upload.fine_tune(spec, source), on_upload))

    async def rebase(
        self,
        model: str,
        *,
        backbone: str,
        version: int | None = None,
        alias: str | None = None,
        request_id: str | None = None,
        **settings: Unpack[RebaseSettings],
    ) -> AsyncJob:
        """Train a version again on another backbone; as `Client.rebase`."""
        call = rebase(
            model,
            settings,
            backbone=backbone,
            version=version,
            alias=alias,
            request_id=request_id or str(uuid.uuid4()),
        )
        return self.job(await self._connection.send(call))

    async def validate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Validation:
        """Validate examples without training; as `Client.validate`."""
        spec, source = await asyncio.to_thread(open_fine_tune, model, examples, y, settings)
        return await self._connection.upload(upload.validation(spec, source), on_upload)

    def job(self, job_id: str) -> AsyncJob:
        """Return a handle of a job without sending a call."""
        return AsyncJob(job_id, self._connection)

    def jobs(
        self, model: str | None = None, states: Collection[JobState | str] | str | None = None
    ) -> AsyncIterator[AsyncJob]:
        """Yield jobs, newest first; as `Client.jobs`."""
        listed_jobs = self._connection.pages(partial(calls.job_page, model, states))
        return (AsyncJob(each.job_id, self._connection, each) async for each in listed_jobs)

    async def watch_jobs(
        self, model: str | None = None, *, resume_token: str = ""
    ) -> AsyncIterator[JobEvent]:
        """Yield the events of all jobs; as `Client.watch_jobs`."""
        cursor = JobsCursor(model, resume_token, self._connection.settings.retries)
        while True:
            try:
                async with aclosing(self._connection.receive(cursor.call())) as responses:
                    async for response in responses:
                        if (event := cursor.accept(response)) is not None:
                            yield event
                pause = cursor.ended()
            except Unavailable as error:
                pause = cursor.interrupted(error)
            await asyncio.sleep(pause)

    async def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended; as `Client.delete_job`."""
        await self._connection.send(job_deletion(job_id))
