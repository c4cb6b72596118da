"""The synchronous client: the whole service in a few methods."""

import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc
from numpy.typing import NDArray

from headstart.arguments import FineTuneSettings, open_fine_tune
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
from headstart.handles import ModelHandle
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs, open_inputs
from headstart.inputs.task import Task, TaskName
from headstart.job import Job
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
from headstart.transport.channel import TlsConfig
from headstart.transport.chunked_calls import EmbeddingRun, PredictionRun, predicted_inputs
from headstart.transport.connection import Connection, SharedChannel, UploadReport
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import changed_settings, channel_settings, connection_settings, seconds
from headstart.transport.tokens import Token
from headstart.version_ref import VersionRef, parse_version, version_ref

__all__ = ["Client"]

Many = TypeVar("Many", bound=Content | Sequence[float])


class Client:
    """Fine-tunes models on a Headstart server and asks them.

    Safe to use from many threads. Close it when done, or use it in a `with` statement. Every method raises a
    `HeadstartError` of the kind that fits what went wrong.

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
        interceptors: gRPC interceptors, the first outermost.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: an argument or an environment variable is invalid, a certificate or its key is missing, or
            a token would leave this machine in plain text.

    Example:
        >>> with Client("localhost:8765") as client:
        ...     client.fine_tune("pets/", model="pets").result()
        ...     client.predict("cat.jpg", model="pets").label
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
        self._connection = Connection(settings)

    @classmethod
    def from_channel(
        cls,
        channel: grpc.Channel,
        *,
        timeout: float | timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    ) -> "Client":
        """Return a client that uses a channel of yours; closing the client leaves it open.

        Args:
            channel: the channel. Allow it messages of 64 MiB (``grpc.max_receive_message_length``).
            timeout: as for `Client`.
            metadata: as for `Client`.
            token: as for `Client`; whether the channel is secured is up to you. None: no token.
            retries: as for `Client`.
        """
        settings = channel_settings(timeout=timeout, metadata=metadata, token=token, retries=retries)
        return cls._over(Connection(settings, SharedChannel(channel, is_owned=False)))

    @classmethod
    def _over(cls, connection: Connection) -> "Client":
        client = cls.__new__(cls)
        client._connection = connection
        return client

    def with_options(
        self,
        *,
        timeout: float | timedelta | None = None,
        retries: int | RetryPolicy | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> "Client":
        """Return a client with other options over the same connection. Closing it leaves the connection open.

        Args:
            timeout: as for `Client`. None: unchanged.
            retries: as for `Client`. None: unchanged.
            metadata: added to the metadata of each call; replaces equal keys. None: unchanged.

        Example:
            >>> client.with_options(timeout=5, retries=0).predict("cat.jpg", model="pets")
        """
        settings = changed_settings(
            self._connection.settings, timeout=timeout, retries=retries, metadata=metadata
        )
        return self._over(self._connection.with_settings(settings))

    def __repr__(self) -> str:
        return f"Client({self._connection.settings.server!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends calls in flight and the connection. Jobs go on."""
        self._connection.close()

    def ready(self, timeout: float = 5.0) -> bool:
        """True if a server answers within so many seconds and says that it serves."""
        try:
            return self._connection.send(calls.health(), timeout)
        except (Unavailable, DeadlineExceeded):
            return False

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

    def evaluate(
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
        """Measures a version on labelled examples; nothing of them is stored.

        Args:
            examples: as in `fine_tune`. Labels that the version does not know count as wrong.
            y: as in `fine_tune`.
            model: the model to measure.
            version: the number of its version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            task: says whether integers are classes or numbers, as in `SpecSettings`.
            on_upload: as in `fine_tune`.
            **settings: see `ExampleSettings`.

        Raises:
            NotFound: there is no such model, version or alias.
            InvalidArgument: the examples show another kind of label than the version predicts, or none can be
                used.
            OSError, TypeError or ValueError: as in `fine_tune`.
        """
        target = version_ref(model, version, alias)
        source = open_examples(examples, y, task=task, settings=settings)
        return self._connection.upload(upload.evaluation(target, source), on_upload)

    def compare(
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
        """Puts two versions of any models side by side on the same examples.

        Args:
            first: a `VersionRef`, or ``pets``, ``pets@3``, ``pets@stable``.
            second: the other one.
            examples: as in `fine_tune`. None: those that both versions know the answers to; each answers
                those it was trained on by a head that was fitted without them.
            y: as in `fine_tune`.
            task: as in `evaluate`.
            on_upload: as in `fine_tune`.
            **settings: see `ExampleSettings`.

        Raises:
            NotFound: there is no such model, version or alias.
            FailedPrecondition: there is no example that both can be compared on.
            InvalidArgument: the versions tell different kinds of things, or no example can be used.
            OSError, TypeError or ValueError: as in `fine_tune`.
        """
        given = () if examples is None and y is None and not settings else examples
        source = open_examples(given, y, task=task, settings=settings)
        sent = upload.comparison(parse_version(first), parse_version(second), source)
        return self._connection.upload(sent, on_upload)

    def evaluation(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> VersionEvaluation:
        """Gets what was found out about a version when it was made: its quality, and its examples.

        Args:
            model: the model.
            version: the number of its version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.

        Raises:
            NotFound: there is no such model, version or alias.
        """
        return self._connection.send(calls.version_evaluation(version_ref(model, version, alias)))

    def report(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ReportFormat = "html",
    ) -> Report:
        """Gets all that is known about a version as a document.

        Args:
            model: the model.
            version: the number of its version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            format: ``html`` for a browser, one page that loads nothing from elsewhere; ``json``; or ``text``.

        Raises:
            NotFound: there is no such model, version or alias.
            ValueError: there is no such format.
        """
        return self._connection.send(calls.version_report(version_ref(model, version, alias), format))

    def export(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ExportFormat,
        path: str | os.PathLike[str],
        timeout: float | timedelta | None = None,
    ) -> Export:
        """Gets a version as one network, with its backbone, for runtimes other than this service.

        The first export of a version and format takes the server some ten seconds and more.

        Args:
            model: the model.
            version: the number of its version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            format: ``keras``, ``savedmodel``, ``onnx``, ``openvino`` or ``litert``.
            path: the file; of several files (SavedModel, OpenVINO, and any with a tokenizer) the folder,
                new or empty. It is there only when all has come.
            timeout: seconds it may take in all. None: no limit.

        Raises:
            NotFound: there is no such model, version or alias.
            InvalidArgument: the version's network cannot have this format.
            FailedPrecondition: a package that the format needs is not installed on the server.
            ResourceExhausted: too many exports wait.
            DataLoss: the content does not match its digest.
            OSError: the files cannot be written there.
            ValueError: there is no such format.
        """
        call = calls.version_export(version_ref(model, version, alias), format)
        limit = None if timeout is None else seconds(timeout)
        with ExportFiles(path) as files:
            for message in self._connection.receive(call, limit):
                files.take(message)
            return files.finish()

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

    @overload
    def predict(
        self,
        inputs: Content,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["raise", "return"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Any:
        """Predict one input or many; many go in several calls.

        Args:
            inputs: one input: a path, the bytes of an image's file, an image of Pillow, an array, an open
                file, a `Text` or a `URL`. Or many, see `Inputs`: a list, a generator, an array or DataFrame
                of rows, a folder, a table. Or None, with ``texts``, ``images`` or ``features`` instead.
            model: the model; ``pets@3`` or ``pets@stable`` names its version, too.
            errors: ``return`` puts a `PredictionError` in the place of each input that cannot be used and
                predicts the others; ``raise`` fails with an error that names all of them.
            **settings: see `PredictSettings` (``version``, ``alias``, ``top_k``, ``abstain``, ``neighbors``,
                ``saliency``, ``routing_key``, ``timeout``), and for what the inputs are `InputSettings`.

        Returns:
            The prediction of one input, or the list of those of many, in order. All come from one version.

        Raises:
            NotFound: there is no such model, version or alias.
            FailedPrecondition: the model has no version yet.
            InvalidArgument: an input cannot be used; ``field_violations`` names it.
            ResourceExhausted: too many inputs wait for the backbone; try again after ``retry_after``.
            OSError: a file cannot be read.
            TypeError: an input has an unknown type, or a setting is unknown.
            ValueError: both a version and an alias are given, or an array does not fit the contract.
        """
        how, what = split_settings(settings)
        target = version_ref(model, how.get("version"), how.get("alias"))
        run, limit = prediction_run([target], how, keep_errors=keeps_errors(errors))
        found = open_inputs(inputs, what)
        self._connection.send_all(run, found.items, limit)
        return run.outcomes()[0] if found.is_one else run.outcomes()

    def predict_stream(
        self, inputs: Inputs | None = None, *, model: str, **settings: Unpack[PredictArguments]
    ) -> Iterator[PredictedInput]:
        """Predict many inputs one batch after another, with bounded memory.

        Args:
            inputs: as in `predict`.
            model: as in `predict`.
            **settings: as in `predict`.

        Returns:
            Each input with its name and its prediction, or the `PredictionError` of one that cannot be used.

        Raises:
            HeadstartError, TypeError or ValueError: as in `predict`, except for single inputs.
        """
        how, what = split_settings(settings)
        target = version_ref(model, how.get("version"), how.get("alias"))
        run, limit = prediction_run([target], how, keep_errors=True, is_bulk=True)
        for chunk, answer in self._connection.stream(run, open_inputs(inputs, what).items, limit):
            yield from predicted_inputs(run, chunk, answer)

    def predict_many(
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
        """Classifies inputs by versions of several models; those on one backbone share its pass.

        Args:
            inputs: as in `predict`.
            targets: a `VersionRef` for each version, or ``pets``, ``pets@3``, ``pets@stable``.
            top_k: the most classes for each input. None: all.
            return_features: True returns the features too, every view of each backbone that was run.
            abstain: as in `predict`.
            neighbors: as in `predict`.
            saliency: as in `predict`; for the first target alone.
            routing_key: as in `predict`; the same for all targets.
            timeout: seconds for all inputs together. None: the client's timeout for each call.

        Returns:
            One result for each target, in order.

        Raises:
            HeadstartError: as in `predict`.
            ValueError: there is no target.
        """
        run = PredictionRun(
            [parse_version(target) for target in targets],
            top_k=top_k,
            return_features=return_features,
            evidence=make_evidence(abstain, neighbors, saliency),
            routing_key=routing_key,
        )
        self._connection.send_all(
            run, open_inputs(inputs).items, None if timeout is None else seconds(timeout)
        )
        return run.result()

    def embed(
        self,
        inputs: Inputs,
        *,
        backbone: str | None = None,
        views: Sequence[str] = ("last",),
        timeout: float | timedelta | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Gives the features of inputs.

        Args:
            inputs: as in `predict`.
            backbone: its name. None: the server's usual one for such an input as the first.
            views: the views to return, of `Backbone.views`.
            timeout: seconds for all inputs together. None: the client's timeout for each call.

        Returns:
            By view a float32 array: of shape [size of the view] for one input, [inputs, size of the view]
            for a list or tuple; nothing for an empty list.

        Raises:
            NotFound: there is no such backbone.
            InvalidArgument: an input cannot be used, or the backbone has no such view.
        """
        run = EmbeddingRun(backbone, views)
        found = open_inputs(inputs)
        self._connection.send_all(run, found.items, None if timeout is None else seconds(timeout))
        features = run.result()
        return {view: array[0] for view, array in features.items()} if found.is_one else features

    def models(self) -> list[Model]:
        """Lists all models by name, without their versions."""
        return list(self._connection.pages(calls.model_page))

    def server_info(self) -> ServerInfo:
        """Returns the release, limits, features and default backbones of the server."""
        return self._connection.send(server_calls.server_info())

    def who_am_i(self) -> Caller:
        """Returns who the caller is and what it may do."""
        return self._connection.send(server_calls.who_am_i())

    def usage(self) -> Usage:
        """Returns what the caller's tenant stores and how much it may store."""
        return self._connection.send(server_calls.usage())

    def model(self, name: str) -> ModelHandle:
        """Return a handle of a model, without a call: ``client.model("pets")[3].predict("cat.jpg")``.

        Raises:
            ValueError: the name contains a version.
        """
        return ModelHandle(self, name)

    def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Gets a model with its versions, the newest first.

        Args:
            name: the model.
            max_versions: the most versions to get. 0: none. None: all.

        Raises:
            NotFound: there is no such model.
        """
        found = self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return found
        query = VersionQuery(view="full")
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        versions = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        return replace(found, versions=tuple(islice(versions, max_versions)))

    def get_version(self, model: str, *, version: int | None = None, alias: str | None = None) -> Version:
        """Returns a version.

        Args:
            model: the model, or ``pets@3`` or ``pets@stable``.
            version: the number of its version. None: by the alias, or the newest.
            alias: an alias of the version.

        Raises:
            NotFound: there is no such version.
        """
        return self._connection.send(model_calls.get_version(version_ref(model, version, alias)))

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
    ) -> Iterator[Version]:
        """Lists versions of a model, a page at a time; by default the newest first.

        Args:
            model: the model.
            tags: tags that a version has, each with this value.
            alias: an alias that names it.
            backbone: its backbone.
            created_after: it was published at this time or later.
            created_before: it was published before this time.
            order_by: ``version``, ``create_time`` or ``size_bytes``, with or without `` desc``.
            view: ``full`` returns confusion matrices, too.

        Raises:
            NotFound: there is no such model.
            InvalidArgument: the order is unknown.
        """
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

    def update_version(
        self,
        model: str,
        version: int,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Changes what people say about a version, and when it expires. What is not given stays.

        Args:
            model: the model.
            version: the number of the version.
            expire_time: when it expires, or ``never``.
            ttl: how long from now until it expires.
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: there is no such version.
            InvalidArgument: a value is out of range.
            ValueError: nothing is to change, or both a time and a duration are given.
        """
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return self._connection.send(call)

    def update_model(self, model: str, **details: Unpack[Details]) -> Model:
        """Changes what people say about a model. What is not given stays.

        Args:
            model: the model.
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: there is no such model.
            ValueError: nothing is to change.
        """
        return self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> Iterator[AliasEvent]:
        """Lists the moves of a model's aliases, the newest first, a page at a time.

        Args:
            model: the model.
            alias: only moves of this alias. None: of all aliases.

        Raises:
            NotFound: there is no such model.
        """
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    def traffic(self, model: str, *, version: int | None = None, window: timedelta | None = None) -> Traffic:
        """Returns the traffic of a model's versions, summed over all replicas.

        Args:
            model: the model.
            version: only the traffic of this version. None: of all versions.
            window: the length of the window, which ends now; at most 7 days. None: 1 hour.

        Raises:
            NotFound: there is no such model.
        """
        return self._connection.send(model_calls.traffic(model, version, window))

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        etag: str | None = None,
        *,
        traffic: Mapping[int, float] | None = None,
    ) -> Alias:
        """Sets or moves an alias, in one step for all readers.

        Args:
            model: the model.
            alias: the alias, such as ``stable``.
            version: the number of the version it shall name.
            etag: act only if the alias has this etag now. None: act anyway.
            traffic: by number the share of the calls to predict that other versions shall answer, such as
                ``{8: 0.05}``; `version` answers the rest. None: it answers all. Shares it had before end.

        Raises:
            NotFound: there is no such model or version.
            InvalidArgument: the fractions are out of range or their sum exceeds 1.
            Aborted: someone else moved the alias since its etag was read.
        """
        return self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias; arguments and errors as in `set_alias`."""
        self._connection.send(calls.alias_removal(model, alias, etag))

    def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Deletes a version.

        Args:
            model: the model.
            version: the number of the version.
            force: True removes the aliases that name it too, and ends its traffic from other aliases.

        Raises:
            NotFound: there is no such model or version.
            FailedPrecondition: aliases name it or give it a share, and `force` is not set.
        """
        self._connection.send(calls.version_deletion(model, version, force))

    def erase_example(self, model: str, example_id: str) -> ErasedExample:
        """Deletes the data of an example: its content and its features, wherever it was sent with this id.

        Versions that were trained on it are not changed; the response lists them.

        Args:
            model: the model whose examples are erased; ``"-"`` for all models.
            example_id: the ID that it was sent with.

        Raises:
            NotFound: no version and no job under way knows such an example.
        """
        return self._connection.send(calls.example_deletion(example_id, model))

    def delete_model(self, model: str, *, force: bool = False) -> int:
        """Delete a model.

        Args:
            model: the model.
            force: whether to delete its versions and aliases, too.

        Returns:
            The number of versions that were deleted.

        Raises:
            NotFound: the model does not exist.
            FailedPrecondition: the model has versions, and `force` is not set.
        """
        return self._connection.send(calls.model_deletion(model, force))

    def backbones(self) -> list[Backbone]:
        """Lists the backbones of the server."""
        return list(self._connection.pages(calls.backbone_page))
