"""Examples from files that list them: CSV, TSV and JSONL, as the command line reads them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from itertools import islice
from typing import IO, Any

from headstart.inputs import tensors
from headstart.inputs.records import INPUT_COLUMNS
from headstart.inputs.task import Task
from headstart.v1 import input_pb2
from headstart_server.api.grpc.messages.dataset_manifest import list_rows
from headstart_server.errors import InvalidField

#: Rows that are read before others get a turn.
_STEP = 64


def is_row(values: Mapping[str, Any]) -> bool:
    """Return whether the values of a line are a row of a file: they have an input without the key `input`."""
    return "input" not in values and any(name in values for name in INPUT_COLUMNS)


async def examples_of_list(
    file: IO[bytes], suffix: str, task: Task | None
) -> AsyncGenerator[tuple[input_pb2.Example, int], None]:
    """Yield the examples of a list, each with its bytes.

    Args:
        suffix: of files of its format, such as `.csv`.
        task: what is learned; None if that is unknown.
    """
    with file:
        file.seek(0)
        rows = _examples(file, suffix, task)
        while step := await asyncio.to_thread(lambda: list(islice(rows, _STEP))):
            for sized in step:
                yield sized


def _examples(file: IO[bytes], suffix: str, task: Task | None) -> Iterator[tuple[input_pb2.Example, int]]:
    try:
        for row, example in list_rows(file, "the body", suffix, task):
            if row.path:
                raise ValueError(
                    f"the body, line {row.line}: a path cannot be read over HTTP. "
                    "Send the files as a ZIP archive or as a form"
                )
            if row.features is None:
                example.input.text = row.text
            else:
                example.input.tensor.CopyFrom(tensors.encode(row.features))
            example.held_out = row.settings["held_out"]
            if row.settings["weight"] is not None:
                example.weight = row.settings["weight"]
            yield example, example.ByteSize()
    except UnicodeDecodeError as error:
        raise InvalidField(f"The body is not in UTF-8: {error.reason}.") from None
    except ValueError as error:
        text = str(error)
        raise InvalidField(f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}") from None
