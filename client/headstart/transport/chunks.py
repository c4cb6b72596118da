"""Splits inputs into portions for single calls."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import grpc

from headstart.control_characters import without_controls
from headstart.errors import ErrorDetails, FieldViolation, HeadstartError, InvalidArgument, PredictionError
from headstart.inputs.inputs import input_message
from headstart.inputs.prediction_inputs import NamedInput
from headstart.transport.status import MESSAGE_TOO_LARGE, metadata_number, too_large
from headstart.v1 import input_pb2

MAX_CALL_BYTES: Final = 16 * 2**20
MAX_CALL_INPUTS: Final = 256
_OTHER_BYTES: Final = 64 * 2**10  # of the targets and settings of a call, at most
# An input in a field's path, and in a message for people.
_FIELD: Final = re.compile(r"\binputs\[(\d{1,9})\]")
# The message of the first invalid input has the number of all.
_COUNT: Final = re.compile(r" \(\d+ of \d+ inputs are at fault\.\)$")
_INPUT: Final = re.compile(r"\b(inputs\[|[Ii]nput )(\d{1,9})\b(\](?:\.\w+)?)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A portion of the inputs."""

    first: int  # index of its first item among all inputs
    items: Sequence[NamedInput]  # its items
    inputs: Sequence[input_pb2.Input]  # messages of the sent items
    places: Sequence[int]  # index of each message's item in this portion
    # errors of unusable items, by index in this portion
    errors: Mapping[int, PredictionError] = field(default_factory=dict)

    def name(self, place: int) -> str:
        """Return the name of the item at an index of this portion; may be empty."""
        return self.items[place].name

    def error(self, number: int, message: str, reason: str) -> PredictionError:
        """Return the error of a message, by its index among the sent ones."""
        place = self.places[number]
        item, index = self.items[place], self.first + place
        text = _relocated_text(message, self)
        if text == message and not message.startswith(f"Input {index}: "):
            text = f"{item.name or f'Input {index}'}: {message}"
        return PredictionError(without_controls(text) + item.hint, index=index, name=item.name, reason=reason)


class CallSize:
    """The maximum size of the inputs of a call. It shrinks if the server accepts less."""

    def __init__(self) -> None:
        self.max_bytes = MAX_CALL_BYTES

    def divide(self, chunk: Chunk, error: HeadstartError) -> list[Chunk]:
        """Return smaller portions of one that the server rejected for its size; raise another error."""
        if error.reason != MESSAGE_TOO_LARGE or len(chunk.inputs) < 2:
            raise error
        sizes = [each.ByteSize() for each in chunk.inputs]
        limit = metadata_number(error, "limit")
        if limit is None:
            limit = sum(sizes) // 2
        self.max_bytes = min(self.max_bytes, max(limit - _OTHER_BYTES, 1))
        messages = dict(zip(chunk.places, zip(chunk.inputs, sizes, strict=True), strict=True))
        portions = [_Portion(chunk.first)]
        for place, item in enumerate(chunk.items):
            if place not in messages:
                portions[-1].fail(item, chunk.errors[place])
                continue
            message, size = messages[place]
            if portions[-1].inputs and portions[-1].size + size > min(self.max_bytes, sum(sizes) - 1):
                portions.append(_Portion(chunk.first + place))
            portions[-1].add(item, message, size)
        return [portion.chunk() for portion in portions]


def chunks(
    items: Iterable[NamedInput],
    *,
    max_inputs: int = MAX_CALL_INPUTS,
    keep_errors: bool = False,
    size_limit: CallSize | None = None,
) -> Iterator[Chunk]:
    """Yield portions of inputs, reading only the inputs of the current portion.

    Args:
        items: the inputs.
        max_inputs: maximum number of inputs of a call.
        keep_errors: whether errors of unusable inputs are kept instead of raised.
        size_limit: maximum size of the inputs of a call, read for each portion.
    """
    limit = size_limit or CallSize()
    portion = _Portion(0)
    for index, item in enumerate(items):
        try:
            message = _message(index, item)
        except (OSError, TypeError, ValueError) as error:
            if not keep_errors:
                raise
            failed = PredictionError(
                _message_of(error, item), index=index, name=item.name, reason="INVALID_INPUT"
            )
            failed.__cause__ = error
            portion.fail(item, failed)
        else:
            size = message.ByteSize()
            if portion.inputs and portion.size + size > limit.max_bytes:
                yield portion.chunk()
                portion = _Portion(index)
            portion.add(item, message, size)
        if len(portion.items) == max_inputs:
            yield portion.chunk()
            portion = _Portion(index + 1)
    if portion.items:
        yield portion.chunk()


def input_error(chunk: Chunk, error: HeadstartError) -> HeadstartError:
    """Return the error of the only input if the server rejected the call for its size; else the error."""
    limit = metadata_number(error, "limit")
    if error.reason != MESSAGE_TOO_LARGE or len(chunk.inputs) != 1 or limit is None:
        return error
    message = too_large("Input 0", chunk.inputs[0].ByteSize(), limit)
    return InvalidArgument(
        ErrorDetails(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message=message,
            reason="INPUT_TOO_LARGE",
            field_violations=(FieldViolation(field="inputs[0]", description=message),),
        )
    )


def without_invalid(chunk: Chunk, error: HeadstartError) -> Chunk:
    """Return a portion without the inputs that an error names; raise an error that names no input."""
    invalid: dict[int, str] = {}
    if isinstance(error, InvalidArgument):
        for violation in error.field_violations:
            match = _FIELD.match(violation.field)
            if match is not None and int(match[1]) < len(chunk.inputs):
                invalid.setdefault(int(match[1]), violation.description)
    if not invalid:
        raise relocated(error, chunk) from None
    errors = dict(chunk.errors)
    for number, description in invalid.items():
        errors[chunk.places[number]] = chunk.error(number, _COUNT.sub("", description), error.reason)
    kept = [number for number in range(len(chunk.inputs)) if number not in invalid]
    return replace(
        chunk,
        inputs=[chunk.inputs[number] for number in kept],
        places=[chunk.places[number] for number in kept],
        errors=errors,
    )


def relocated(error: HeadstartError, chunk: Chunk) -> HeadstartError:
    """Return the error of one of several calls, with the names or global indices of its inputs."""
    violations = tuple(
        FieldViolation(
            field=_FIELD.sub(lambda match: f"inputs[{_global_index(chunk, int(match[1]))}]", each.field),
            description=_relocated_text(each.description, chunk),
        )
        for each in error.field_violations
    )
    message = _relocated_text(error.message, chunk)
    if match := _FIELD.match(violations[0].field if violations else ""):
        place = int(match[1]) - chunk.first
        message += chunk.items[place].hint if 0 <= place < len(chunk.items) else ""
    if message == error.message and violations == error.field_violations:
        return error
    return type(error)(replace(error.details, message=message, field_violations=violations))


class _Portion:
    def __init__(self, first: int) -> None:
        self.first = first
        self.items: list[NamedInput] = []
        self.inputs: list[input_pb2.Input] = []
        self.size = 0
        self._places: list[int] = []
        self._errors: dict[int, PredictionError] = {}

    def add(self, item: NamedInput, message: input_pb2.Input, size: int) -> None:
        self._places.append(len(self.items))
        self.items.append(item)
        self.inputs.append(message)
        self.size += size

    def fail(self, item: NamedInput, error: PredictionError) -> None:
        self._errors[len(self.items)] = error
        self.items.append(item)

    def chunk(self) -> Chunk:
        return Chunk(
            first=self.first, items=self.items, inputs=self.inputs, places=self._places, errors=self._errors
        )


def _global_index(chunk: Chunk, number: int) -> int:
    return chunk.first + (chunk.places[number] if number < len(chunk.places) else number)


def _relocated_text(text: str, chunk: Chunk) -> str:
    def shifted(match: re.Match[str]) -> str:
        number = int(match[2])
        name = chunk.name(chunk.places[number]) if number < len(chunk.places) else ""
        return name or f"{match[1]}{_global_index(chunk, number)}{match[3] or ''}"

    return _INPUT.sub(shifted, text)


def _message(index: int, item: NamedInput) -> input_pb2.Input:
    try:
        return input_message(item.content)
    except OSError as error:
        if not item.cells or error.filename is None:
            raise
        raise type(error)(error.errno, f"{item.name}: {error.strerror}", error.filename) from None
    except (TypeError, ValueError) as error:
        name = item.name or f"inputs[{index}]"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(str(error) if str(error).startswith(name) else f"{name}: {error}") from error


def _message_of(error: Exception, item: NamedInput) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        # The reason of a row begins with the row.
        return f"{error.strerror}: {error.filename}" if item.cells else f"{error.filename}: {error.strerror}"
    return str(error)
