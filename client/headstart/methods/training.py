"""Fine-tuning, and the jobs that do it."""

import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import partial
from typing import Any, Unpack

from headstart.arguments import FineTuneSettings, open_fine_tune
from headstart.calls import calls
from headstart.calls.job_calls import JobsCursor, job_deletion
from headstart.calls.rebasing import RebaseSettings, rebase
from headstart.errors import Unavailable
from headstart.inputs.examples import Examples
from headstart.job import Job
from headstart.methods.base import Methods
from headstart.results import (
    JobEvent,
    JobState,
    Validation,
)
from headstart.transport import upload
from headstart.transport.connection import UploadReport


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
        """Sends examples and starts a job that makes a new version of a model.

        Args:
            examples: a folder with one sub-folder for each class; a ``.csv``, ``.tsv``, ``.jsonl`` or
                ``.npz`` file; a DataFrame; a dataset of Hugging Face or PyTorch; a mapping from labels to
                inputs; an iterable of `Example`, ``(content, target)`` or dicts; the URI of a list that the
                server reads; or, with `y`, the inputs alone, such as scikit-learn's `X`. See `Examples`. May
                be left out with a ``parent``. Files are read while they are sent.
            y: the targets of the inputs: classes (texts, integers or bools), or floats for a regression.
            model: the model that gets the version; created if it does not exist.
            request_id: makes it safe to call again: the same id and examples give the same job. Default: a
                new one, which covers what this call itself repeats.
            on_upload: called with the examples sent so far and how many there are, None where unknown. After
                a lost connection the count starts again.
            **settings: see `SpecSettings`, and for what the examples are `ExampleSettings`: ``texts``,
                ``images`` or ``features`` instead of `examples`, ``label_column``, ``text_column``,
                ``image_column``, ``value_column``, ``id_column`` and ``feature_columns``.

        Returns:
            The accepted job.

        Raises:
            InvalidArgument: a setting or an example is wrong.
            ResourceExhausted: the dataset is too large, or too many jobs are queued.
            Unavailable: no server took it, though it was tried again.
            OSError: a file cannot be read.
            TypeError: a setting is unknown, or an example has an unknown type.
            ValueError: an example or a table is malformed.
        """
        spec, source = open_fine_tune(model, examples, y, settings, request_id or str(uuid.uuid4()))
        return self.job(self._connection.upload(upload.fine_tune(spec, source), on_upload))

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
        """Fit a version of a model on another backbone, from the examples that the server keeps.

        The new version takes over title, labels, seed and held-out examples. The old one stays.

        Args:
            model: the model.
            backbone: the backbone's name, or ``auto``, as in `SpecSettings`.
            version: the number of the version. None: that of the alias, without one the newest not rejected.
            alias: moved to the new version if that is not worse than the version it names. None: none is.
            request_id: as in `fine_tune`.
            **settings: ``backbone_candidates``, ``backbone_time_budget``, ``recipe``, ``promote_if``,
                ``priority``, ``webhook``; see `RebaseSettings`.

        Returns:
            The accepted job.

        Raises:
            NotFound: there is no such model, version, alias or backbone.
            FailedPrecondition: the version's examples are not kept any more.
            InvalidArgument: a setting is wrong, or the backbone does not take such examples.
            ResourceExhausted: too many jobs are queued.
        """
        call = rebase(
            model,
            settings,
            backbone=backbone,
            version=version,
            alias=alias,
            request_id=request_id or str(uuid.uuid4()),
        )
        return self.job(self._connection.send(call))

    def validate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        on_upload: UploadReport | None = None,
        **settings: Unpack[FineTuneSettings],
    ) -> Validation:
        """Sends examples to be checked only; arguments and errors as in `fine_tune`.

        Returns:
            What was found in them, and how good a version trained on them would be.
        """
        spec, source = open_fine_tune(model, examples, y, settings)
        return self._connection.upload(upload.validation(spec, source), on_upload)

    def job(self, job_id: str) -> Job:
        """Takes up a job by its id, without asking the server."""
        return Job(job_id, self._connection)

    def jobs(
        self, model: str | None = None, states: Collection[JobState | str] | str | None = None
    ) -> Iterator[Job]:
        """Return jobs, the newest first, a page at a time. Each knows its `Job.last_status`.

        Args:
            model: only jobs of this model. None: of all.
            states: only jobs in this state, such as ``RUNNING``, or in one of several. None: in any.

        Raises:
            ValueError: a state is unknown.
        """
        listed_jobs = self._connection.pages(partial(calls.job_page, model, states))
        return (Job(each.job_id, self._connection, each) for each in listed_jobs)

    def watch_jobs(self, model: str | None = None, *, resume_token: str = "") -> Iterator[JobEvent]:
        """Yields the events of all jobs as they happen, also through lost connections, until you stop.

        Args:
            model: only jobs of this model. None: of all models.
            resume_token: where to begin. Empty: with all events of the jobs that have not ended.

        Raises:
            Unavailable: no server has answered for too long.
        """
        cursor = JobsCursor(model, resume_token, self._connection.settings.retries)
        while True:
            try:
                with closing(self._connection.receive(cursor.call())) as responses:
                    for response in responses:
                        if (event := cursor.accept(response)) is not None:
                            yield event
                pause = cursor.ended()
            except Unavailable as error:
                pause = cursor.interrupted(error)
            time.sleep(pause)

    def delete_job(self, job_id: str) -> None:
        """Deletes a job that has ended, with its events. Its version stays.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: it is queued or running, or its webhook is not delivered yet.
        """
        self._connection.send(job_deletion(job_id))
