"""Write the descriptors of a file as the source text of a `.proto`."""

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

_WIDTH = 100
_INDENT = "  "
#: Options of files and fields that every compiler knows.
_PORTABLE = frozenset({"packed", "deprecated", "allow_alias"})
_MAX_NUMBER = 1 << 29

Comments = Callable[[str], str]


def proto_text(file: FileDescriptorProto, comment: Comments) -> str:
    """Return the source text of a file.

    Args:
        comment: returns the comment of a part by its full name; empty for none.
    """
    return "\n".join(_Writer(file, comment).lines()) + "\n"


class _Writer:
    def __init__(self, file: FileDescriptorProto, comment: Comments) -> None:
        self._file = file
        self._comment = comment
        self._is_proto3 = file.syntax == "proto3"

    def lines(self) -> Iterator[str]:
        file = self._file
        yield f'syntax = "{file.syntax or "proto2"}";'
        yield ""
        yield f"package {file.package};"
        if file.dependency:
            yield ""
            yield from (f"import {_quoted(name)};" for name in file.dependency)
        if options := list(_options(file.options, is_file=True)):
            yield ""
            yield from (f"option {option};" for option in options)
        for service in file.service:
            yield ""
            yield from self._service(service, file.package)
        for message in file.message_type:
            yield ""
            yield from self._message(message, file.package)
        for enum in file.enum_type:
            yield ""
            yield from self._enum(enum, file.package)

    def _service(self, service: ServiceDescriptorProto, scope: str) -> Iterator[str]:
        name = f"{scope}.{service.name}"
        yield from self._commented(name, f"service {service.name} {{")
        for method in service.method:
            sent = f"{'stream ' * method.client_streaming}{_relative(method.input_type, scope)}"
            received = f"{'stream ' * method.server_streaming}{_relative(method.output_type, scope)}"
            head = f"rpc {method.name}({sent}) returns ({received})"
            options = "\n".join(f"option {option};" for option in _options(method.options))
            body = [f"{_INDENT}{line}" for line in options.splitlines()]
            lines = [f"{head} {{", *body, "}"] if body else [f"{head};"]
            yield from _indented(self._commented(f"{name}.{method.name}", *lines))
        yield "}"

    def _message(self, message: DescriptorProto, scope: str) -> Iterator[str]:
        name = f"{scope}.{message.name}"
        yield from self._commented(name, f"message {message.name} {{")
        yield from _indented(f"option {option};" for option in _options(message.options))
        yield from _indented(_reserved(message, _MAX_NUMBER))
        oneof = None
        for field in message.field:
            index = field.oneof_index if _is_in_oneof(field) else None
            if oneof is not None and index != oneof:
                yield f"{_INDENT}}}"
            if index is not None and index != oneof:
                group = message.oneof_decl[index].name
                yield from _indented(self._commented(f"{name}.{group}", f"oneof {group} {{"))
            oneof = index
            lines = self._commented(f"{name}.{field.name}", self._field(field, message, name))
            yield from _indented(lines if index is None else _indented(lines))
        if oneof is not None:
            yield f"{_INDENT}}}"
        for nested in message.nested_type:
            if not nested.options.map_entry:
                yield from _indented(self._message(nested, name))
        for enum in message.enum_type:
            yield from _indented(self._enum(enum, name))
        yield "}"

    def _field(self, field: FieldDescriptorProto, message: DescriptorProto, scope: str) -> str:
        entry = next(
            (each for each in message.nested_type if field.type_name == f".{scope}.{each.name}"), None
        )
        if entry is not None and entry.options.map_entry:
            key, value = (_type(each, self._file.package) for each in entry.field)
            kind = f"map<{key}, {value}>"
        else:
            kind = f"{self._label(field)}{_type(field, self._file.package)}"
        options = list(_options(field.options))
        if field.HasField("default_value"):
            is_text = field.type == FieldDescriptorProto.TYPE_STRING
            options.insert(0, f"default = {_quoted(field.default_value) if is_text else field.default_value}")
        suffix = f" [{', '.join(options)}]" if options else ""
        return f"{kind} {field.name} = {field.number}{suffix};"

    def _label(self, field: FieldDescriptorProto) -> str:
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return "repeated "
        if field.label == FieldDescriptorProto.LABEL_REQUIRED:
            return "required "
        is_optional = field.proto3_optional or not (self._is_proto3 or _is_in_oneof(field))
        return "optional " if is_optional else ""

    def _enum(self, enum: EnumDescriptorProto, scope: str) -> Iterator[str]:
        name = f"{scope}.{enum.name}"
        yield from self._commented(name, f"enum {enum.name} {{")
        yield from _indented(f"option {option};" for option in _options(enum.options))
        yield from _indented(_reserved(enum, (1 << 31) - 1))
        for value in enum.value:
            options = ", ".join(_options(value.options))
            line = f"{value.name} = {value.number}{f' [{options}]' if options else ''};"
            yield from _indented(self._commented(f"{name}.{value.name}", line))
        yield "}"

    def _commented(self, name: str, *lines: str) -> Iterator[str]:
        paragraphs = self._comment(name).split("\n\n")
        for place, paragraph in enumerate(paragraphs if paragraphs != [""] else []):
            if place:
                yield "//"
            yield from textwrap.wrap(
                paragraph,
                _WIDTH,
                initial_indent="// ",
                subsequent_indent="// ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        yield from lines


def _is_in_oneof(field: FieldDescriptorProto) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional


def _type(field: FieldDescriptorProto, package: str) -> str:
    if field.type_name:
        return _relative(field.type_name, package)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _relative(name: str, package: str) -> str:
    """Return a type's name as it is written in a package, absolute if it belongs to another one."""
    prefix = f".{package}."
    return name.removeprefix(prefix) if name.startswith(prefix) else name


def _options(options: Any, *, is_file: bool = False) -> Iterator[str]:
    for field, value in options.ListFields():
        if not (field.is_extension or is_file or field.name in _PORTABLE):
            continue
        name = f"({field.full_name})" if field.is_extension else field.name
        for each in value if field.is_repeated else [value]:
            yield f"{name} = {_value(field, each)}"


def _value(field: Any, value: Any) -> str:
    if field.message_type is not None:
        return f"{{\n{textwrap.indent(text_format.MessageToString(value), _INDENT)}}}"
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    return json.dumps(value)


def _reserved(part: DescriptorProto | EnumDescriptorProto, maximum: int) -> Iterator[str]:
    # Ranges of messages exclude their end; ranges of enums include it.
    extra = 1 if isinstance(part, DescriptorProto) else 0
    for each in getattr(part, "extension_range", ()):
        yield f"extensions {_range(each.start, each.end - 1, maximum - 1)};"
    for reserved in part.reserved_range:
        yield f"reserved {_range(reserved.start, reserved.end - extra, maximum - extra)};"
    if part.reserved_name:
        yield f"reserved {', '.join(map(_quoted, part.reserved_name))};"


def _range(start: int, last: int, maximum: int) -> str:
    if start == last:
        return str(start)
    return f"{start} to {'max' if last >= maximum else last}"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _indented(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    return (f"{_INDENT}{line}" for line in lines)
