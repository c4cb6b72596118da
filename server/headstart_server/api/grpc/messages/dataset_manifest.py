"""Read lists of examples at URIs, by the client's rules for such files, in bounded memory."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from headstart.inputs.dataset_manifest import LIST_SUFFIXES, ListedRow, read_list
from headstart.inputs.inputs import Example, write_target
from headstart.inputs.records import Layout
from headstart.inputs.task import Task as ListTask
from headstart.v1 import input_pb2
from headstart_server.api.grpc.messages.common import target_of
from headstart_server.datasets.uris.reader import ManifestRow
from headstart_server.learning.examples.task import Task

_TASKS = {
    Task.SINGLE_LABEL: ListTask.SINGLE_LABEL,
    Task.MULTI_LABEL: ListTask.MULTI_LABEL,
    Task.REGRESSION: ListTask.REGRESSION,
}

#: Maximum characters of one example in a list, which may span several lines.
MAX_ROW = 1 << 20


def read_dataset_list(
    name: str, content: bytes, task: Task | None = None, *, loads: Callable[[str], Any] = json.loads
) -> Iterator[ManifestRow]:
    """Yield the examples of a list.

    Args:
        task: decides whether numeric labels are class names. None: only integers are.
        loads: reads the JSON of one row.

    Raises:
        ValueError: the list is invalid; the message has the line.
        InvalidField: an example has one label twice.
    """
    suffix = PurePosixPath(name).suffix
    if suffix not in LIST_SUFFIXES:
        raise ValueError(f"{name[-80:]!r}, which does not end in {', '.join(LIST_SUFFIXES)}.")
    layout = Layout(task=None if task is None else _TASKS[task])
    rows = list_rows(io.BytesIO(content), name, suffix, layout, loads)
    for index, (row, message) in enumerate(rows):
        weight = row.settings["weight"]
        yield ManifestRow(
            line=row.line,
            path=row.path,
            text=row.text,
            features=row.features,
            target=target_of(message.label, index),
            id=message.example_id,
            held_out=row.settings["held_out"],
            weight=1.0 if weight is None else weight,
        )


def list_rows(
    content: IO[bytes], name: str, suffix: str, layout: Layout, loads: Callable[[str], Any]
) -> Iterator[tuple[ListedRow, input_pb2.Example]]:
    """Yield the rows of a list in UTF-8, each with its example without the input; then close the list.

    Raise ValueError, with the line, if the list is invalid.
    """
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        lines = _Lines(text, name)
        rows = read_list(
            lines, name=name, suffix=suffix, layout=layout, row_ended=lines.row_ended, loads=loads
        )
        for row in rows:
            try:
                message = _message(row)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}, line {row.line}: {str(error)[:200]}") from None
            yield row, message


def _message(row: ListedRow) -> input_pb2.Example:
    message = input_pb2.Example(example_id=row.settings["id"])
    write_target(message, Example("", **row.settings))
    # Raises for a lone surrogate, which cannot be stored.
    row.text.encode()
    if "\0" in row.text:
        raise ValueError("a text with a NUL character.")
    return message


class _Lines:
    """The lines of a list; each example has at most `MAX_ROW` characters."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self._text = text
        self._name = name
        self._taken = 0

    def row_ended(self) -> None:
        """Record that the next line begins another example."""
        self._taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW + 1)
        if not line:
            raise StopIteration
        self._taken += len(line)
        if self._taken > MAX_ROW:
            raise ValueError(f"{self._name}, which has an example of more than {MAX_ROW} characters.")
        return line
