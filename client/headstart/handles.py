"""Handles of models, versions and aliases: methods of `Client` with the name filled in."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc

from headstart.arguments import FineTuneSettings, MeasureSettings, PredictArguments
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.calls.feedback_calls import FeedbackSettings
from headstart.calls.job_calls import RebaseSettings
from headstart.calls.model_calls import Details, ModelDetails
from headstart.errors import ErrorDetails, NotFound, PredictionError
from headstart.inputs.contents import Content
from headstart.inputs.examples import Examples
from headstart.inputs.prediction_inputs import Inputs
from headstart.inputs.task import Task, TaskName
from headstart.job import Job
from headstart.methods import ClientMethods
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
from headstart.transport.upload import UploadReport
from headstart.version_ref import VersionRef, numbered, other_version, plain_model


def find_alias(model: Model, name: str) -> Alias:
    """Return an alias of a model; raise NotFound if it does not exist."""
    for alias in model.aliases:
        if alias.alias == name:
            return alias
    message = f"Model '{model.model}' has no alias '{name}'."
    details = ErrorDetails(code=grpc.StatusCode.NOT_FOUND, message=message, reason="ALIAS_NOT_FOUND")
    raise NotFound(details)


Many = TypeVar("Many", bound=Content)


class Handle:
    """The reference of a handle, synchronous or not."""

    def __init__(self, client: Any, ref: VersionRef) -> None:
        self.ref = ref
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.ref)!r})"


class VersionMethods(Handle):
    """Methods that read a version; shared by the handles of models and versions."""

    _client: ClientMethods

    @overload
    def predict(
        self,
        inputs: Content,
        *,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        inputs: Inputs | None = None,
        *,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    def predict(self, inputs: Any = None, *, errors: Any = "raise", **settings: Any) -> Any:
        """Predict one input or many; as `Client.predict`."""
        return self._client.predict(inputs, model=str(self.ref), errors=errors, **settings)

    def predict_stream(
        self, inputs: Inputs | None = None, **settings: Unpack[PredictArguments]
    ) -> Iterator[PredictedInput]:
        """Predict many inputs in batches; as `Client.predict_stream`."""
        return self._client.predict_stream(inputs, model=str(self.ref), **settings)

    def evaluate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> EvaluationResult:
        """Evaluate the version on labeled examples; as `Client.evaluate`."""
        return self._client.evaluate(
            examples, y, model=str(self.ref), task=task, on_upload=on_upload, **settings
        )

    def compare(
        self,
        baseline: Handle | VersionRef | str | int,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> Comparison:
        """Compare the version with a baseline, which is the first version of the result.

        Args:
            baseline: a number of the same model, another handle, or ``model@version``.
            examples: as in `Client.compare`.
            y: as in `Client.compare`.
            task: as in `Client.compare`.
            on_upload: as in `Client.compare`.
            **settings: as in `Client.compare`.
        """
        first = baseline.ref if isinstance(baseline, Handle) else other_version(self.ref, baseline)
        return self._client.compare(first, self.ref, examples, y, task=task, on_upload=on_upload, **settings)

    def evaluation(self) -> VersionEvaluation:
        """Return the stored evaluation and findings of the version; as `Client.evaluation`."""
        return self._client.evaluation(str(self.ref))

    def examples(self, **query: Unpack[ExampleQuery]) -> Iterator[ExampleRecord]:
        """Yield the examples of the version; as `Client.examples`."""
        return self._client.examples(self.ref, **query)

    def example_map(self) -> ExampleMap:
        """Return the examples of the version in two dimensions; as `Client.example_map`."""
        return self._client.example_map(self.ref)

    def content(self, example: ExampleKey) -> ExampleContent:
        """Return the content of an example; as `Client.example_content`."""
        return self._client.example_content(self.ref, example)

    def thumbnail(self, example: ExampleKey, size: ThumbnailSize = 128) -> ExampleContent:
        """Return a thumbnail of an example; as `Client.example_thumbnail`."""
        return self._client.example_thumbnail(self.ref, example, size)

    def report(self, *, format: ReportFormat = "html") -> Report:
        """Return the report of the version; as `Client.report`."""
        return self._client.report(str(self.ref), format=format)

    def export(
        self,
        *,
        format: ExportFormat,
        path: str | os.PathLike[str],
        timeout: float | timedelta | None = None,
    ) -> Export:
        """Export the version with its backbone for other runtimes; as `Client.export`."""
        return self._client.export(str(self.ref), format=format, path=path, timeout=timeout)


class VersionHandle(VersionMethods):
    """A version on the server, by its number or an alias. Creating a handle sends no call.

    The arguments, results and errors of its methods are those of the methods of `Client`.
    """

    def get(self) -> Version:
        """Return the version."""
        return self._client.get_version(str(self.ref))

    def update(
        self,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Update the details and the expiration of the version; as `Client.update_version`.

        Raises:
            ValueError: the handle names the version by an alias, or no change is given.
        """
        return self._client.update_version(
            self.ref.model, numbered(self.ref), expire_time=expire_time, ttl=ttl, **details
        )

    def delete(self, *, force: bool = False) -> None:
        """Delete the version; as `Client.delete_version`.

        Raises:
            ValueError: the handle names the version by an alias.
        """
        return self._client.delete_version(self.ref.model, numbered(self.ref), force=force)


class AliasHandle:
    """An alias of a model. Creating a handle sends no call."""

    def __init__(self, client: ClientMethods, model: str, alias: str) -> None:
        self.model = model
        self.alias = alias
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model + '@' + self.alias!r})"

    def get(self) -> Alias:
        """Return the alias with its version and traffic.

        Raises:
            NotFound: the model or alias does not exist.
        """
        return find_alias(self._client.get_model(self.model, max_versions=0), self.alias)

    def set(
        self, version: int, *, traffic: Mapping[int, float] | None = None, etag: str | None = None
    ) -> Alias:
        """Set or move the alias; as `Client.set_alias`.

        Examples:
            >>> client.model("pets").alias("stable").set(7, traffic={8: 0.05})
        """
        return self._client.set_alias(self.model, self.alias, version, etag, traffic=traffic)

    def history(self) -> list[AliasEvent]:
        """Return the moves of the alias, newest first."""
        return list(self._client.alias_events(self.model, self.alias))

    def delete(self, *, etag: str | None = None) -> None:
        """Delete the alias. Its version stays."""
        return self._client.delete_alias(self.model, self.alias, etag)


class ModelHandle(VersionMethods):
    """A model on the server. Creating a handle sends no call.

    Methods that read a version read the default one: the newest that no promotion gate rejected.
    ``handle[3]`` and ``handle["stable"]`` are handles of other versions. The arguments, results and errors of
    the methods are those of the methods of `Client`.

    Raises:
        ValueError: the name contains a version.

    Examples:
        >>> pets = client.model("pets")
        >>> version = pets.fine_tune("pets/").result(progress=True)
        >>> pets[version.version].compare(1).verdict
    """

    def __init__(self, client: ClientMethods, model: str) -> None:
        super().__init__(client, VersionRef(plain_model(model)))

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.ref.model

    def __getitem__(self, version: int | str) -> VersionHandle:
        return VersionHandle(self._client, other_version(VersionRef(self.model), version))

    __iter__ = None  # __getitem__ does not count from 0

    def alias(self, alias: str) -> AliasHandle:
        """Return a handle of an alias."""
        return AliasHandle(self._client, self.model, alias)

    def get(self, *, max_versions: int | None = None) -> Model:
        """Return the model with its versions, newest first; as `Client.get_model`."""
        return self._client.get_model(self.model, max_versions=max_versions)

    def versions(self, **query: Any) -> list[Version]:
        """Return the versions of the model, by default newest first; as `Client.versions`."""
        return list(self._client.versions(self.model, **query))

    def aliases(self) -> list[Alias]:
        """Return the aliases of the model by name."""
        return list(self.get(max_versions=0).aliases)

    def jobs(self, states: Collection[JobState | str] | str | None = None) -> Iterator[Job]:
        """Return the jobs of the model, newest first; as `Client.jobs`."""
        return self._client.jobs(self.model, states)

    def fine_tune(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        request_id: str | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Job:
        """Send examples and start a job that trains a new version; as `Client.fine_tune`."""
        return self._client.fine_tune(
            examples, y, model=self.model, request_id=request_id, on_upload=on_upload, **settings
        )

    def validate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Validation:
        """Validate examples without training; as `Client.validate`."""
        return self._client.validate(examples, y, model=self.model, on_upload=on_upload, **settings)

    def rebase(
        self,
        *,
        backbone: str,
        version: int | None = None,
        alias: str | None = None,
        request_id: str | None = None,
        **settings: Unpack[RebaseSettings],
    ) -> Job:
        """Train a version again on another backbone; as `Client.rebase`."""
        return self._client.rebase(
            self.model, backbone=backbone, version=version, alias=alias, request_id=request_id, **settings
        )

    def send_feedback(
        self, prediction_id: str | None = None, **settings: Unpack[FeedbackSettings]
    ) -> SentFeedback:
        """Send feedback on a prediction or the label of an input; as `Client.send_feedback`."""
        return self._client.send_feedback(self.model, prediction_id, **settings)

    def feedback(self, *, states: Sequence[FeedbackState | str] = ()) -> Iterator[Feedback]:
        """Yield the feedback of the model; as `Client.feedback`."""
        return self._client.feedback(self.model, states=states)

    def feedback_summary(self, *, window: timedelta | None = None) -> FeedbackSummary:
        """Return statistics of feedback; as `Client.feedback_summary`."""
        return self._client.feedback_summary(self.model, window=window)

    def review(self) -> Iterator[ReviewEntry]:
        """Yield captured inputs for review; as `Client.review`."""
        return self._client.review(self.model)

    def captured_input(self, prediction_id: str, *, thumbnail_size: int | None = None) -> CapturedContent:
        """Return a captured input with its content; as `Client.captured_input`."""
        return self._client.captured_input(self.model, prediction_id, thumbnail_size=thumbnail_size)

    def capture_status(self) -> CaptureStatus:
        """Return how much the model has captured; as `Client.capture_status`."""
        return self._client.capture_status(self.model)

    def update(self, **details: Unpack[ModelDetails]) -> Model:
        """Update the details and policies of the model; as `Client.update_model`."""
        return self._client.update_model(self.model, **details)

    def delete(self, *, force: bool = False) -> int:
        """Delete the model; as `Client.delete_model`."""
        return self._client.delete_model(self.model, force=force)
