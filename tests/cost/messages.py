"""The most expensive messages within the limits of the contract: each field filled to its limit."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from headstart_server.api.grpc.requests.limit import Limit
from headstart_server.api.grpc.requests.request_checks import limit_of

#: Bytes of an entry of a repeated message, at least: its tag and its length.
_ENTRY_BYTES = 2
#: How deep fields are filled: deeper ones are those of recipes and parameters.
_MOST_DEPTH = 5
_SINGLE = Limit()
#: Bytes of a packed number; an integer has one at least.
_NUMBER_BYTES = {FieldDescriptor.CPPTYPE_FLOAT: 4, FieldDescriptor.CPPTYPE_DOUBLE: 8}


def fillings(message: Message, budget: int) -> Iterator[tuple[str, Message]]:
    """Yield a message once for each field below it, with that field as large as it may be.

    Args:
        message: what the other fields are.
        budget: bytes that the message may have.
    """
    for path in _paths(message.DESCRIPTOR, ()):
        filled = type(message)()
        filled.CopyFrom(message)
        if _fill(filled, path, budget):
            yield ".".join(field.name for field in path), filled


def _paths(kind: Descriptor, before: tuple[FieldDescriptor, ...]) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in kind.fields:
        path = (*before, field)
        nested = field.message_type
        if nested is None:
            if field.is_repeated or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                yield path
        elif nested not in {each.containing_type for each in path} and len(path) < _MOST_DEPTH:
            if field.is_repeated:
                yield path
            yield from _paths(nested, path)


def _fill(message: Any, path: tuple[FieldDescriptor, ...], budget: int) -> bool:
    field, *rest = path
    limit = limit_of(field) or _SINGLE
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _fill_map(getattr(message, field.name), field, limit, budget)
    if not field.is_repeated:
        if rest:
            return _fill(getattr(message, field.name), tuple(rest), budget)
        setattr(message, field.name, _value(field, limit, budget))
        return True
    entries = getattr(message, field.name)
    count = limit.entries or 1
    if field.message_type is not None:
        count = min(count, budget // (_ENTRY_BYTES if not rest else 64))
        for place in range(count):
            left = budget // count
            added = entries.add()
            if rest and not _fill(added, tuple(rest), left if place or count > 1 else budget):
                return False
        return True
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        each = max(1, budget // max(1, count) - 8)
        if limit.unique:
            entries.extend(f"{place:04d}"[: max(4, each)] for place in range(count))
        else:
            entries.extend(_value(field, limit, each) for _ in range(min(count, budget // 2)))
        return True
    # Packed numbers.
    one = True if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else 1
    entries.extend([one] * min(count, budget // _NUMBER_BYTES.get(field.cpp_type, 1)))
    return True


def _fill_map(entries: Any, field: FieldDescriptor, limit: Limit, budget: int) -> bool:
    value = field.message_type.fields_by_name["value"]
    for place in range(min(limit.entries or 1, budget // 16)):
        if value.message_type is not None:
            entries[str(place)].SetInParent()
        elif value.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            entries[str(place)] = "a"
        else:
            entries[str(place)] = 0
    return True


def _value(field: FieldDescriptor, limit: Limit, budget: int) -> Any:
    most = min(budget, *(each for each in (limit.characters, limit.nbytes) if each is not None), budget)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(most)
    return "a" * most
