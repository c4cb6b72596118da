"""The methods of `AsyncClient`: those of `Client`, redefined where a method sends several calls."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from headstart.arguments import (
    PredictArguments,
)
from headstart.calls import calls
from headstart.errors import PredictionError
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs
from headstart.job import AsyncJob, job_coroutine
from headstart.methods import ClientMethods
from headstart.results import (
    JobState,
    Prediction,
)
from headstart.transport.connection import Connection
from headstart.twins import async_iterator, coroutine

Many = TypeVar("Many", bound=Content | Sequence[float])


class AsyncTrainingMethods:
    """Start fine-tunes and follow their jobs."""

    _connection: Connection

    fine_tune = job_coroutine(ClientMethods.fine_tune)
    rebase = job_coroutine(ClientMethods.rebase)
    validate = coroutine(ClientMethods.validate)
    watch_jobs = async_iterator(ClientMethods.watch_jobs)
    delete_job = coroutine(ClientMethods.delete_job)

    def job(self, job_id: str) -> AsyncJob:
        """Return a handle of a job without sending a call."""
        return AsyncJob(job_id, self._connection)

    def jobs(
        self, model: str | None = None, states: Collection[JobState | str] | str | None = None
    ) -> AsyncIterator[AsyncJob]:
        """Yield jobs, newest first; as `Client.jobs`."""
        listed_jobs = self._connection.exchange.pages(partial(calls.job_page, model, states))
        return (AsyncJob(each.job_id, self._connection, each) async for each in listed_jobs)


class AsyncPredictionMethods:
    """Predict inputs and compute features."""

    _connection: Connection

    predict_stream = async_iterator(ClientMethods.predict_stream)
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


class AsyncVersionMethods:
    """Manage models, versions, aliases, stored examples, captured inputs and feedback."""

    _connection: Connection

    models = coroutine(ClientMethods.models)
    get_model = coroutine(ClientMethods.get_model)
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
    export = coroutine(ClientMethods.export)

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


class AsyncClientMethods(AsyncTrainingMethods, AsyncPredictionMethods, AsyncVersionMethods):
    """All methods that send calls."""
