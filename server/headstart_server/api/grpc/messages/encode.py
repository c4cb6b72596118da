"""Encode values as messages, field by field, by descriptors; `headstart.decode` is the reverse."""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headstart.v1 import label_pb2
from headstart_server.api.grpc.messages.times import duration, timestamp
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task

Kind = TypeVar("Kind", bound=Message)
Member = TypeVar("Member", bound=Enum)
Convert: TypeAlias = Callable[[Any], Any]

#: Attributes of values whose names are longer in the contract.
_SHORT_NAMES: Mapping[str, str] = {
    "example_id": "id",
    "version": "number",
    "create_time": "created",
    "update_time": "updated",
    "start_time": "started",
    "end_time": "finished",
    "expire_time": "expires",
    "event_time": "time",
    "size_bytes": "nbytes",
}
_NO_VALUE = object()


def message_of(value: Any, kind: type[Kind], /, **others: Any) -> Kind:
    """Return the message of a value, whose attributes have the names of the message's fields.

    Nested values, enums, labels, times in seconds since 1970 and durations in seconds are converted. None
    leaves a field unset.

    Args:
        others: fields that the value lacks or has in another form.

    Raises:
        AttributeError: neither the value nor `others` have a field.
    """
    converters = _converters(cast(Descriptor, kind.DESCRIPTOR))
    return kind(
        **{
            name: convert(others[name] if name in others else _attribute(value, name))
            for name, convert in converters.items()
        }
    )


def label_message(target: Target) -> label_pb2.Label:
    """Return the message of a target."""
    if target.task is Task.REGRESSION:
        return label_pb2.Label(number=target.value)
    if target.task is Task.MULTI_LABEL:
        return label_pb2.Label(classes=label_pb2.LabelSet(class_names=target.shares))
    if target.is_hard:
        return label_pb2.Label(class_name=target.label)
    return label_pb2.Label(probabilities=label_pb2.SoftLabel(probabilities=target.shares))


def numbers_of(kind: type[Member], enum: Any) -> dict[Member, Any]:
    """Return the number of each member in the contract, whose names have the enum's prefix.

    Raises:
        KeyError: the contract lacks a member.
    """
    numbers = _numbers(enum.DESCRIPTOR)
    return {member: numbers[member.name] for member in kind}


def _numbers(enum: EnumDescriptor) -> dict[str, int]:
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix): value.number for value in enum.values}


def _attribute(value: Any, name: str) -> Any:
    found = getattr(value, name, _NO_VALUE)
    return getattr(value, _SHORT_NAMES.get(name, name)) if found is _NO_VALUE else found


@cache
def _converters(descriptor: Descriptor) -> Mapping[str, Convert]:
    return {field.name: _converter(field) for field in descriptor.fields}


def _converter(field: FieldDescriptor) -> Convert:
    """Return the function that converts the value of a field."""
    if not field.is_repeated:
        convert = _single_converter(field)
        return lambda value: None if value is None else convert(value)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        convert = _single_converter(field.message_type.fields_by_name["value"])
        return lambda values: {key: convert(value) for key, value in values.items()}
    convert = _single_converter(field)
    return lambda values: map(convert, values)


def _single_converter(field: FieldDescriptor) -> Convert:
    if field.enum_type is not None:
        numbers = _numbers(field.enum_type)
        return lambda value: numbers[value.name] if isinstance(value, Enum) else value
    if field.message_type is None:
        return lambda value: value
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            return timestamp
        case "google.protobuf.Duration":
            return duration
    kind = GetMessageClass(field.message_type)

    def nested(value: Any) -> Message:
        if isinstance(value, Message):
            return value
        return label_message(value) if isinstance(value, Target) else message_of(value, kind)

    return nested
