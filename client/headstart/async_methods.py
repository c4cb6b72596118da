"""The methods of `AsyncClient`: those of `Client`, redefined where a method sends several calls."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from headstart.arguments import (
    FineTuneSettings,
    PredictArguments,
    open_fine_tune,
    prediction_run,
    split_settings,
)
from headstart.async_job import AsyncJob
from headstart.calls import calls, model_calls
from headstart.calls.job_calls import JobsCursor, RebaseSettings, rebase
from headstart.calls.model_calls import PAGE_SIZE, VersionQuery
from headstart.errors import PredictionError, Unavailable
from headstart.exports import ExportFiles
from headstart.inputs.examples import Examples
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs, open_inputs
from headstart.methods import ClientMethods
from headstart.results import (
    Export,
    ExportFormat,
    JobEvent,
    JobState,
    Model,
    PredictedInput,
    Prediction,
    Version,
)
from headstart.transport import upload
from headstart.transport.async_connection import AsyncConnection
from headstart.transport.chunked_calls import predicted_inputs
from headstart.transport.connection import UploadReport
from headstart.transport.settings import seconds
from headstart.twins import async_iterator, coroutine
from headstart.version_ref import version_ref

Many = TypeVar("Many", bound=Content | Sequence[float])


class AsyncTrainingMethods:
    """Start fine-tunes and follow their jobs."""

    _connection: AsyncConnection

    validate = coroutine(ClientMethods.validate)
    delete_job = coroutine(ClientMethods.delete_job)

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

        def opened() -> upload.Upload[str]:
            return upload.fine_tune(
                *open_fine_tune(model, examples, y, settings, request_id or str(uuid.uuid4()))
            )

        return self.job(await self._connection.upload(opened, on_upload))

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


class AsyncPredictionMethods:
    """Predict inputs and compute features."""

    _connection: AsyncConnection

    predict_many = coroutine(ClientMethods.predict_many)
    embed = coroutine(ClientMethods.embed)
    backbones = coroutine(ClientMethods.backbones)

    @overload
    async def predict(
        self,
        inputs: Content,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    async def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    async def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    async def predict(
        self, inputs: Any = None, *, model: str, errors: Any = "raise", **settings: Unpack[PredictArguments]
    ) -> Any:
        """Predict one input or many; as `Client.predict`."""
        predict: Any = ClientMethods.predict
        return await predict(self, inputs, model=model, errors=errors, **settings)

    async def predict_stream(
        self, inputs: Inputs | None = None, *, model: str, **settings: Unpack[PredictArguments]
    ) -> AsyncIterator[PredictedInput]:
        """Predict many inputs in batches; as `Client.predict_stream`."""
        prediction, input_settings = split_settings(settings)
        target = version_ref(model, prediction.get("version"), prediction.get("alias"))
        run, limit = prediction_run([target], prediction, keep_errors=True, is_bulk=True)
        opened = await asyncio.to_thread(open_inputs, inputs, input_settings)
        async for chunk, answer in self._connection.stream(run, opened.items, limit):
            for each in predicted_inputs(run, chunk, answer):
                yield each


class AsyncVersionMethods:
    """Manage models, versions, aliases, stored examples, captured inputs and feedback."""

    _connection: AsyncConnection

    models = coroutine(ClientMethods.models)
    update_model = coroutine(ClientMethods.update_model)
    delete_model = coroutine(ClientMethods.delete_model)
    get_version = coroutine(ClientMethods.get_version)
    versions = async_iterator(ClientMethods.versions)
    update_version = coroutine(ClientMethods.update_version)
    delete_version = coroutine(ClientMethods.delete_version)
    set_alias = coroutine(ClientMethods.set_alias)
    delete_alias = coroutine(ClientMethods.delete_alias)
    alias_events = async_iterator(ClientMethods.alias_events)
    traffic = coroutine(ClientMethods.traffic)

    evaluate = coroutine(ClientMethods.evaluate)
    evaluation = coroutine(ClientMethods.evaluation)
    compare = coroutine(ClientMethods.compare)
    report = coroutine(ClientMethods.report)

    examples = async_iterator(ClientMethods.examples)
    example_map = coroutine(ClientMethods.example_map)
    example_content = coroutine(ClientMethods.example_content)
    example_thumbnail = coroutine(ClientMethods.example_thumbnail)
    erase_example = coroutine(ClientMethods.erase_example)

    review = async_iterator(ClientMethods.review)
    captured_input = coroutine(ClientMethods.captured_input)
    capture_status = coroutine(ClientMethods.capture_status)
    send_feedback = coroutine(ClientMethods.send_feedback)
    feedback = async_iterator(ClientMethods.feedback)
    feedback_summary = coroutine(ClientMethods.feedback_summary)

    async def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Return a model with its versions; as `Client.get_model`."""
        model = await self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return model
        query, versions = VersionQuery(view="full"), list[Version]()
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        pages = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        async for version in pages:
            versions.append(version)
            if len(versions) == max_versions:
                break
        return replace(model, versions=tuple(versions))

    async def export(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ExportFormat,
        path: str | os.PathLike[str],
        timeout: float | timedelta | None = None,
    ) -> Export:
        """Export a version with its backbone for other runtimes; as `Client.export`."""
        call = calls.version_export(version_ref(model, version, alias), format)
        limit = None if timeout is None else seconds(timeout)
        with ExportFiles(path) as files:
            async with aclosing(self._connection.receive(call, limit)) as messages:
                async for message in messages:
                    await asyncio.to_thread(files.write, message)
            return await asyncio.to_thread(files.finish)


class AsyncClientMethods(AsyncTrainingMethods, AsyncPredictionMethods, AsyncVersionMethods):
    """All methods that send calls."""
