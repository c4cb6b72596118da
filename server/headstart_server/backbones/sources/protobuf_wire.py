"""Parse protobuf messages without their generated classes."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

#: Wire types: varint, 8 bytes, length-delimited bytes, 4 bytes.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes are not a protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value (integer or bytes) of each field; raise `WireError` if malformed."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if number and kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, place = _varint(message, place)
        if not number or length is None or place + length > len(message):
            raise WireError(f"Expected a protobuf message. Received: {len(message)} other bytes.")
        yield number, message[place : place + length]
        place += length


def fields_by_number(message: bytes) -> defaultdict[int, list[Any]]:
    """Return the values of a message, integers or bytes, by field; raise `WireError` if malformed."""
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for number, value in fields(memoryview(message)):
        found[number].append(value if isinstance(value, int) else bytes(value))
    return found


def messages(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield the messages, texts or bytes at a path of field numbers; raise `WireError` if malformed."""
    first, *rest = path
    for number, value in fields(message):
        if number == first and isinstance(value, memoryview):
            if rest:
                yield from messages(value, *rest)
            else:
                yield value


def texts(message: memoryview, *path: int) -> list[str]:
    """Yield the texts at a path of field numbers; raise `WireError` if malformed or not UTF-8."""
    try:
        return [bytes(value).decode() for value in messages(message, *path)]
    except UnicodeDecodeError as error:
        raise WireError(f"Expected a text in UTF-8. Received: {error}.") from None


def field(number: int, value: bytes | memoryview) -> bytes:
    """Encode one field of bytes."""
    return _written(number << 3 | _BYTES) + _written(len(value)) + bytes(value)


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise WireError(f"Expected a protobuf message. Received: {len(message)} other bytes.")


def _written(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
