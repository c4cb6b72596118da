"""Methods that evaluate, compare, report and export versions."""

import os
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Unpack

from google.protobuf.message import Message

from headstart.arguments import MeasureSettings, open_measured
from headstart.calls import calls
from headstart.exports import ExportFiles
from headstart.inputs.examples import Examples
from headstart.inputs.task import Task, TaskName
from headstart.methods.base import Methods
from headstart.results import (
    Comparison,
    EvaluationResult,
    Export,
    ExportFormat,
    Report,
    ReportFormat,
    VersionEvaluation,
)
from headstart.transport import upload
from headstart.transport.connection import Exchange
from headstart.transport.settings import seconds
from headstart.transport.upload import UploadReport
from headstart.version_ref import VersionRef, parse_version, version_ref


class EvaluationMethods(Methods):
    """Evaluate, compare, report and export versions."""

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
        **settings: Unpack[MeasureSettings],
    ) -> EvaluationResult:
        """Evaluate a version on labeled examples, which are not stored.

        Args:
            examples: as in `fine_tune`. Labels that are not classes of the version count as wrong.
            y: as in `fine_tune`.
            model: the model.
            version: the number of the version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            task: whether integers are classes or numbers, as in `SpecSettings`.
            on_upload: as in `fine_tune`.
            **settings: see `ExampleSettings`; or ``dataset``, the name of a dataset of the server, instead of
                examples.

        Raises:
            NotFound: the model, version or alias does not exist.
            InvalidArgument: the labels of the examples are of another kind than the version predicts, or
                every example is unusable.
            OSError, TypeError or ValueError: as in `fine_tune`.
        """
        target = version_ref(model, version, alias)

        def opened() -> upload.Upload[EvaluationResult]:
            return upload.evaluation(target, *open_measured(examples, y, task=task, settings=settings))

        return self._connection.upload(opened, on_upload)

    def compare(
        self,
        first: VersionRef | str,
        second: VersionRef | str,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> Comparison:
        """Compare two versions, of one model or of two, on the same examples.

        Args:
            first: a `VersionRef`, or ``pets``, ``pets@3``, ``pets@stable``.
            second: the other version.
            examples: as in `fine_tune`. None: the union of the training examples of both versions, with
                out-of-fold predictions; missing predictions are computed.
            y: as in `fine_tune`.
            task: as in `evaluate`.
            on_upload: as in `fine_tune`.
            **settings: see `ExampleSettings`; or ``dataset``, the name of a dataset of the server, instead of
                examples.

        Raises:
            NotFound: a model, version or alias does not exist.
            FailedPrecondition: the versions have no example to be compared on.
            InvalidArgument: the versions predict different kinds of labels, or every example is unusable.
            OSError, TypeError or ValueError: as in `fine_tune`.
        """
        has_examples = any(value is not None for value in (examples, y, *settings.values()))
        values = examples if has_examples else ()
        pair = parse_version(first), parse_version(second)

        def opened() -> upload.Upload[Comparison]:
            return upload.comparison(*pair, *open_measured(values, y, task=task, settings=settings))

        return self._connection.upload(opened, on_upload)

    def evaluation(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> VersionEvaluation:
        """Return the stored evaluation of a version and the findings in its examples.

        Args:
            model: the model.
            version: the number of the version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.

        Raises:
            NotFound: the model, version or alias does not exist.
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
        """Return the report of a version as a document.

        Args:
            model: the model.
            version: the number of the version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            format: ``html`` for a self-contained page; ``json``; or ``text``.

        Raises:
            NotFound: the model, version or alias does not exist.
            ValueError: the format is unknown.
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
        """Export a version with its backbone as one network for other runtimes.

        The server takes 10 seconds or more for the first export of a version in a format.

        Args:
            model: the model.
            version: the number of the version. None: by the alias, or the newest not rejected by a gate.
            alias: an alias of the version.
            format: ``keras``, ``savedmodel``, ``onnx``, ``openvino`` or ``litert``.
            path: the file. For several files (SavedModel, OpenVINO, and any with a tokenizer) the folder, new
                or empty. It appears when the export is complete.
            timeout: seconds of the whole export. None: no limit.

        Raises:
            NotFound: the model, version or alias does not exist.
            InvalidArgument: the version's network does not support the format.
            FailedPrecondition: a package that the format needs is not installed on the server.
            ResourceExhausted: the queue of exports is full.
            DataLoss: the content does not match its digest.
            OSError: the files cannot be written.
            ValueError: the format is unknown.
        """
        call = calls.version_export(version_ref(model, version, alias), format)
        limit = None if timeout is None else seconds(timeout)
        return self._connection.finish(_exported(self._connection.exchange, call, limit, path))


async def _exported(
    exchange: Exchange, call: calls.Call[Message], limit: float | None, path: str | os.PathLike[str]
) -> Export:
    with ExportFiles(path) as files:
        async with aclosing(exchange.receive(call, limit)) as messages:
            async for message in messages:
                await exchange.wire.in_thread(files.write, message)
        return await exchange.wire.in_thread(files.finish)
