"""Quality of versions, and versions as documents and files."""

import os
from datetime import timedelta
from typing import Any, Unpack

from headstart.calls import calls
from headstart.exports import ExportFiles
from headstart.inputs.examples import Examples, ExampleSettings, open_examples
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
from headstart.transport.connection import UploadReport
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef, parse_version, version_ref


class EvaluationMethods(Methods):
    """Measure, compare, report and export versions."""

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
