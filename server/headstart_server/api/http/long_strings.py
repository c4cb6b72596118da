"""Long strings of JSON, which are set in messages without protobuf's JSON parser.

Strings that are too long for a text are contents in base64, which are decoded in parts. Long texts are set
directly, because protobuf would search them for invalid characters, 80 ns each, and keep Python's lock.
"""

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from headstart_server.api.grpc.requests.limits import MAX_TEXT

#: Characters that are decoded while other threads wait; divisible by 4.
_PART = 64 << 10
#: Translates both alphabets of base64 to the first one and ignores other characters, as protobuf does.
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_IGNORED = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"))

#: Characters from which a text is long.
LONG_TEXT = 64 << 10

_Path = tuple[str | int, ...]


@dataclass(frozen=True, repr=False, slots=True)
class LongString:
    """A string of more characters than a text may have."""

    content: bytes  # the string in UTF-8

    def __repr__(self) -> str:
        return f"a string of more than {MAX_TEXT} characters"

    def decoded(self, start: int = 0) -> bytes:
        """Return the decoded base64 from a position on. Raise ValueError if it is invalid."""
        end = self.content.find(b"=", start)
        end = len(self.content) if end < 0 else end
        parts, rest = [], b""
        for place in range(start, end, _PART):
            part = self.content[place : min(place + _PART, end)].translate(_ALPHABET, _IGNORED)
            whole = rest + part
            usable = len(whole) // 4 * 4
            parts.append(binascii.a2b_base64(whole[:usable]))
            rest = whole[usable:]
        if rest:
            parts.append(binascii.a2b_base64(rest + b"=" * (4 - len(rest))))
        return b"".join(parts)


class LongStrings:
    """The long strings in JSON values, each of which is replaced with an empty one.

    Args:
        values: the JSON values, which are changed.
    """

    def __init__(self, values: Any) -> None:
        self._found = list(_taken(values, ()))

    def put_into(self, message: Message) -> int:
        """Set the fields of a message that was read from the values; return the fields' bytes.

        Raise ValueError if a field is not of type bytes, or the string is not base64.
        """
        return sum(_put(message, path, string) for path, string in self._found)


class LongTexts:
    """The long texts in the fields of a message, each of which is replaced with an empty one.

    Args:
        values: the JSON values for protobuf's parser, which are changed.
    """

    def __init__(self, values: Any, message: Any) -> None:
        self._found = list(_texts(values, message, ()))

    def put_into(self, message: Message) -> None:
        """Set the fields of a message that was read from the values.

        Raise ValueError for invalid characters.
        """
        for path, name, text in self._found:
            setattr(_part(message, path), name, text)


def _texts(values: Any, message: Any, path: _Path) -> Iterator[tuple[_Path, str, str]]:
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        field = _field(message, name)
        if field is None:
            continue
        inner = field.message_type
        if inner is None:
            is_text = field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
            if is_text and isinstance(value, str) and len(value) > LONG_TEXT:
                values[name] = ""
                yield path, field.name, value
        elif not inner.GetOptions().map_entry and inner.file.package != "google.protobuf":
            parts = enumerate(value) if field.is_repeated and isinstance(value, list) else [(None, value)]
            for number, part in parts:
                yield from _texts(part, inner, (*path, name) if number is None else (*path, name, number))


def _taken(values: Any, path: _Path) -> Iterator[tuple[_Path, LongString]]:
    if isinstance(values, dict):
        entries: Any = values.items()
    elif isinstance(values, list):
        entries = enumerate(values)
    else:
        return
    for key, value in entries:
        if isinstance(value, LongString):
            values[key] = ""
            yield (*path, key), value
        elif isinstance(value, dict | list):
            yield from _taken(value, (*path, key))


def _put(message: Any, path: Sequence[str | int], string: LongString) -> int:
    part = _part(message, path[:-1])
    field = _field(part.DESCRIPTOR, path[-1]) if isinstance(part, Message) else None
    if field is None or field.type != FieldDescriptor.TYPE_BYTES or field.is_repeated:
        raise ValueError(f"{_text_of(path)} has more than {MAX_TEXT} characters")
    try:
        content = string.decoded()
    except ValueError as error:
        raise ValueError(f"{_text_of(path)} is not base64: {error}") from None
    setattr(part, field.name, content)
    return len(content)


def _part(message: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path."""
    part = message
    for step in path:
        part = part[step] if isinstance(step, int) else _value(part, step)
    return part


def _value(part: Any, name: str) -> Any:
    field = _field(part.DESCRIPTOR, name) if isinstance(part, Message) else None
    return part[name] if field is None else getattr(part, field.name)


def _field(message: Any, name: str | int) -> FieldDescriptor | None:
    if isinstance(name, int):
        return None
    found: FieldDescriptor | None = message.fields_by_name.get(name)
    return found or message.fields_by_camelcase_name.get(name)


def _text_of(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")[:200]
