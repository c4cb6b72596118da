"""Decode messages into dataclasses, field by field, by descriptors and annotations."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import UTC, timedelta
from operator import attrgetter
from types import UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

Result = TypeVar("Result")
Reader: TypeAlias = Callable[[Any], Any]
"""Return a value of a message."""
Setter: TypeAlias = Callable[[Any, Any], None]

_MESSAGES: Mapping[str, Reader] = {
    "google.protobuf.Timestamp": lambda message: message.ToDatetime(tzinfo=UTC),
    "google.protobuf.Duration": lambda message: message.ToTimedelta(),
}
_NO_CONTEXT: Mapping[str, Any] = {}


class Decoder:
    """Decoder of messages into dataclasses.

    A dataclass's field is read from the message's field or oneof of the same name and converted as annotated:
    messages to dataclasses, enums to `StrEnum`, timestamps to datetimes, durations to timedeltas, repeated
    fields to tuples, maps to dicts in the order of their keys. An unset field is None if the annotation
    allows it; so is the zero of a number without presence. A field that the message lacks keeps its default.

    Args:
        messages: readers of messages without a dataclass, by full name.
        exceptions: by dataclass and field, the name of the message's field or a reader of the message.
    """

    def __init__(
        self, messages: Mapping[str, Reader], exceptions: Mapping[type, Mapping[str, str | Reader]]
    ) -> None:
        self._messages = {**_MESSAGES, **messages}
        self._exceptions = exceptions
        self._readers: dict[tuple[Descriptor, type], Callable[[Any, Mapping[str, Any]], Any]] = {}

    def decode(self, message: Message, kind: type[Result], /, **context: Any) -> Result:
        """Return a message as a dataclass; `context` has values of fields that the message lacks."""
        descriptor = cast(Descriptor, message.DESCRIPTOR)
        reader = self._readers.get((descriptor, kind))
        if reader is None:
            reader = self._readers[descriptor, kind] = self._dataclass_reader(descriptor, kind)
        return cast(Result, reader(message, context))

    def _dataclass_reader(
        self, descriptor: Descriptor, kind: type
    ) -> Callable[[Any, Mapping[str, Any]], Any]:
        hints = get_type_hints(kind)
        exceptions = self._exceptions.get(kind, {})
        plain: dict[str, Setter] = {}  # by the message's field, which is copied
        converted: list[tuple[Setter, Reader]] = []
        missing: set[str] = set()
        # A frozen dataclass's __init__ takes twice as long as this.
        setters: dict[str, Setter] = {field.name: getattr(kind, field.name).__set__ for field in fields(kind)}
        for field in fields(kind):
            source = exceptions.get(field.name, field.name)
            reader = source if callable(source) else self._reader(descriptor, source, hints[field.name])
            reader = _default_reader(field) if reader is None else reader
            if isinstance(reader, str):
                plain[reader] = setters[field.name]
            elif reader is not None:
                converted.append((setters[field.name], reader))
            else:
                missing.add(field.name)
        read_plain, plain_setters = _attributes(tuple(plain)), tuple(plain.values())

        new: Callable[[type], Any] = object.__new__

        # Hot path of predictions with many classes.
        def read(message: Any, context: Mapping[str, Any] = _NO_CONTEXT) -> Any:
            if missing and not missing <= context.keys():
                raise TypeError(f"{kind.__name__} requires {', '.join(sorted(missing - context.keys()))}.")
            result = new(kind)
            for set_plain, item in zip(plain_setters, read_plain(message), strict=False):
                set_plain(result, item)
            for set_field, reader in converted:
                set_field(result, reader(message))
            for name, item in context.items():
                setters[name](result, item)
            return result

        return read

    def _reader(self, descriptor: Descriptor, source: str, hint: Any) -> Reader | str | None:
        """Return a reader of a field, the field's name if it is copied, or None if it is ignored."""
        if source in descriptor.oneofs_by_name:
            return lambda message: (chosen := message.WhichOneof(source)) and getattr(message, chosen)
        field = descriptor.fields_by_name.get(source)
        if field is None:
            return None
        inner, optional = _without_none(hint)
        if field.is_repeated:
            return self._repeated_reader(field, attrgetter(source), inner)
        return self._single_reader(field, inner, optional=optional)

    def _single_reader(self, field: FieldDescriptor, hint: Any, *, optional: bool) -> Reader | str:
        get, name, convert = attrgetter(field.name), field.name, self._converter(field, hint)
        if not optional:
            return name if convert is None else lambda message: convert(get(message))
        if not field.has_presence:
            return lambda message: get(message) or None if convert is None else convert(get(message))
        if convert is None:
            return lambda message: get(message) if message.HasField(name) else None
        return lambda message: convert(get(message)) if message.HasField(name) else None

    def _repeated_reader(self, field: FieldDescriptor, get: Reader, hint: Any) -> Reader:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            convert_value = self._converter(field.message_type.fields_by_name["value"], get_args(hint)[1])
            if convert_value is None:
                return lambda message: dict(sorted(get(message).items()))
            return lambda message: {k: convert_value(value) for k, value in sorted(get(message).items())}
        convert = self._converter(field, get_args(hint)[0])
        if convert is None:
            return lambda message: tuple(get(message))
        return lambda message: tuple(map(convert, get(message)))

    def _converter(self, field: FieldDescriptor, hint: Any) -> Reader | None:
        """Return the converter of one value of a field; None if it is copied."""
        if field.enum_type is not None:
            return enum_converter(field.enum_type, hint)
        if field.message_type is not None:
            reader = self._messages.get(field.message_type.full_name)
            if reader is not None:
                return reader
            return cast(Reader, self._dataclass_reader(field.message_type, hint))
        if hint is timedelta:
            return lambda milliseconds: timedelta(milliseconds=milliseconds)
        return None


def enum_converter(descriptor: EnumDescriptor, hint: Any) -> Reader:
    """Return a converter of an enum's number to its name, without the enum's prefix.

    An unknown value is UNSPECIFIED. Literals are lower case, and None if unspecified.
    """
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {value.number: value.name.removeprefix(prefix) for value in descriptor.values}
    members: Mapping[str, Any]
    if get_origin(hint) is Literal:
        members = {name.upper(): name for name in get_args(hint)}
    else:
        members = hint.__members__
    values = {number: members[name] for number, name in names.items() if name in members}
    unknown = members.get("UNSPECIFIED")
    return lambda number: values.get(number, unknown)


def _default_reader(field: "Field[Any]") -> Reader | None:
    if field.default is not MISSING:
        return lambda _: field.default
    factory = field.default_factory
    return None if factory is MISSING else lambda _: factory()


def _attributes(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return (kinds[0] if len(kinds) == 1 else hint), len(kinds) < len(get_args(hint))
