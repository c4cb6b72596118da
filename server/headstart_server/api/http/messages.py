"""Reads messages of the contract from the parts of an HTTP request, by protobuf's JSON mapping."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from headstart.protojson import to_json
from headstart_server.api.http.json_forms import expand
from headstart_server.api.http.json_text import SMALL_BYTES, in_json_thread, load_json
from headstart_server.api.http.large_json import PART_BYTES, large_json
from headstart_server.api.http.long_strings import LongStrings, LongTexts
from headstart_server.errors import InvalidField

#: Messages that JSON represents as a string, so that a query can have them.
_WRITTEN = frozenset({"google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Timestamp"})
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
#: Errors of protobuf's parser; an overflow is a number beyond the range of its field.
_UNREADABLE = (ParseError, RecursionError, ValueError, TypeError, AttributeError, OverflowError)
#: Maximum characters of an error about values that may be long.
_MAX_ERROR = 500
_SWITCHES = {"true": True, "false": False, "1": True, "0": False, "": True}


def parse_json(text: bytes, message: Message, where: str = "the body") -> None:
    """Fill a message from JSON."""
    try:
        values = load_json(text)
    except (UnicodeError, ValueError) as error:
        raise _unreadable(message, where, error) from None
    parse_values(values, message, where)


async def read_json(text: bytes, message: Message, where: str = "the body") -> None:
    """Fill a message from JSON; a large text is read in a thread."""
    if len(text) > SMALL_BYTES:
        await in_json_thread(parse_json, text, message, where)
    else:
        parse_json(text, message, where)


def parse_values(values: Any, message: Message, where: str) -> int:
    """Fill a message from values of JSON, which are changed; return the bytes of its long contents."""
    try:
        strings = LongStrings(values)
        expanded = expand(values, message.DESCRIPTOR)
        if not isinstance(expanded, dict):
            raise ValueError(f"it must be a JSON object. Received: {str(expanded)[:80]}")
        texts = LongTexts(expanded, message.DESCRIPTOR)
        ParseDict(expanded, message)
        texts.put_into(message)
        return strings.put_into(message)
    except _UNREADABLE as error:
        raise _unreadable(message, where, error) from None


def fill(message: Message, values: Mapping[str, Sequence[str]], where: str) -> None:
    """Set fields of a message from texts, by their paths such as `target.alias`."""
    tree: dict[str, Any] = {}
    kind: Any = message.DESCRIPTOR
    for path, texts in values.items():
        _set(tree, kind, path, texts, where)
    try:
        ParseDict(tree, message)
    except _UNREADABLE as error:
        raise _unreadable(message, where, error) from None


def fill_parameters(
    message: Message, path: Mapping[str, Sequence[str]], query: Mapping[str, Sequence[str]]
) -> None:
    """Set fields of a message, which already has those of the body, from query and path."""
    fill(message, query, "the query")
    _check_same(message, path)
    fill(message, path, "the path")


def _check_same(message: Message, values: Mapping[str, Sequence[str]]) -> None:
    """Check that body and query do not contradict the fields in the path."""
    for path, (text,) in values.items():
        part: Any = message
        *above, name = path.split(".")
        for each in above:
            part = getattr(part, each)
        if isinstance(part, Sequence):
            # The path names the only element of the list.
            if part:
                raise InvalidField(
                    f"The path and the body or the query both set {above[-1]}. Set it in one of them.",
                    field=".".join(above),
                )
            continue
        group = part.DESCRIPTOR.fields_by_name[name].containing_oneof
        given = name if group is None else part.WhichOneof(group.name) or name
        value = getattr(part, given)
        if value and (given != name or str(value) != text):
            raise InvalidField(
                f"The path has {name} {text[:80]!r}, and the body or the query has {given} "
                f"{str(value)[:80]!r}. Leave {given} out of the body and the query.",
                field=".".join([*above, given]),
            )


def json_of(message: Message) -> bytes:
    """Return a message as JSON, including default values of fields without presence."""
    if message.ByteSize() > PART_BYTES:
        return large_json(message)
    return to_json(message, indent=2).encode() + b"\n"


def line_of(message: Message) -> str:
    """Return a message as JSON in one line."""
    return to_json(message)


def _unreadable(message: Message, where: str, error: Exception) -> InvalidField:
    text = str(error) or type(error).__name__
    if isinstance(error, json.JSONDecodeError):
        text = f"it is not JSON, {error}"
    if len(text) > _MAX_ERROR:
        text = f"{text[:_MAX_ERROR]}..."
    return InvalidField(f"Cannot read {where} as {_article(message.DESCRIPTOR.name)}: {text.rstrip('.')}.")


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def _set(tree: dict[str, Any], kind: Descriptor, path: str, texts: Sequence[str], where: str) -> None:
    name, _, rest = path.partition(".")
    field = _field(kind, name)
    if field is None:
        raise InvalidField(
            f"{_start(where)} has the unknown field {name[:80]!r}. "
            f"{_start(_article(kind.name))} has the fields {', '.join(_names(kind.fields))}.",
            field=name[:80],
        )
    nested = field.message_type
    is_written = nested is not None and nested.full_name in _WRITTEN
    if rest and nested is not None and nested.GetOptions().map_entry:
        tree.setdefault(field.json_name, {})[rest] = texts[-1]
    elif rest and nested is not None and not is_written and (not field.is_repeated or where == "the path"):
        part = tree.setdefault(field.json_name, [{}] if field.is_repeated else {})
        _set(part[0] if field.is_repeated else part, nested, rest, texts, where)
    elif is_written and rest:
        raise InvalidField(
            f"{_start(where)} has {path[:80]!r}, which is a part of a single value. Set {field.json_name!r}.",
            field=field.name,
        )
    elif rest or (nested is not None and not is_written):
        raise InvalidField(
            f"{_start(where)} cannot set {name}, which is not a single value. Send it in a JSON body.",
            field=field.name,
        )
    else:
        values = [_value(field, text, where) for text in texts]
        if len(values) > 1 and not field.is_repeated:
            raise InvalidField(
                f"{_start(where)} has {name!r} {len(values)} times. Send it once.", field=field.name
            )
        tree[field.json_name] = values if field.is_repeated else values[0]


def _field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    found: FieldDescriptor | None = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)
    return found


def _start(words: str) -> str:
    return words[0].upper() + words[1:]


def _names(fields: Iterable[FieldDescriptor]) -> list[str]:
    return [field.json_name for field in fields]


def _value(field: FieldDescriptor, text: str, where: str) -> Any:
    if field.enum_type is not None:
        return _enum_name(field, text, where)
    if field.cpp_type in _INTEGERS and not re.fullmatch("-?[0-9]+", text):
        raise InvalidField(
            f"Expected a whole number as {field.json_name!r} in {where}. Received: {text[:80]!r}.",
            field=field.name,
        )
    if field.cpp_type != FieldDescriptor.CPPTYPE_BOOL:
        return text
    try:
        return _SWITCHES[text.lower()]
    except KeyError:
        raise InvalidField(
            f"Expected true or false as {field.json_name!r} in {where}. Received: {text[:80]!r}.",
            field=field.name,
        ) from None


def _enum_name(field: FieldDescriptor, text: str, where: str) -> str:
    """Return the name of an enum's value; the text may omit its prefix and be lowercase, such as `html`."""
    kind: Any = field.enum_type
    names: list[str] = [value.name for value in kind.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    long = f"{prefix}{text.upper()}"
    if long in names:
        return long
    if text not in names and not text.isdecimal():
        choices = ", ".join(name.removeprefix(prefix).lower() for name in names[1:])
        raise InvalidField(
            f"Expected one of {choices} as {field.json_name!r} in {where}. Received: {text[:80]!r}.",
            field=field.name,
        )
    return text
