"""Handles of models, versions, aliases and datasets: methods of `AsyncClient` with the name filled in."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import suppress
from typing import Any, Literal, TypeVar, Unpack, overload

from headstart.arguments import FineTuneSettings, PredictArguments
from headstart.async_job import AsyncJob
from headstart.async_methods import AsyncClientMethods
from headstart.calls import dataset_calls, server_calls
from headstart.calls.calls import Call
from headstart.calls.dataset_calls import DatasetUpload, Outage
from headstart.calls.job_calls import RebaseSettings
from headstart.dataset_handle import DatasetHandle
from headstart.errors import AlreadyExists, HeadstartError, NotFound, PredictionError
from headstart.handles import AliasHandle, Handle, ModelHandle, VersionHandle, VersionMethods, find_alias
from headstart.inputs.contents import Content
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
from headstart.inputs.prediction_inputs import Inputs
from headstart.inputs.task import Task, TaskName
from headstart.results import Alias, AliasEvent, Dataset, JobState, Prediction, Version
from headstart.transport.async_connection import AsyncConnection
from headstart.transport.connection import UploadReport
from headstart.twins import async_iterator, coroutine
from headstart.version_ref import VersionRef, other_version, plain_model

Result = TypeVar("Result")
#: Seconds of one call that writes a batch; a batch is a few MiB.
_BATCH_SECONDS = 120.0


class AsyncDatasetHandle:
    """A dataset of the server. Creating a handle sends no call; as `DatasetHandle`.

    Examples:
        >>> await client.dataset("pets-2026").upload("pets/")
        >>> await client.fine_tune(model="pets", dataset="pets-2026")
    """

    get = coroutine(DatasetHandle.get)
    create = coroutine(DatasetHandle.create)
    finish = coroutine(DatasetHandle.finish)
    examples = async_iterator(DatasetHandle.examples)
    content = coroutine(DatasetHandle.content)
    thumbnail = coroutine(DatasetHandle.thumbnail)
    update = coroutine(DatasetHandle.update)
    delete = coroutine(DatasetHandle.delete)

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self.dataset = name
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncDatasetHandle({self.dataset!r})"

    async def upload(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        finish: bool = True,
        on_upload: UploadReport | None = None,
        **settings: Unpack[ExampleSettings],
    ) -> Dataset:
        """Upload examples to the dataset, and create it if necessary; as `DatasetHandle.upload`."""
        source = await asyncio.to_thread(open_examples, examples, y, task=task, settings=settings)
        outage = Outage(self._connection.settings.retries)
        dataset = await self._existing(outage)
        info = await self._persist(server_calls.server_info(), outage)
        upload = DatasetUpload(dataset, source, info.limits.message_bytes)
        calls = upload.calls()
        while (call := await asyncio.to_thread(next, calls, None)) is not None:
            if on_upload is not None:
                on_upload(upload.sent, upload.total)
            await self._persist(call, outage)
        if on_upload is not None:
            on_upload(upload.sent, upload.total)
        last = dataset_calls.dataset_finish(self.dataset, None)
        return await self._persist(last if finish else dataset_calls.get_dataset(self.dataset), outage)

    async def _existing(self, outage: Outage) -> Dataset:
        """Return the dataset; create it if it does not exist."""
        while True:
            try:
                return await self._persist(dataset_calls.get_dataset(self.dataset), outage)
            except NotFound:
                # It exists if another process, or an attempt of this one whose answer was lost, created it.
                with suppress(AlreadyExists):
                    return await self._persist(dataset_calls.dataset_creation(self.dataset, {}), outage)

    async def _persist(self, call: Call[Result], outage: Outage) -> Result:
        """Send a call until a server answers, or the outage is too long."""
        while True:
            try:
                result = await self._connection.send(call, _BATCH_SECONDS)
            except HeadstartError as error:
                await asyncio.sleep(outage.interrupted(error))
            else:
                outage.answered()
                return result


Many = TypeVar("Many", bound=Content)


class AsyncVersionMethods(Handle):
    """Methods that read a version; shared by the handles of models and versions."""

    _client: AsyncClientMethods

    predict_stream = async_iterator(VersionMethods.predict_stream)
    evaluate = coroutine(VersionMethods.evaluate)
    compare = coroutine(VersionMethods.compare)
    evaluation = coroutine(VersionMethods.evaluation)
    examples = async_iterator(VersionMethods.examples)
    example_map = coroutine(VersionMethods.example_map)
    content = coroutine(VersionMethods.content)
    thumbnail = coroutine(VersionMethods.thumbnail)
    report = coroutine(VersionMethods.report)
    export = coroutine(VersionMethods.export)

    @overload
    async def predict(
        self,
        inputs: Content,
        *,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    async def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    async def predict(
        self,
        inputs: Inputs | None = None,
        *,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    async def predict(self, inputs: Any = None, *, errors: Any = "raise", **settings: Any) -> Any:
        """Predict one input or many; as `Client.predict`."""
        return await self._client.predict(inputs, model=str(self.ref), errors=errors, **settings)


class AsyncVersionHandle(AsyncVersionMethods):
    """A version on the server, by its number or an alias; as `VersionHandle`."""

    get = coroutine(VersionHandle.get)
    update = coroutine(VersionHandle.update)
    delete = coroutine(VersionHandle.delete)


class AsyncAliasHandle:
    """An alias of a model; as `AliasHandle`."""

    set = coroutine(AliasHandle.set)
    delete = coroutine(AliasHandle.delete)

    def __init__(self, client: AsyncClientMethods, model: str, alias: str) -> None:
        self.model = model
        self.alias = alias
        self._client = client

    def __repr__(self) -> str:
        return f"AsyncAliasHandle({self.model + '@' + self.alias!r})"

    async def get(self) -> Alias:
        """Return the alias; as `AliasHandle.get`."""
        return find_alias(await self._client.get_model(self.model, max_versions=0), self.alias)

    async def history(self) -> list[AliasEvent]:
        """Return the moves of the alias, newest first."""
        return [each async for each in self._client.alias_events(self.model, self.alias)]


class AsyncModelHandle(AsyncVersionMethods):
    """A model on the server; as `ModelHandle`.

    Examples:
        >>> pets = client.model("pets")
        >>> job = await pets.fine_tune("pets/")
        >>> version = await job.result(progress=True)
        >>> (await pets[version.version].compare(1)).verdict
    """

    get = coroutine(ModelHandle.get)
    validate = coroutine(ModelHandle.validate)
    send_feedback = coroutine(ModelHandle.send_feedback)
    feedback = async_iterator(ModelHandle.feedback)
    feedback_summary = coroutine(ModelHandle.feedback_summary)
    review = async_iterator(ModelHandle.review)
    captured_input = coroutine(ModelHandle.captured_input)
    capture_status = coroutine(ModelHandle.capture_status)
    update = coroutine(ModelHandle.update)
    delete = coroutine(ModelHandle.delete)

    def __init__(self, client: AsyncClientMethods, model: str) -> None:
        super().__init__(client, VersionRef(plain_model(model)))

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.ref.model

    def __getitem__(self, version: int | str) -> AsyncVersionHandle:
        return AsyncVersionHandle(self._client, other_version(VersionRef(self.model), version))

    __iter__ = None  # __getitem__ does not count from 0

    def alias(self, alias: str) -> AsyncAliasHandle:
        """Return a handle of an alias."""
        return AsyncAliasHandle(self._client, self.model, alias)

    async def versions(self, **query: Any) -> list[Version]:
        """Return the versions of the model, by default newest first; as `Client.versions`."""
        return [each async for each in self._client.versions(self.model, **query)]

    async def aliases(self) -> list[Alias]:
        """Return the aliases of the model by name."""
        return list((await self.get(max_versions=0)).aliases)

    def jobs(self, states: Collection[JobState | str] | str | None = None) -> AsyncIterator[AsyncJob]:
        """Return the jobs of the model, newest first; as `Client.jobs`."""
        return self._client.jobs(self.model, states)

    async def fine_tune(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        request_id: str | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> AsyncJob:
        """Send examples and start a job that trains a new version; as `Client.fine_tune`."""
        return await self._client.fine_tune(
            examples, y, model=self.model, request_id=request_id, on_upload=on_upload, **settings
        )

    async def rebase(
        self,
        *,
        backbone: str,
        version: int | None = None,
        alias: str | None = None,
        request_id: str | None = None,
        **settings: Unpack[RebaseSettings],
    ) -> AsyncJob:
        """Train a version again on another backbone; as `Client.rebase`."""
        return await self._client.rebase(
            self.model, backbone=backbone, version=version, alias=alias, request_id=request_id, **settings
        )
