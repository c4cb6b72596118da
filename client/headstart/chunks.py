"""Many inputs, cut into the portions of single calls."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from headstart.errors import FieldViolation, HeadstartError
from headstart.inputs import Content, input_message
from headstart.v1 import input_pb2

__all__ = ["MAX_CALL_BYTES", "MAX_CALL_INPUTS", "Chunk", "chunks", "listed", "relocated"]

MAX_CALL_BYTES: Final = 16 * 2**20
MAX_CALL_INPUTS: Final = 256
# As a field's path names an input, and as a message for people does.
_INPUT_INDEX: Final = re.compile(r"(\binputs\[|\b[Ii]nput )(\d+)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The inputs of one call.

    Attributes:
        first: the index of its first input among all.
        inputs: the inputs.
    """

    first: int
    inputs: list[input_pb2.Input]


def listed(inputs: Content | Sequence[Content]) -> Sequence[Content]:
    """The inputs as a list: only a list or a tuple is many, whatever else can be iterated."""
    return inputs if isinstance(inputs, list | tuple) else [cast(Content, inputs)]


def chunks(
    contents: Iterable[Content], *, max_bytes: int = MAX_CALL_BYTES, max_inputs: int = MAX_CALL_INPUTS
) -> Iterator[Chunk]:
    """Reads inputs and cuts them into the portions of single calls, no further than the one it gives.

    Args:
        contents: the inputs.
        max_bytes: of a call; an input that is larger by itself gets a call of its own.
        max_inputs: of a call.

    Raises:
        OSError: a file cannot be read.
        TypeError: an input is none of the kinds there are.
        ValueError: an array does not fit the contract.
    """
    portion: list[input_pb2.Input] = []
    size = first = 0
    for index, content in enumerate(contents):
        message = _located_message(index, content)
        if portion and (size + message.ByteSize() > max_bytes or len(portion) == max_inputs):
            yield Chunk(first=first, inputs=portion)
            portion, size, first = [], 0, index
        portion.append(message)
        size += message.ByteSize()
    if portion:
        yield Chunk(first=first, inputs=portion)


def relocated(error: HeadstartError, first: int) -> HeadstartError:
    """The error of one of several calls, with the inputs' indices among the inputs of all calls."""
    if first == 0:
        return error

    def shifted(text: str) -> str:
        return _INPUT_INDEX.sub(lambda found: f"{found[1]}{int(found[2]) + first}", text)

    violations = tuple(
        FieldViolation(field=shifted(each.field), description=shifted(each.description))
        for each in error.field_violations
    )
    details = replace(error.details, message=shifted(error.message), field_violations=violations)
    return type(error)(details)


def _located_message(index: int, content: Content) -> input_pb2.Input:
    try:
        return input_message(content)
    except TypeError as error:
        raise TypeError(f"inputs[{index}]: {error}") from error
    except ValueError as error:
        raise ValueError(f"inputs[{index}]: {error}") from error
