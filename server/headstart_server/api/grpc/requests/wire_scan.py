"""Count the elements of a serialized request before it is parsed.

Parsing creates an object for each element: 64 MiB of empty messages, two bytes each, take gigabytes. The scan
follows tags and lengths only, skips texts and bytes, and stops at the first field that exceeds its limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from headstart_server.api.grpc.requests.limit import Limit
from headstart_server.api.grpc.requests.limits import MAX_INTEGERS
from headstart_server.api.grpc.requests.request_checks import LimitExceededError, limit_of, too_long, too_many
from headstart_server.errors import InvalidField

#: Maximum tags of one message. Parsing takes about 50 ns for each and holds the interpreter's lock meanwhile.
MAX_TAGS = 300_000
#: Maximum bytes that a message may take after parsing, in addition to its own size.
MAX_EXPANSION = 64 << 20

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
#: Maximum unknown fields of one message, which may be of a newer contract.
MAX_UNKNOWN = 1000
#: Maximum occurrences of a single value in one message, of which the last one counts.
MAX_REPEATS = 16
#: Bytes of a varint that another byte follows; its last byte is below 0x80.
_CONTINUED = bytes(range(0x80, 0x100))
_PIECE = 1 << 20
#: Bytes in memory of one text, and of a message without its fields.
_TEXT_BYTES, _MESSAGE_BYTES, _FIELD_BYTES = 32, 40, 8
_NUMBER_BYTES = {
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    FieldDescriptor.CPPTYPE_INT64: 8,
    FieldDescriptor.CPPTYPE_UINT64: 8,
    FieldDescriptor.CPPTYPE_DOUBLE: 8,
}
_FIXED_NUMBERS = {
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
}


class TooManyElementsError(InvalidField):
    """A request has too many elements in total, although each field is within its limit."""


class GroupError(DecodeError):
    """The message holds a group, or an unknown wire type."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field in the form for the scan."""

    name: str
    limit: Limit
    most: int
    longest: int  # maximum bytes of a value; 0 for no limit
    nbytes: int  # bytes in memory of each element
    is_list: bool  # whether its path has the index of an entry
    width: int  # bytes of a packed number; 0 for varints, -1 for unpacked types
    inner: "Mapping[int, _Field] | None"  # the fields of a message in it; None for other types

    def at(self, index: int) -> str:
        return f"{self.name}[{index}]" if self.is_list else self.name


@dataclass(slots=True)
class _Budget:
    """The tags of the scanned messages, and the remaining bytes in memory and integers."""

    nbytes: int
    integers: int
    max_tags: int
    tags: int = 0


@cache
def fields_of(kind: Descriptor) -> Mapping[int, Any]:
    """Return the fields of a message type in the form for the scan, by field number.

    Raise ValueError if a field has no limit.
    """
    return {each.number: _field(each) for each in kind.fields}


def scan(content: bytes, kind: Descriptor, max_tags: int = MAX_TAGS) -> None:
    """Check the number of elements of a serialized request, and the length of its values.

    Raises:
        TooManyElementsError: the message has too many elements in total.
        InvalidField or InvalidLabel: a field exceeds its limit.
        DecodeError: the bytes are not a message.
    """
    budget = _Budget(nbytes=MAX_EXPANSION + len(content), integers=MAX_INTEGERS, max_tags=max_tags)
    try:
        _scan(content, 0, len(content), fields_of(kind), budget)
    except LimitExceededError as exceeded:
        raise exceeded.error() from None
    except IndexError:
        raise DecodeError("The message ends within a field.") from None


def _scan(  # noqa: PLR0912 - one loop: calls for each tag would double its time
    content: bytes, place: int, end: int, fields: Mapping[int, _Field], budget: _Budget
) -> None:
    counts: dict[int, int] = {}
    tags = unknown = 0
    while place < end:
        tags += 1
        key = content[place]
        place += 1
        if key >= 0x80:
            key, place = _varint(content, place - 1)
        number, kind, length = key >> 3, key & 7, 0
        if kind == _BYTES:
            length = content[place]
            place += 1
            if length >= 0x80:
                length, place = _varint(content, place - 1)
        elif kind == _VARINT:
            if content[place] >= 0x80:
                _, place = _varint(content, place)
            else:
                place += 1
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise GroupError(f"Wire type {kind} is not used by this contract.")
        if (known := fields.get(number)) is None:
            unknown += 1
            if unknown > MAX_UNKNOWN:
                raise _too_many_unknown()
        else:
            added = 1
            if known.width >= 0 and kind == _BYTES:
                added = _packed_numbers(content, place, length, known)
            counts[number] = count = counts.get(number, 0) + added
            if count > known.most:
                raise too_many(known.limit, f"more than {known.most}").within(known.name)
            if length > known.longest > 0:
                raise too_long(known.limit, f"{length} bytes").within(known.name)
            budget.nbytes -= added * known.nbytes
            if not known.width:
                budget.integers -= added
            if known.inner is not None and length:
                try:
                    _scan(content, place, place + length, known.inner, budget)
                except LimitExceededError as exceeded:
                    raise exceeded.within(known.at(count - 1)) from None
        place += length
        if place > end:
            raise DecodeError("A field ends after the end of the message that contains it.")
        if tags + budget.tags > budget.max_tags or budget.nbytes < 0 or budget.integers < 0:
            raise _too_many_elements(budget)
    budget.tags += tags


def _packed_numbers(content: bytes, place: int, length: int, known: _Field) -> int:
    """Return the count of numbers in one occurrence of a repeated field."""
    if known.width:
        return length // known.width
    # A length may claim more than there is.
    end, count = min(place + length, len(content)), 0
    while place < end and count <= known.most:
        # Each number has one byte below 0x80. Other threads can run between pieces.
        piece = content[place : min(place + _PIECE, end)]
        count += len(piece.translate(None, _CONTINUED))
        place += _PIECE
    return count


def _too_many_elements(budget: _Budget) -> TooManyElementsError:
    if budget.integers < 0:
        return TooManyElementsError(
            f"The message has more than {MAX_INTEGERS} integers in its typed fields. "
            "Send the values of a tensor as raw bytes, or split the request."
        )
    return TooManyElementsError(
        f"The message has more than {MAX_TAGS} fields, or they need more than {MAX_EXPANSION >> 20} MiB of "
        "memory in addition to its size. Split the request."
    )


def _too_many_unknown() -> InvalidField:
    return InvalidField(
        f"The message has more than {MAX_UNKNOWN} fields that this server does not know. "
        "Check that it is a message of this contract."
    )


def _field(each: FieldDescriptor) -> _Field:
    limit = limit_of(each) or Limit()
    if limit.entries is None:
        limit = replace(limit, entries=MAX_REPEATS)
    inner = each.message_type
    nbytes, width, longest = 0, -1, 0
    if inner is not None:
        nbytes = _MESSAGE_BYTES + _FIELD_BYTES * len(inner.fields)
    elif each.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        nbytes = _TEXT_BYTES
        # A character takes at most four bytes in UTF-8.
        longest = limit.nbytes or 4 * (limit.characters or 0)
    elif each.is_repeated:
        nbytes, width = _NUMBER_BYTES[each.cpp_type], _FIXED_NUMBERS.get(each.type, 0)
    return _Field(
        name=each.name,
        limit=limit,
        most=limit.entries or 0,
        longest=longest,
        nbytes=nbytes,
        is_list=each.is_repeated and not (inner is not None and inner.GetOptions().map_entry),
        width=width,
        inner=None if inner is None else fields_of(inner),
    )


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise DecodeError("A number has more than ten bytes.")
