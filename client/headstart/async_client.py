"""The asynchronous client: `Client` on the event loop."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc
from grpc import aio
from numpy.typing import NDArray

from headstart.arguments import FineTuneSettings, open_fine_tune
from headstart.async_handles import AsyncModelHandle
from headstart.async_job import AsyncJob
from headstart.calls import calls, model_calls, server_calls
from headstart.calls.job_calls import JobsCursor, job_deletion
from headstart.calls.model_calls import (
    PAGE_SIZE,
    Details,
    VersionQuery,
    VersionView,
    model_change,
    version_change,
)
from headstart.calls.rebasing import RebaseSettings, rebase
from headstart.errors import DeadlineExceeded, PredictionError, Unavailable
from headstart.evidence import Abstention, make_evidence
from headstart.exports import ExportFiles
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs, open_inputs
from headstart.inputs.task import Task, TaskName
from headstart.prediction_settings import PredictArguments, keeps_errors, prediction_run, split_settings
from headstart.results import (
    Alias,
    AliasEvent,
    Backbone,
    Caller,
    Comparison,
    ErasedExample,
    EvaluationResult,
    Export,
    ExportFormat,
    JobEvent,
    JobState,
    Model,
    PredictedInput,
    Prediction,
    Predictions,
    Report,
    ReportFormat,
    ServerInfo,
    Traffic,
    Usage,
    Validation,
    Version,
    VersionEvaluation,
)
from headstart.transport import upload
from headstart.transport.async_connection import AsyncChannels, AsyncConnection
from headstart.transport.channel import TlsConfig
from headstart.transport.chunked_calls import EmbeddingRun, PredictionRun, predicted_inputs
from headstart.transport.connection import UploadReport
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import changed_settings, channel_settings, connection_settings, seconds
from headstart.transport.tokens import Token
from headstart.version_ref import VersionRef, parse_version, version_ref

__all__ = ["AsyncClient"]

Many = TypeVar("Many", bound=Content | Sequence[float])


class AsyncClient:
    """Fine-tunes models on a Headstart server and asks them, on one event loop.

    Arguments, results and errors of every method are those of `Client`. Files are read in threads; callbacks
    are called on the event loop.

    Args:
        server: ``host:port``, or a gRPC target such as ``dns:///headstart:8765``. All addresses of the name
            take turns. None: ``HEADSTART_SERVER``, or ``localhost:8765``.
        tls: True or a `TlsConfig` for a secured connection, False for plain text. None: TLS with the files of
            ``HEADSTART_CA``, ``HEADSTART_CERT`` and ``HEADSTART_KEY``, or plain text if none is set.
        timeout: seconds each call may take with all its retries, except uploads; `math.inf` for no limit.
            None: ``HEADSTART_TIMEOUT``, or 60.
        metadata: sent along with each call.
        token: the bearer token of each call, sent over TLS or within this machine only; or a function that
            returns one, called again when the server rejects it as UNAUTHENTICATED. None:
            ``HEADSTART_TOKEN``, or no token.
        retries: how often a call that no server answered is repeated, or a whole `RetryPolicy`. 0: never.
        interceptors: gRPC interceptors, the first outermost. Uploads use a synchronous channel: they pass
            through the interceptors of `grpc`, all other calls through those of `grpc.aio`.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: an argument or an environment variable is invalid, a certificate or its key is missing, or
            a token would leave this machine in plain text.

    Example:
        >>> async with AsyncClient("localhost:8765") as client:
        ...     job = await client.fine_tune("pets/", model="pets")
        ...     version = await job.result()
        ...     prediction = await client.predict("cat.jpg", model="pets")
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        tls: bool | TlsConfig | None = None,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        interceptors: Sequence[Any] = (),
    ) -> None:
        settings = connection_settings(
            server,
            tls=tls,
            timeout=timeout,
            metadata=metadata,
            token=token,
            retries=retries,
            interceptors=interceptors,
        )
        self._connection = AsyncConnection(settings)

    @classmethod
    def from_channel(
        cls,
        channel: aio.Channel,
        *,
        upload_channel: grpc.Channel | None = None,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    ) -> "AsyncClient":
        """Return a client that uses channels of yours; closing the client leaves them open.

        Args:
            channel: the channel. Allow it messages of 64 MiB (``grpc.max_receive_message_length``).
            upload_channel: a synchronous channel to the same server, over which examples are sent. None: the
                client cannot fine-tune, validate, evaluate or compare.
            timeout: as for `Client`.
            metadata: as for `Client`.
            token: as for `Client`; whether the channel is secured is up to you. None: no token.
            retries: as for `Client`.
        """
        settings = channel_settings(timeout=timeout, metadata=metadata, token=token, retries=retries)
        return cls._over(AsyncConnection(settings, AsyncChannels(settings, channel, upload_channel)))

    @classmethod
    def _over(cls, connection: AsyncConnection) -> "AsyncClient":
        client = cls.__new__(cls)
        client._connection = connection
        return client

    def with_options(
        self,
        *,
        timeout: float | timedelta | None = None,
        retries: int | RetryPolicy | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> "AsyncClient":
        """Return a client with other options over the same connection. Closing it leaves the connection open.

        Args:
            timeout: as for `Client`. None: unchanged.
            retries: as for `Client`. None: unchanged.
            metadata: added to the metadata of each call; replaces equal keys. None: unchanged.
        """
        settings = changed_settings(
            self._connection.settings, timeout=timeout, retries=retries, metadata=metadata
        )
        return self._over(self._connection.with_settings(settings))

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.settings.server!r})"

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends calls in flight and the connection. Jobs go on."""
        await self._connection.close()

    async def ready(self, timeout: float = 5.0) -> bool:
        """True if a server answers within so many seconds and says that it serves."""
        try:
            return await self._connection.send(calls.health(), timeout)
        except (Unavailable, DeadlineExceeded):
            return False

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
        """Sends examples and starts a job; as `Client.fine_tune`."""
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
        """Fit a version of a model on another backbone; as `Client.rebase`."""
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
        """Sends examples to be checked only; as `Client.validate`."""
        spec, source = await asyncio.to_thread(open_fine_tune, model, examples, y, settings)
        return await self._connection.upload(upload.validation(spec, source), on_upload)

    async def evaluate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[ExampleSettings],
    ) -> EvaluationResult:
        """Measures a version on labelled examples; as `Client.evaluate`."""
        target = version_ref(model, version, alias)
        source = await asyncio.to_thread(open_examples, examples, y, task=task, settings=settings)
        return await self._connection.upload(upload.evaluation(target, source), on_upload)

    async def compare(
        self,
        first: VersionRef | str,
        second: VersionRef | str,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[ExampleSettings],
    ) -> Comparison:
        """Puts two versions side by side on the same examples; as `Client.compare`."""
        given = () if examples is None and y is None and not settings else examples
        source = await asyncio.to_thread(open_examples, given, y, task=task, settings=settings)
        sent = upload.comparison(parse_version(first), parse_version(second), source)
        return await self._connection.upload(sent, on_upload)

    async def evaluation(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> VersionEvaluation:
        """Gets what was found out about a version when it was made; as `Client.evaluation`."""
        target = version_ref(model, version, alias)
        return await self._connection.send(calls.version_evaluation(target))

    async def report(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ReportFormat = "html",
    ) -> Report:
        """Gets all that is known about a version as a document; as `Client.report`."""
        target = version_ref(model, version, alias)
        return await self._connection.send(calls.version_report(target, format))

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
        """Gets a version as one network, with its backbone, for other runtimes; as `Client.export`."""
        call = calls.version_export(version_ref(model, version, alias), format)
        limit = None if timeout is None else seconds(timeout)
        with ExportFiles(path) as files:
            async with aclosing(self._connection.receive(call, limit)) as messages:
                async for message in messages:
                    await asyncio.to_thread(files.take, message)
            return await asyncio.to_thread(files.finish)

    def job(self, job_id: str) -> AsyncJob:
        """Takes up a job by its id, without asking the server."""
        return AsyncJob(job_id, self._connection)

    def jobs(
        self, model: str | None = None, states: Collection[JobState | str] | str | None = None
    ) -> AsyncIterator[AsyncJob]:
        """Return jobs, the newest first, a page at a time; as `Client.jobs`."""
        listed_jobs = self._connection.pages(partial(calls.job_page, model, states))
        return (AsyncJob(each.job_id, self._connection, each) async for each in listed_jobs)

    async def watch_jobs(
        self, model: str | None = None, *, resume_token: str = ""
    ) -> AsyncIterator[JobEvent]:
        """Yields the events of all jobs as they happen, until you stop; as `Client.watch_jobs`."""
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
        """Deletes a job that has ended; as `Client.delete_job`."""
        await self._connection.send(job_deletion(job_id))

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
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["raise", "return"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Any:
        """Predict one input or many; as `Client.predict`."""
        how, what = split_settings(settings)
        target = version_ref(model, how.get("version"), how.get("alias"))
        run, limit = prediction_run([target], how, keep_errors=keeps_errors(errors))
        found = await asyncio.to_thread(open_inputs, inputs, what)
        await self._connection.send_all(run, found.items, limit)
        return run.outcomes()[0] if found.is_one else run.outcomes()

    async def predict_stream(
        self, inputs: Inputs | None = None, *, model: str, **settings: Unpack[PredictArguments]
    ) -> AsyncIterator[PredictedInput]:
        """Predict many inputs one batch after another; as `Client.predict_stream`."""
        how, what = split_settings(settings)
        target = version_ref(model, how.get("version"), how.get("alias"))
        run, limit = prediction_run([target], how, keep_errors=True, is_bulk=True)
        found = await asyncio.to_thread(open_inputs, inputs, what)
        async for chunk, answer in self._connection.stream(run, found.items, limit):
            for each in predicted_inputs(run, chunk, answer):
                yield each

    async def predict_many(
        self,
        inputs: Inputs,
        targets: Sequence[VersionRef | str],
        *,
        top_k: int | None = 5,
        return_features: bool = False,
        abstain: bool | float | Abstention | None = None,
        neighbors: int = 0,
        saliency: bool | str = False,
        routing_key: str = "",
        timeout: float | timedelta | None = None,
    ) -> Predictions:
        """Classifies inputs by versions of several models; as `Client.predict_many`."""
        run = PredictionRun(
            [parse_version(target) for target in targets],
            top_k=top_k,
            return_features=return_features,
            evidence=make_evidence(abstain, neighbors, saliency),
            routing_key=routing_key,
        )
        await self._connection.send_all(
            run, open_inputs(inputs).items, None if timeout is None else seconds(timeout)
        )
        return run.result()

    async def embed(
        self,
        inputs: Inputs,
        *,
        backbone: str | None = None,
        views: Sequence[str] = ("last",),
        timeout: float | timedelta | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Gives the features of inputs; as `Client.embed`."""
        run = EmbeddingRun(backbone, views)
        found = open_inputs(inputs)
        await self._connection.send_all(run, found.items, None if timeout is None else seconds(timeout))
        features = run.result()
        return {view: array[0] for view, array in features.items()} if found.is_one else features

    async def models(self) -> list[Model]:
        """Lists all models by name, without their versions."""
        return [model async for model in self._connection.pages(calls.model_page)]

    async def server_info(self) -> ServerInfo:
        """Returns the release, limits, features and default backbones of the server."""
        return await self._connection.send(server_calls.server_info())

    async def who_am_i(self) -> Caller:
        """Returns who the caller is and what it may do."""
        return await self._connection.send(server_calls.who_am_i())

    async def usage(self) -> Usage:
        """Returns what the caller's tenant stores and how much it may store."""
        return await self._connection.send(server_calls.usage())

    def model(self, name: str) -> AsyncModelHandle:
        """Return a handle of a model, without a call: ``client.model("pets")[3].predict("cat.jpg")``.

        Raises:
            ValueError: the name contains a version.
        """
        return AsyncModelHandle(self, name)

    async def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Gets a model with its versions, the newest first; as `Client.get_model`."""
        found = await self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return found
        query, versions = VersionQuery(view="full"), list[Version]()
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        pages = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        async for version in pages:
            versions.append(version)
            if len(versions) == max_versions:
                break
        return replace(found, versions=tuple(versions))

    async def get_version(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> Version:
        """Returns a version."""
        return await self._connection.send(model_calls.get_version(version_ref(model, version, alias)))

    def versions(
        self,
        model: str,
        *,
        tags: Mapping[str, str] | None = None,
        alias: str | None = None,
        backbone: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        order_by: str = "version desc",
        view: VersionView = "basic",
    ) -> AsyncIterator[Version]:
        """Lists versions of a model, a page at a time; by default the newest first."""
        query = VersionQuery(
            tags=tags or {},
            alias=alias,
            backbone=backbone,
            created_after=created_after,
            created_before=created_before,
            order_by=order_by,
            view=view,
        )
        return self._connection.pages(partial(model_calls.version_list, model, query))

    async def update_version(
        self,
        model: str,
        version: int,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Changes what people say about a version, and when it expires. What is not given stays."""
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return await self._connection.send(call)

    async def update_model(self, model: str, **details: Unpack[Details]) -> Model:
        """Changes what people say about a model. What is not given stays."""
        return await self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> AsyncIterator[AliasEvent]:
        """Lists the moves of a model's aliases, the newest first; as `Client.alias_events`."""
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    async def traffic(
        self, model: str, *, version: int | None = None, window: timedelta | None = None
    ) -> Traffic:
        """Returns the traffic of a model's versions, as `Client.traffic`."""
        return await self._connection.send(model_calls.traffic(model, version, window))

    async def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        etag: str | None = None,
        *,
        traffic: Mapping[int, float] | None = None,
    ) -> Alias:
        """Sets or moves an alias, in one step for all readers; as `Client.set_alias`."""
        return await self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    async def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias."""
        await self._connection.send(calls.alias_removal(model, alias, etag))

    async def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Deletes a version; as `Client.delete_version`."""
        await self._connection.send(calls.version_deletion(model, version, force))

    async def erase_example(self, model: str, example_id: str) -> ErasedExample:
        """Deletes the data of an example; as `Client.erase_example`."""
        return await self._connection.send(calls.example_deletion(example_id, model))

    async def delete_model(self, model: str, *, force: bool = False) -> int:
        """Deletes a model and gives the number of versions that were deleted."""
        return await self._connection.send(calls.model_deletion(model, force))

    async def backbones(self) -> list[Backbone]:
        """Lists the backbones of the server."""
        return [backbone async for backbone in self._connection.pages(calls.backbone_page)]
