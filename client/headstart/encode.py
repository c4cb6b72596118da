"""Encode settings as messages, by the messages' descriptors."""

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from headstart.label_values import LabelValue
from headstart.spec import RECIPES, FineTuneSpec, PromotionGate, Recipe
from headstart.v1 import comparison_pb2, label_pb2
from headstart.v1 import job_pb2 as pb

_LABEL = "headstart.v1.Label"
_KINDS = {"Duration": "a timedelta", "Timestamp": "a datetime"}

Filled = TypeVar("Filled", bound=Message)


def spec_message(spec: FineTuneSpec, *, validate_only: bool = False) -> pb.FineTuneSpec:
    """Return the message of a spec."""
    message = encode(spec, pb.FineTuneSpec(validate_only=validate_only))
    if isinstance(spec.parent, int):
        message.parent_version = spec.parent
    elif spec.parent is not None:
        message.parent_alias = spec.parent
    return message


def recipe_message(recipe: Recipe) -> pb.Recipe:
    """Return the message of a recipe."""
    (name,) = (name for name, kind in RECIPES.items() if isinstance(recipe, kind))
    message = pb.Recipe()
    chosen = getattr(message, name)
    chosen.SetInParent()
    encode(recipe, chosen)
    return message


def gate_message(gate: PromotionGate | None) -> comparison_pb2.PromotionGate | None:
    """Return the message of a gate; None for None."""
    return None if gate is None else encode(gate, comparison_pb2.PromotionGate())


def label_message(label: LabelValue) -> label_pb2.Label:
    """Return the message of a label: a class, several classes, a number, or classes with probabilities."""
    if isinstance(label, str):
        return label_pb2.Label(class_name=label)
    if isinstance(label, Mapping):
        return label_pb2.Label(probabilities=label_pb2.SoftLabel(probabilities=label))
    if isinstance(label, Real) and not isinstance(label, Integral):
        return label_pb2.Label(number=float(label))
    if not isinstance(label, Collection) or not all(isinstance(each, str) for each in label):
        raise TypeError(
            "A label must be a class, a list of classes, a float, or classes with probabilities. "
            "Give an integer as a text if it is a class, or as a float if it is a number. "
            f"Received: {label!r}"
        )
    return label_pb2.Label(classes=label_pb2.LabelSet(class_names=label))


def encode(value: Any, message: Filled) -> Filled:
    """Copy a dataclass's fields to a message's fields of the same names, and return the message.

    None leaves a field unset. Fields that the message lacks are skipped.
    """
    for each in fields(value):
        item = getattr(value, each.name)
        field = message.DESCRIPTOR.fields_by_name.get(each.name)
        if field is not None and item is not None:
            _set(message, field, item)
    return message


def _set(message: Message, field: Any, item: Any) -> None:
    if field.enum_type is not None:
        if item == "UNSPECIFIED":
            return
        setattr(message, field.name, _number(field.name, field.enum_type, item))
    elif field.message_type is None:
        if field.is_repeated:
            getattr(message, field.name).extend(item)
        else:
            _set_value(message, field, item)
    else:
        _set_message(message, field, item)


def _set_value(message: Message, field: Any, item: Any) -> None:
    try:
        setattr(message, field.name, item)
    except TypeError:
        kind = "a str" if field.type == field.TYPE_STRING else "a number"
        raise TypeError(f"{field.name} must be {kind}. Received: {item!r}") from None


def _set_message(message: Message, field: Any, item: Any) -> None:
    if field.message_type.full_name == _LABEL:
        getattr(message, field.name).CopyFrom(label_message(item))
    elif field.message_type.GetOptions().map_entry:
        getattr(message, field.name).update(item)
    elif field.is_repeated:
        for each in item:
            encode(each, getattr(message, field.name).add())
    elif isinstance(item, datetime):
        getattr(message, field.name).FromDatetime(item)
    elif isinstance(item, timedelta):
        getattr(message, field.name).FromTimedelta(item)
    elif isinstance(item, Recipe):
        getattr(message, field.name).CopyFrom(recipe_message(item))
    elif not is_dataclass(item):
        kind = _KINDS.get(field.message_type.name, f"a {field.message_type.name}")
        raise TypeError(f"{field.name} must be {kind}. Received: {item!r}")
    else:
        nested = getattr(message, field.name)
        nested.SetInParent()
        encode(item, nested)


def _number(field: str, descriptor: EnumDescriptor, name: str) -> int:
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    value = descriptor.values_by_name.get(prefix + name.upper())
    if value is None:
        names = ", ".join(each.name.removeprefix(prefix).lower() for each in descriptor.values[1:])
        raise ValueError(f"{field} must be one of {names}. Received: {name!r}")
    return value.number
