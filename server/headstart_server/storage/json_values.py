"""Dataclasses as JSON values, derived from their annotations."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

Decode = Callable[[Any], Any]
_PLAIN = frozenset((str, int, bool, NoneType))


class JsonValue:
    """Base of dataclasses that are stored as JSON, including nested ones.

    JSON has no infinite numbers, so they are stored as strings.
    """

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return _encoded_fields(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the value of `to_json`; raise KeyError, TypeError or ValueError if it is invalid.

        A server of a newer release that shares the storage may write further fields, which are ignored.
        """
        kind: Any = cls
        value: Self = _fields_decoder(kind)(values)
        return value


def known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values for which a dataclass has fields."""
    return {name: values[name] for name in _names(kind) if name in values}


def _encoded(value: Any) -> Any:
    # The common case: the checks below take ten times as long.
    kind = type(value)
    if kind in _PLAIN or (kind is float and isfinite(value)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return value.to_json() if isinstance(value, JsonValue) else _encoded_fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, tuple | list):
        return list(map(_encoded, value))
    return dict(value) if isinstance(value, Mapping) else value


def _encoded_fields(value: Any) -> dict[str, Any]:
    kind: Any = type(value)
    return {name: _encoded(getattr(value, name)) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _decoder(kind: Any) -> Decode | None:
    """Return the function that decodes a value of an annotated type; None if JSON represents it directly."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _optional(next(one for one in arguments if one is not NoneType))
    if origin is tuple:
        return _sequence(arguments)
    if isinstance(kind, type):
        if issubclass(kind, JsonValue):
            return kind.from_json
        if is_dataclass(kind):
            return _fields_decoder(kind)
        if issubclass(kind, Enum | float):
            return kind
    return None


def _optional(kind: Any) -> Decode | None:
    decode = _decoder(kind)
    return decode and (lambda value: None if value is None else decode(value))


def _sequence(arguments: tuple[Any, ...]) -> Decode:
    decode = _decoder(arguments[0])
    return tuple if decode is None else lambda values: tuple(map(decode, values))


@cache
def _fields_decoder(kind: Any) -> Decode:
    hints = get_type_hints(kind)
    found = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    decoders = {name: decode for name, decode in found.items() if decode is not None}

    def decoded(values: Mapping[str, Any]) -> Any:
        read = {name: decode(values[name]) for name, decode in decoders.items() if name in values}
        return kind(**{**known(kind, values), **read})

    return decoded
