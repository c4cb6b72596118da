"""Methods that start and follow jobs."""

import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar, Unpack

from headstart.arguments import FineTuneSettings, open_fine_tune
from headstart.calls import calls
from headstart.calls.job_calls import JobsCursor, RebaseSettings, job_deletion, rebase
from headstart.errors import HeadstartError
from headstart.inputs.examples import Examples
from headstart.job import Job
from headstart.methods.base import Methods
from headstart.results import JobEvent, JobState, Validation
from headstart.transport import upload
from headstart.transport.connection import Exchange
from headstart.transport.upload import UploadReport

Started = TypeVar("Started")


class TrainingMethods(Methods):
    """Start fine-tunes and follow their jobs."""

    def fine_tune(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        request_id: str | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Job:
        """Send examples and start a job that trains a new version of a model.

        Args:
            examples: a folder with one sub-folder for each class; a ``.csv``, ``.tsv``, ``.jsonl`` or
                ``.npz`` file; a DataFrame; a dataset of Hugging Face or PyTorch; a mapping from labels to
                inputs; an iterable of `Example`, ``(content, target)`` or dicts; the URI of a list that the
                server reads; or, with `y`, the inputs alone, such as scikit-learn's `X`. See `Examples`.
                Optional with a ``parent``. Files are read during the upload.
            y: the targets of the inputs: classes (texts, integers or bools), or floats for a regression.
            model: the model that receives the version; created if it does not exist.
            request_id: an idempotency key: the same ID and examples return the same job. Default: a new ID,
                which covers the retries of this call.
            on_upload: called with the number of sent examples and their total, None while it is unknown; both
                are equal when all are sent. The count restarts after a lost connection.
            **settings: see `SpecSettings`, and for the examples `ExampleSettings`: ``texts``, ``images`` or
                ``features`` instead of `examples`, ``label_column``, ``text_column``, ``image_column``,
                ``value_column``, ``id_column`` and ``feature_columns``.

        Returns:
            The accepted job.

        Raises:
            InvalidArgument: a setting or an example is invalid.
            ResourceExhausted: the dataset is too large, or the job queue is full.
            Unavailable: no server accepted the job after all retries.
            OSError: a file cannot be read.
            TypeError: a setting is unknown, or an example has an unknown type.
            ValueError: an example or a table is malformed.
        """

        def opened() -> upload.Upload[str]:
            return upload.fine_tune(
                *open_fine_tune(model, examples, y, settings, request_id or str(uuid.uuid4()))
            )

        job_id = self._connection.exchange.upload(opened, on_upload)
        return self._connection.finish(_started(self.job, job_id))

    def rebase(
        self,
        model: str,
        *,
        backbone: str,
        version: int | None = None,
        alias: str | None = None,
        request_id: str | None = None,
        **settings: Unpack[RebaseSettings],
    ) -> Job:
        """Train a version again on another backbone, from the examples that the server stores.

        The new version keeps the title, tags, seed and held-out examples. The old version stays.

        Args:
            model: the model.
            backbone: the name of the backbone, or ``auto``, as in `SpecSettings`.
            version: the number of the version. None: the version of the alias, or the newest not rejected by
                a gate.
            alias: moved to the new version if that is not worse than the alias's version. None: no alias is
                moved.
            request_id: as in `fine_tune`.
            **settings: ``backbone_candidates``, ``backbone_time_budget``, ``recipe``, ``promote_if``,
                ``priority``, ``webhook``; see `RebaseSettings`.

        Returns:
            The accepted job.

        Raises:
            NotFound: the model, version, alias or backbone does not exist.
            FailedPrecondition: the version's examples are no longer stored.
            InvalidArgument: a setting is invalid, or the backbone does not accept such examples.
            ResourceExhausted: the job queue is full.
        """
        call = rebase(
            model,
            settings,
            backbone=backbone,
            version=version,
            alias=alias,
            request_id=request_id or str(uuid.uuid4()),
        )
        return self._connection.finish(_started(self.job, self._connection.exchange.send(call)))

    def validate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Validation:
        """Validate examples without training; arguments and errors as in `fine_tune`.

        Returns:
            The findings in the examples, and an estimate of the quality of a version trained on them.
        """

        def opened() -> upload.Upload[Validation]:
            return upload.validation(*open_fine_tune(model, examples, y, settings))

        return self._connection.upload(opened, on_upload)

    def job(self, job_id: str) -> Job:
        """Return a handle of a job without sending a call."""
        return Job(job_id, self._connection)

    def jobs(
        self, model: str | None = None, states: Collection[JobState | str] | str | None = None
    ) -> Iterator[Job]:
        """Yield jobs, newest first, with their `Job.last_status`. Pages are requested as needed.

        Args:
            model: the model. None: all models.
            states: a state, such as ``RUNNING``, or several. None: all states.

        Raises:
            ValueError: a state is unknown.
        """
        listed_jobs = self._connection.pages(partial(calls.job_page, model, states))
        return (Job(each.job_id, self._connection, each) for each in listed_jobs)

    def watch_jobs(self, model: str | None = None, *, resume_token: str = "") -> Iterator[JobEvent]:
        """Yield the events of all jobs as they happen, across lost connections, until you stop.

        Args:
            model: the model. None: all models.
            resume_token: the position to start from. Empty: all events of the unfinished jobs.

        Raises:
            Unavailable: no server answered for `RetryPolicy.outage_seconds`.
            ResourceExhausted: the server was busy for so long.
        """
        return self._connection.iterate(_watched(self._connection.exchange, model, resume_token))

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended, with its events. Its version stays.

        Raises:
            NotFound: the job does not exist.
            FailedPrecondition: the job is queued or running, or its webhook is pending.
        """
        return self._connection.send(job_deletion(job_id))


async def _started(handle: Callable[[str], Started], job_id: Coroutine[Any, Any, str]) -> Started:
    return handle(await job_id)


async def _watched(
    exchange: Exchange, model: str | None, resume_token: str
) -> AsyncGenerator[JobEvent, None]:
    cursor = JobsCursor(model, resume_token, exchange.settings.retries)
    while True:
        try:
            async with aclosing(exchange.receive(cursor.call())) as responses:
                async for response in responses:
                    if (event := cursor.accept(response)) is not None:
                        yield event
            pause = cursor.ended()
        except HeadstartError as error:
            pause = cursor.interrupted(error)
        await exchange.wire.pause(pause)
