"""Handles of models, versions, aliases and datasets: methods of `AsyncClient` with the name filled in."""

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, Literal, TypeVar, Unpack, overload

from headstart.arguments import PredictArguments
from headstart.async_methods import AsyncClientMethods
from headstart.errors import PredictionError
from headstart.handles import AliasHandle, Handle, ModelHandle, VersionHandle, VersionMethods, find_alias
from headstart.inputs.contents import Content
from headstart.inputs.prediction_inputs import Inputs
from headstart.job import AsyncJob, job_coroutine
from headstart.results import Alias, AliasEvent, JobState, Prediction, Version
from headstart.twins import async_iterator, coroutine
from headstart.version_ref import VersionRef, other_version, plain_model

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
    fine_tune = job_coroutine(ModelHandle.fine_tune)
    rebase = job_coroutine(ModelHandle.rebase)
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
