"""Handles of models, versions and aliases: methods of `AsyncClient` with the name filled in."""

import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, Unpack, overload

from headstart.arguments import FineTuneSettings, MeasureSettings
from headstart.async_job import AsyncJob
from headstart.async_methods import AsyncClientMethods
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.calls.feedback_calls import FeedbackSettings
from headstart.calls.model_calls import Details, ModelDetails
from headstart.calls.rebasing import RebaseSettings
from headstart.errors import PredictionError
from headstart.inputs.contents import Content
from headstart.inputs.examples import Examples
from headstart.inputs.prediction_inputs import Inputs
from headstart.inputs.task import Task, TaskName
from headstart.prediction_settings import PredictArguments
from headstart.results import (
    Alias,
    AliasEvent,
    CapturedContent,
    CaptureStatus,
    Comparison,
    EvaluationResult,
    ExampleContent,
    ExampleMap,
    ExampleRecord,
    Export,
    ExportFormat,
    Feedback,
    FeedbackState,
    FeedbackSummary,
    JobState,
    Model,
    PredictedInput,
    Prediction,
    Report,
    ReportFormat,
    ReviewEntry,
    SentFeedback,
    Validation,
    Version,
    VersionEvaluation,
)
from headstart.transport.connection import UploadReport
from headstart.version_ref import VersionRef, numbered, other_version, plain_model
from headstart.versions import find_alias

__all__ = ["AsyncAliasHandle", "AsyncModelHandle", "AsyncVersionHandle"]

Many = TypeVar("Many", bound=Content)


class AsyncVersionMethods:
    """Methods that read a version; shared by the handles of models and versions."""

    def __init__(self, client: AsyncClientMethods, ref: VersionRef) -> None:
        self.ref = ref
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.ref)!r})"

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

    def predict_stream(
        self, inputs: Inputs | None = None, **settings: Unpack[PredictArguments]
    ) -> AsyncIterator[PredictedInput]:
        """Predict many inputs in batches; as `Client.predict_stream`."""
        return self._client.predict_stream(inputs, model=str(self.ref), **settings)

    async def evaluate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> EvaluationResult:
        """Measure the version on labeled examples; as `Client.evaluate`."""
        return await self._client.evaluate(
            examples, y, model=str(self.ref), task=task, on_upload=on_upload, **settings
        )

    async def compare(
        self,
        baseline: "AsyncVersionMethods | VersionRef | str | int",
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> Comparison:
        """Compare the version with a baseline; as `VersionHandle.compare`."""
        first = (
            baseline.ref if isinstance(baseline, AsyncVersionMethods) else other_version(self.ref, baseline)
        )
        return await self._client.compare(
            first, self.ref, examples, y, task=task, on_upload=on_upload, **settings
        )

    async def evaluation(self) -> VersionEvaluation:
        """Return the stored evaluation and findings of the version; as `Client.evaluation`."""
        return await self._client.evaluation(str(self.ref))

    def examples(self, **query: Unpack[ExampleQuery]) -> AsyncIterator[ExampleRecord]:
        """Yield the examples of the version; as `Client.examples`."""
        return self._client.examples(self.ref, **query)

    async def example_map(self) -> ExampleMap:
        """Return the examples of the version in two dimensions; as `Client.example_map`."""
        return await self._client.example_map(self.ref)

    async def content(self, example: ExampleKey) -> ExampleContent:
        """Return the content of an example; as `Client.example_content`."""
        return await self._client.example_content(self.ref, example)

    async def thumbnail(self, example: ExampleKey, size: ThumbnailSize = 128) -> ExampleContent:
        """Return a thumbnail of an example; as `Client.example_thumbnail`."""
        return await self._client.example_thumbnail(self.ref, example, size)

    async def report(self, *, format: ReportFormat = "html") -> Report:
        """Return the report of the version; as `Client.report`."""
        return await self._client.report(str(self.ref), format=format)

    async def export(
        self,
        *,
        format: ExportFormat,
        path: str | os.PathLike[str],
        timeout: float | timedelta | None = None,
    ) -> Export:
        """Save the version as one network for other runtimes; as `Client.export`."""
        return await self._client.export(str(self.ref), format=format, path=path, timeout=timeout)


class AsyncVersionHandle(AsyncVersionMethods):
    """A version on the server, by its number or an alias; as `VersionHandle`."""

    async def get(self) -> Version:
        """Return the version."""
        return await self._client.get_version(str(self.ref))

    async def update(
        self,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Update the details and the expiration of the version; as `Client.update_version`."""
        return await self._client.update_version(
            self.ref.model, numbered(self.ref), expire_time=expire_time, ttl=ttl, **details
        )

    async def delete(self, *, force: bool = False) -> None:
        """Delete the version; as `Client.delete_version`."""
        await self._client.delete_version(self.ref.model, numbered(self.ref), force=force)


class AsyncAliasHandle:
    """An alias of a model; as `AliasHandle`."""

    def __init__(self, client: AsyncClientMethods, model: str, alias: str) -> None:
        self.model = model
        self.alias = alias
        self._client = client

    def __repr__(self) -> str:
        return f"AsyncAliasHandle({self.model + '@' + self.alias!r})"

    async def get(self) -> Alias:
        """Return the alias; as `AliasHandle.get`."""
        return find_alias(await self._client.get_model(self.model, max_versions=0), self.alias)

    async def set(
        self, version: int, *, traffic: Mapping[int, float] | None = None, etag: str | None = None
    ) -> Alias:
        """Set or move the alias; as `Client.set_alias`."""
        return await self._client.set_alias(self.model, self.alias, version, etag, traffic=traffic)

    async def history(self) -> list[AliasEvent]:
        """Return the moves of the alias, newest first."""
        return [each async for each in self._client.alias_events(self.model, self.alias)]

    async def delete(self, *, etag: str | None = None) -> None:
        """Delete the alias. Its version stays."""
        await self._client.delete_alias(self.model, self.alias, etag)


class AsyncModelHandle(AsyncVersionMethods):
    """A model on the server; as `ModelHandle`.

    Examples:
        >>> pets = client.model("pets")
        >>> job = await pets.fine_tune("pets/")
        >>> version = await job.result(progress=True)
        >>> (await pets[version.version].compare(1)).verdict
    """

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

    async def get(self, *, max_versions: int | None = None) -> Model:
        """Return the model with its versions, newest first; as `Client.get_model`."""
        return await self._client.get_model(self.model, max_versions=max_versions)

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

    async def validate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Validation:
        """Validate examples without training; as `Client.validate`."""
        return await self._client.validate(examples, y, model=self.model, on_upload=on_upload, **settings)

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

    async def send_feedback(
        self, prediction_id: str | None = None, **settings: Unpack[FeedbackSettings]
    ) -> SentFeedback:
        """Send feedback on a prediction or the label of an input; as `Client.send_feedback`."""
        return await self._client.send_feedback(self.model, prediction_id, **settings)

    def feedback(self, *, states: Sequence[FeedbackState | str] = ()) -> AsyncIterator[Feedback]:
        """Yield the feedback of the model; as `Client.feedback`."""
        return self._client.feedback(self.model, states=states)

    async def feedback_summary(self, *, window: timedelta | None = None) -> FeedbackSummary:
        """Return statistics of feedback; as `Client.feedback_summary`."""
        return await self._client.feedback_summary(self.model, window=window)

    def review(self) -> AsyncIterator[ReviewEntry]:
        """Yield captured inputs for review; as `Client.review`."""
        return self._client.review(self.model)

    async def captured_input(
        self, prediction_id: str, *, thumbnail_size: int | None = None
    ) -> CapturedContent:
        """Return a captured input with its content; as `Client.captured_input`."""
        return await self._client.captured_input(self.model, prediction_id, thumbnail_size=thumbnail_size)

    async def capture_status(self) -> CaptureStatus:
        """Return how much the model has captured; as `Client.capture_status`."""
        return await self._client.capture_status(self.model)

    async def update(self, **details: Unpack[ModelDetails]) -> Model:
        """Update the details and policies of the model; as `Client.update_model`."""
        return await self._client.update_model(self.model, **details)

    async def delete(self, *, force: bool = False) -> int:
        """Delete the model; as `Client.delete_model`."""
        return await self._client.delete_model(self.model, force=force)
