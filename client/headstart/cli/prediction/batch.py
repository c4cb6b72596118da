"""Predictions of files, folders and tables, which skip unusable inputs."""

import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import grpc
import typer
from google.protobuf.message import Message

from headstart.arguments import PredictSettings
from headstart.cli.exits import ExitCode
from headstart.cli.output.layout import plural
from headstart.cli.output.prediction_file import PredictionFile, StandardOutput, file_state
from headstart.cli.output.progress import progress_view
from headstart.cli.session import Session
from headstart.control_characters import valid_unicode
from headstart.errors import ErrorDetails, InvalidArgument, NotFound, PredictionError
from headstart.inputs.inputs import Text
from headstart.inputs.prediction_inputs import InputSettings, NamedInput, is_collection, open_inputs
from headstart.protojson import to_dict
from headstart.results import PredictedInput, Prediction
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1.errors_pb2 import ErrorReason
from headstart.version_ref import VersionRef, parse_version

_MAX_ERRORS: Final = 10


@dataclass(kw_only=True)
class BatchPrediction:
    """One run of the command `predict`, from paths, or from texts if `is_text`.

    The first unusable input ends the run if `fails`; otherwise `errors` collects them.
    """

    session: Session
    model: str
    settings: PredictSettings
    sources: Sequence[str]
    columns: InputSettings
    is_text: bool
    fails: bool
    errors: list[PredictionError] = field(default_factory=list)

    def collect(self) -> list[PredictedInput]:
        """Return all predictions; raise an error if every input is unusable."""
        predicted = [each for each, _ in self._predictions(self._inputs(), parse_version(self.model))]
        if not predicted:
            self._fail()
        return predicted

    def write(self, output: str) -> None:
        """Write the predictions to a file, or to standard output (``-``)."""
        if output == "-":
            printed = StandardOutput(as_json=self.session.as_json, abstains=self._abstains)
            for predicted, prediction in self._predictions(self._inputs(), parse_version(self.model)):
                printed.add(predicted, prediction)
            is_empty = printed.is_empty
        else:
            is_empty = not self._write_file(Path(output))
        if is_empty:
            self._fail()
        self.end()

    def end(self) -> None:
        """Print the unusable inputs, and exit with an error if there are any."""
        if not self.errors:
            return
        for error in self.errors[:_MAX_ERRORS]:
            self.session.note(f"error: {error.message}")
        if (more := len(self.errors) - _MAX_ERRORS) > 0:
            self.session.note(f"error: {plural(more, 'more input')} cannot be used; --json lists them")
        raise typer.Exit(ExitCode.INCOMPLETE)

    def document(self, predicted: Sequence[PredictedInput]) -> dict[str, Any]:
        """Return the response of all calls as the HTTP port prints it, and the names of the inputs."""
        document = self.session.response("Predict")
        if not document:
            return {}
        documents: list[dict[str, Any]] = [to_dict(cast(Message, each.message)) for each in predicted]
        names = [each.name for each in predicted]
        for error in self.errors:  # in the order of the inputs
            documents.insert(error.index, to_dict(pb.Prediction()))
            names.insert(error.index, error.name)
        document["results"][0]["predictions"] = documents
        document.pop("times", None)  # of the last call only
        return {"inputs": names, **document, "faults": self._faults()}

    def _faults(self) -> list[dict[str, Any]]:
        return [
            to_dict(
                pb.InputFault(index=each.index, reason=_reason(each), message=valid_unicode(each.message))
            )
            for each in self.errors
        ]

    def _write_file(self, path: Path) -> int:
        if os.path.abspath(path) in map(os.path.abspath, () if self.is_text else self.sources):
            raise ValueError(f"{path} is an input. Write the predictions to another file")
        with PredictionFile(path, self._command(), abstains=self._abstains) as file:
            target = parse_version(self.model)
            if file.is_restarted:
                self.session.note("Starting again: the command or a file changed after the interrupted run.")
            finished = file.count
            if finished and file.version is not None:
                self.session.note(f"Continuing after {plural(finished, 'prediction')} of an interrupted run.")
                target = VersionRef(target.model, version=file.version)  # one version predicts all rows
            try:
                for predicted, prediction in self._predictions(
                    file.missing(self._inputs()), target, finished
                ):
                    file.add(predicted, prediction)
            except BaseException as error:
                self._keep(file, error)
                raise
            if file.count:
                file.finish()
            else:
                file.discard()
        count = file.count
        summary = {"output": str(path), "predictions": count, "faults": self._faults()}
        if self.session.as_json:
            self.session.print_json(summary, indent=2)
        elif count:
            self.session.note(f"Wrote {plural(count, 'prediction')} to {path}.")
        return count

    def _keep(self, file: PredictionFile, error: BaseException) -> None:
        """Keep the rows of an interrupted run, unless the command cannot continue after them."""
        if not file.count:
            return
        rows = plural(file.count, "prediction")
        if isinstance(error, NotFound) and error.reason == "VERSION_NOT_FOUND":
            file.discard()
            self.session.note(f"{rows} of the deleted version {file.version} discarded.")
        elif "-" in self.sources and not self.is_text:  # another run reads another stdin
            file.discard()
        else:
            self.session.note(f"{rows} kept. Run the command again to continue.")

    def _predictions(
        self, items: Iterable[NamedInput], target: VersionRef, finished: int = 0
    ) -> Iterator[tuple[PredictedInput, Prediction]]:
        arguments = {**self.settings, "version": target.version, "alias": target.alias}
        total = self._count()
        with ExitStack() as stack:
            client = stack.enter_context(self.session.client())
            # A table of a few inputs needs no progress.
            view = (
                stack.enter_context(progress_view(self.session.err)) if total is None or total > 256 else None
            )
            stream = client.predict_stream(items, model=target.model, **cast(Any, arguments))
            for count, predicted in enumerate(stream, start=finished + 1):
                outcome = predicted.outcome
                if view is not None:
                    view.predicted(count, total)
                if isinstance(outcome, Prediction):
                    yield predicted, outcome
                    continue
                self.errors.append(outcome)
                if self.fails:
                    self._fail()

    @property
    def _abstains(self) -> bool:
        return self.settings.get("abstain") is not None

    def _inputs(self) -> Iterator[NamedInput]:
        return named_inputs(self.sources, self.columns, is_text=self.is_text)

    def _count(self) -> int | None:
        return None if not self.is_text and any(map(is_collection, self.sources)) else len(self.sources)

    def _command(self) -> dict[str, Any]:
        """Return the identity of the command, as JSON."""
        abstain = self.settings.get("abstain")
        settings = {**self.settings, "abstain": asdict(cast(Any, abstain)) if abstain else None}
        command = {
            "server": self.session.connection.server,
            "model": self.model,
            "inputs": list(self.sources) if self.is_text else list(map(_identity, self.sources)),
            "text": self.is_text,
            "columns": self.columns,
            "settings": settings,
        }
        return cast(dict[str, Any], json.loads(json.dumps(command)))

    def _fail(self) -> None:
        if not self.errors:
            raise ValueError(f"There are no inputs in {', '.join(self.sources)}")
        first, count = self.errors[0], len(self.errors)
        cause = first.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            if str(cause.strerror).startswith(f"{first.name}: "):  # the file of a row
                raise cause
            raise FileNotFoundError(errno.ENOENT, "No such file (a text needs --text)", cause.filename)
        if isinstance(cause, OSError | TypeError | ValueError):
            raise cause
        others = f" ({count} of {count} inputs cannot be used.)" if count > 1 else ""
        details = ErrorDetails(
            code=grpc.StatusCode.INVALID_ARGUMENT, message=f"{first.message}{others}", reason=first.reason
        )
        raise InvalidArgument(details)


def _identity(source: str) -> list[Any]:
    """Return a source, with the state of a table or of stdin; rows have the state of other files."""
    if source == "-":
        return [source, time.time_ns()]  # cannot be recognized later
    return file_state(source) if is_collection(source) and not os.path.isdir(source) else [source]


def _reason(error: PredictionError) -> str:
    """Return the contract's reason of an error; an input that was not sent is an invalid field."""
    name = f"ERROR_REASON_{error.reason}"
    return name if name in ErrorReason.keys() else "ERROR_REASON_INVALID_FIELD"  # noqa: SIM118 - an enum


def named_inputs(sources: Sequence[str], columns: InputSettings, *, is_text: bool) -> Iterator[NamedInput]:
    """Return the inputs of files, folders, tables and standard input, or texts, with their names."""
    for source in sources:
        if is_text:
            yield NamedInput(source, Text(source))
        elif source == "-":
            yield NamedInput(source, sys.stdin.buffer.read())
        else:
            yield from open_inputs(Path(source), columns).items
