"""Files of predictions, which an interrupted command resumes."""

import csv
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, cast

from google.protobuf.message import Message

from headstart.cli.output.formats import LineFeeds
from headstart.cli.output.safe_console import SafeOutput, print_json
from headstart.inputs.prediction_inputs import NamedInput
from headstart.inputs.task import Task
from headstart.protojson import to_dict
from headstart.results import PredictedInput, Prediction

FORMATS: Final = (".csv", ".tsv", ".jsonl")
"""Suffixes of files of predictions."""

_BATCH: Final = 256  # rows; the file has all of them after each batch


class PredictionFile:
    """A file of predictions, which appears when it is complete.

    Until then, ``FILE.partial`` has its rows, and a later run of the same command continues there. It starts
    again if a file of a row has changed. Rows are written in batches; a truncated row is dropped, as are the
    rows of another command. The file is UTF-8, with ``?`` for each byte of an input's name that is not.
    """

    def __init__(self, path: Path, command: Mapping[str, Any], *, abstains: bool) -> None:
        if path.suffix.lower() not in FORMATS:
            raise ValueError(
                f"Predictions are written to a file that ends in {', '.join(FORMATS)}, or to -. "
                f"Received: {path}"
            )
        self.path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._abstains = abstains
        self._finished: Counter[str] = Counter()  # inputs of the interrupted run
        self._sent: deque[tuple[str, Any]] = deque()  # names of inputs with the states of their files
        self.count = 0
        """Number of rows."""
        self.version: int | None = None
        """The version that the rows are from; None if there are none."""
        self.is_restarted = False
        """Whether the partial file of an interrupted run had to be discarded."""
        self._file = self._opened(json.dumps(command, sort_keys=True).encode() + b"\n")

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def missing(self, items: Iterable[NamedInput]) -> Iterator[NamedInput]:
        """Yield the inputs that the interrupted run has not finished, except the file itself."""
        own = {os.path.abspath(each) for each in (self.path, self._partial)}  # may be in a folder of inputs
        finished = self._finished.copy()  # an input that is given twice has two rows
        for item in items:
            if finished[item.name]:
                finished[item.name] -= 1
            elif os.path.abspath(item.name) not in own:
                is_file = isinstance(item.content, str | os.PathLike)
                self._sent.append((item.name, _current_state(item.content) if is_file else None))
                yield item

    def add(self, predicted: PredictedInput, prediction: Prediction) -> None:
        """Add the row of an input that `missing` returned; the rows are in the same order."""
        name, state = self._sent.popleft()
        while name != predicted.name:  # it cannot be used
            name, state = self._sent.popleft()
        row = {
            "name": name,
            "version": prediction.version,
            "file": state,
            "row": self._row(predicted, prediction),
        }
        # In ASCII: names of files may not be UTF-8.
        self._file.write(json.dumps(row).encode() + b"\n")
        self.count += 1
        self.version = prediction.version
        if self.count % _BATCH == 0:
            self._file.flush()

    def finish(self) -> None:
        """Write the complete file and remove the partial one."""
        self._file.flush()
        made = self.path.with_name(f"{self.path.name}.new")
        with made.open("w", encoding="utf-8", errors="replace", newline="") as file:
            write_rows(file, self.path.suffix.lower(), self._rows)
            file.flush()
            os.fsync(file.fileno())
        made.replace(self.path)
        self._file.close()
        self._partial.unlink()

    def discard(self) -> None:
        """Remove the partial file."""
        self._file.close()
        self._partial.unlink()

    def _row(self, predicted: PredictedInput, prediction: Prediction) -> dict[str, Any]:
        if self.path.suffix.lower() != ".jsonl":
            return prediction_cells(predicted, prediction, abstains=self._abstains)
        return json_row(predicted, prediction)

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self._partial.open(encoding="utf-8") as file:
            next(file)  # the command
            for line in file:
                yield json.loads(line)["row"]

    def _opened(self, command: bytes) -> IO[bytes]:
        """Open the partial file after its last complete row, or a new one."""
        file = self._partial.open("a+b")
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        end = self._resume(file, command)
        self.is_restarted = size > 0 and not end
        file.truncate(end)
        if not end:
            file.write(command)
            file.flush()
        return file

    def _resume(self, file: IO[bytes], command: bytes) -> int:
        """Read the rows of the interrupted run; return their end, or 0 if their inputs have changed."""
        if file.readline() != command:
            return 0
        finished: Counter[str] = Counter()
        version, end = None, len(command)
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
            except ValueError:  # after a power failure
                break
            if row["file"] is not None and row["file"] != _current_state(row["file"][0]):
                return 0
            finished[row["name"]] += 1
            version = row["version"]
            end += len(line)
        self._finished, self.count, self.version = finished, finished.total(), version
        return end


def file_state(path: str) -> list[Any]:
    """Return a path with the size and the modification time of its file, which reveal a changed file."""
    status = os.stat(path)
    return [path, status.st_size, status.st_mtime_ns]


def _current_state(path: str | os.PathLike[str]) -> list[Any]:
    name = os.fspath(path)
    try:
        return file_state(name)
    except (OSError, ValueError):  # missing, or not a path
        return [name, None, None]


def json_row(predicted: PredictedInput, prediction: Prediction) -> dict[str, Any]:
    """Return the JSONL line of a prediction: its input, then the contract's message as JSON."""
    cells = {"row": predicted.cells} if predicted.cells else {}
    message = to_dict(cast(Message, predicted.message))
    return {"input": predicted.name, **cells, "version": str(prediction.version), **message}


def prediction_cells(predicted: PredictedInput, prediction: Prediction, *, abstains: bool) -> dict[str, Any]:
    """Return the table row of a prediction: the cells of its input, then the predicted values.

    `abstains`: whether inputs may be unknown.
    """
    cells: dict[str, Any] = dict(predicted.cells)
    if not cells:
        cells["input"] = predicted.name
    match prediction.task:
        case Task.REGRESSION:
            cells |= {"predicted_value": prediction.value}
            cells |= {"interval_low": prediction.interval_low, "interval_high": prediction.interval_high}
        case Task.MULTI_LABEL:
            cells |= {"predicted_labels": "|".join(prediction.labels)}
        case _:
            cells |= {"predicted_label": prediction.label, "probability": prediction.probability}
    if abstains:
        cells |= {"unknown": str(prediction.abstained).lower()}
    return cells


def write_rows(file: IO[str], suffix: str, rows: Any) -> None:
    """Write rows as a table or as JSONL; `rows` returns a new iterator at each call."""
    if suffix == ".jsonl":
        for row in rows():
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    columns = dict.fromkeys(name for row in rows() for name in row)
    dialect = "excel-tab" if suffix == ".tsv" else "excel"
    writer = csv.DictWriter(LineFeeds(file), list(columns), dialect=dialect)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows())


class StandardOutput:
    """Predictions as CSV or JSONL on standard output, as they arrive."""

    def __init__(self, *, as_json: bool, abstains: bool) -> None:
        self.is_empty = True
        self._as_json = as_json
        self._abstains = abstains
        self._writer: Any = None

    def add(self, predicted: PredictedInput, prediction: Prediction) -> None:
        """Print a row; raise ValueError if a table has other columns, which the first row determines."""
        self.is_empty = False
        if self._as_json:
            print_json(json_row(predicted, prediction))
            return
        cells = prediction_cells(predicted, prediction, abstains=self._abstains)
        if self._writer is None:
            self._writer = csv.DictWriter(LineFeeds(SafeOutput()), list(cells))
            self._writer.writeheader()
        if lacking := [name for name in cells if name not in self._writer.fieldnames]:
            raise ValueError(
                f"{predicted.name} has columns that the first input lacks: {', '.join(lacking)}. Write the "
                "predictions to a file, or print them with --json"
            )
        self._writer.writerow({name: _cell(value) for name, value in cells.items()})


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
