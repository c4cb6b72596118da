"""FineTuningService: jobs that train models on labeled examples."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.v1 import fine_tuning_service_pb2_grpc as stubs
from headstart.v1 import job_pb2
from headstart.v1.input_pb2 import Example
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import caller, scope, tenant
from headstart_server.api.grpc.executors import CallThreads, Work
from headstart_server.api.grpc.job_watcher import JobWatcher
from headstart_server.api.grpc.messages.backbone_selection import rebase_spec_of
from headstart_server.api.grpc.messages.common import examples_of, page_key, page_token, spec_of
from headstart_server.api.grpc.messages.jobs import STATES, event_message, job_message, validation_message
from headstart_server.api.grpc.messages.pages import page_of, page_size_of
from headstart_server.api.grpc.messages.times import seconds_of
from headstart_server.api.grpc.requests.example_stream import stream_parts
from headstart_server.api.grpc.requests.request_parsing import request_bytes
from headstart_server.auth.permissions import Right
from headstart_server.errors import DatabaseUnavailable, InvalidField
from headstart_server.jobs.forecast import Forecast
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_control import JobControl
from headstart_server.jobs.job_reader import JobReader
from headstart_server.jobs.watching import Position
from headstart_server.training.dataset_upload import DatasetUpload
from headstart_server.training.rebasing import RebaseService
from headstart_server.training.submission_service import SubmissionService

#: Maximum seconds of one Status call; a caller that waits longer calls again.
MAX_WAIT_SECONDS = 3600.0

_Accepted = TypeVar("_Accepted", pb.FineTuneResponse, pb.SubmitFineTuneResponse)

_STATES_BY_NUMBER: dict[int, JobState] = {number: state for state, number in STATES.items()}


class FineTuningService(stubs.FineTuningServiceServicer):
    """Decodes, calls and encodes; all work is the `jobs` room's.

    Args:
        rebasing: accepts jobs that fit a version on another backbone.
    """

    def __init__(
        self,
        submissions: SubmissionService,
        rebasing: RebaseService,
        reader: JobReader,
        forecast: Forecast,
        *,
        watcher: JobWatcher,
        control: JobControl,
        threads: CallThreads,
    ) -> None:
        self._submissions = submissions
        self._rebasing = rebasing
        self._reader = reader
        self._forecast = forecast
        self._watcher = watcher
        self._control = control
        self._threads = threads
        self._when_ready = submissions.backbones.pool.when_ready

    async def FineTune(
        self, request_iterator: AsyncIterator[pb.FineTuneRequest], context: Context
    ) -> pb.FineTuneResponse:
        async with aclosing(stream_parts(request_iterator, "FineTune", context)) as parts:
            return await self._accepted(await anext(parts), parts, pb.FineTuneResponse)

    async def SubmitFineTune(
        self, request: pb.SubmitFineTuneRequest, context: Context
    ) -> pb.SubmitFineTuneResponse:
        async def parts() -> AsyncIterator[Sequence[Example]]:
            if request.examples:
                yield request.examples

        return await self._accepted(request.spec, parts(), pb.SubmitFineTuneResponse)

    async def _accepted(
        self,
        message: job_pb2.FineTuneSpec,
        batches: AsyncIterator[Sequence[Example]],
        make: Callable[..., _Accepted],
    ) -> _Accepted:
        """Accept a fine-tune, or validate its examples; return the response."""
        upload: DatasetUpload | None = None
        validate_only = message.validate_only
        try:
            open_upload = partial(
                self._submissions.open,
                validate_only=validate_only,
                tenant=tenant(),
                principal=caller().principal.name,
            )
            upload = await self._when_ready(
                partial(self._threads.run, Work.UPLOAD, open_upload, spec_of(message), message.request_id),
                request_bytes,
            )
            count = 0
            async for batch in batches:
                # The thread also converts them: a large message has enough examples to block the event loop.
                add = partial(asyncio.to_thread, _add, upload, batch, count)
                await self._when_ready(add, request_bytes)
                count += len(batch)
            if message.dataset_uri or message.dataset:
                kind = Work.GATHERING if message.dataset_uri else Work.UPLOAD
                await self._when_ready(partial(self._threads.run, kind, upload.gather), lambda: 0)
            if validate_only:
                await self._when_ready(partial(asyncio.to_thread, upload.check_backbone), lambda: 0)
                validation = await self._threads.run(Work.LONG, upload.validate)
                return make(validation=validation_message(validation))
            job = await self._threads.run(Work.UPLOAD, upload.accept)
            return make(job=await self._message(job))
        finally:
            if upload is not None:
                # Shielded, so that it always runs.
                await asyncio.shield(self._threads.run(Work.UPLOAD, upload.close))

    async def Rebase(self, request: pb.RebaseRequest, context: Context) -> pb.RebaseResponse:
        spec = rebase_spec_of(request)

        accept = partial(self._rebasing.accept, spec, request.request_id, tenant(), caller().principal.name)
        job = await self._when_ready(partial(self._threads.run, Work.UPLOAD, accept), request_bytes)
        return pb.RebaseResponse(job=await self._message(job))

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        wait = seconds_of(request.wait_duration)
        if not 0 <= wait <= MAX_WAIT_SECONDS:
            raise InvalidField(
                f"Expected a wait_duration of 0 to {MAX_WAIT_SECONDS:g} seconds. Received: {wait:g}.",
                field="wait_duration",
            )
        job = await self._watcher.ended(request.job_id, wait)
        return pb.StatusResponse(job=await self._message(job))

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        async with aclosing(self._watcher.events(request.job_id, request.after_event)) as events:
            async for event in events:
                yield pb.WatchResponse(event=None if event is None else event_message(event))

    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:
        return pb.CancelResponse(
            job=job_message(await self._threads.run(Work.REMOVAL, self._control.cancel, request.job_id))
        )

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Context) -> pb.DeleteJobResponse:
        await asyncio.to_thread(self._control.delete, request.job_id)
        return pb.DeleteJobResponse()

    async def WatchJobs(
        self, request: pb.WatchJobsRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        if request.resume_token:
            position = await asyncio.to_thread(Position.of_token, request.resume_token)
        else:
            position = await asyncio.to_thread(self._reader.position)
        steps = self._watcher.all_events(position, model=request.model, scope=scope(Right.TRAIN))
        async with aclosing(steps):
            async for watched in steps:
                responses = [pb.WatchJobsResponse(event=event_message(event)) for event in watched.events]
                responses = responses or [pb.WatchJobsResponse()]
                responses[-1].resume_token = await asyncio.to_thread(watched.position.token)
                for response in responses:
                    yield response

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        states = [_state_of(number) for number in request.states]
        permitted = scope(Right.TRAIN)

        def fetch(before: list[Any] | None, limit: int) -> Sequence[Job]:
            place = None if before is None else (before[0], before[1])
            return self._reader.list(
                model=request.model, scope=permitted, states=states, before=place, limit=limit
            )

        jobs, last = await asyncio.to_thread(
            page_of,
            fetch,
            self._forecast_message,
            lambda job: [job.created, job.job_id],
            after=page_key(request.page_token, float, str),
            size=page_size_of(request.page_size),
        )
        return pb.ListJobsResponse(jobs=jobs, next_page_token=page_token(last))

    async def _message(self, job: Job) -> job_pb2.Job:
        if job.state.is_terminal:
            return job_message(job)
        return await asyncio.to_thread(self._forecast_message, job)

    def _forecast_message(self, job: Job) -> job_pb2.Job:
        likely = None
        if not job.state.is_terminal:
            with suppress(DatabaseUnavailable):
                likely = self._forecast.of(job)
        return job_message(job, likely)


def _add(upload: DatasetUpload, messages: Sequence[Example], start: int) -> None:
    upload.add(examples_of(messages, start))


def _state_of(number: int) -> JobState:
    try:
        return _STATES_BY_NUMBER[number]
    except KeyError:
        raise InvalidField(f"Expected states of a job. Received: {number}.", field="states") from None
