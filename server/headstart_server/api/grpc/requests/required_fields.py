"""Checks that requests have the fields that the contract calls REQUIRED."""

from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from headstart_server.errors import InvalidField


def check_required(message: Message) -> None:
    """Check that a request has its required fields; those of list entries are checked where they are used.

    Raises:
        InvalidField: a field is missing; it is named by its path.
    """
    missing = _missing(message)
    if missing:
        raise InvalidField(f"{missing} is missing. Set it in the request.", field=missing)


def is_required(field: FieldDescriptor) -> bool:
    """Return whether the contract calls a field REQUIRED."""
    options = field.GetOptions()
    return field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]


def _missing(message: Any) -> str:
    for field, required, has_inner in _fields(message.DESCRIPTOR):
        is_set = message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))
        if not is_set:
            if required:
                return field.name
        elif has_inner:
            inner = _missing(getattr(message, field.name))
            if inner:
                return f"{field.name}.{inner}"
    return ""


@cache
def _fields(kind: Descriptor) -> tuple[tuple[FieldDescriptor, bool, bool], ...]:
    """Return the fields to check: with whether each is required, and whether its message has such fields."""
    found = []
    for field in kind.fields:
        inner = None if field.is_repeated else field.message_type
        has_inner = inner is not None and bool(_fields(inner))
        if is_required(field) or has_inner:
            found.append((field, is_required(field), has_inner))
    return tuple(found)
