"""The pages of the contract: its services, messages and enums, from the protos, their comments and routes."""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor

from headstart import v1
from headstart_server.api.grpc.permissions import RULES, Subject
from headstart_server.api.http.comments import first_sentence, proto_comment
from headstart_server.api.http.routes import ROUTES

_PACKAGE = "headstart.v1."
_FOLDER = "reference/grpc"
_INDEX = """\
# gRPC

The package `headstart.v1` is the contract of the server. `headstart-server protos --out DIR` writes its
protos with everything that they import, and `/v1/protos` of the HTTP port sends them as an archive.
[Other languages](../../guides/languages.md) generates clients from them. Every method has an HTTP route as
well ([HTTP](../http.md)), and [errors](../errors.md) lists what a call may fail with.

An access file grants the permissions `predict`, `train` and `admin` on models
([TLS and access](../../operate/tls-and-access.md)). *Any* means any of them.
"""
_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in vars(FieldDescriptor)
    if name.startswith("TYPE_")
}


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its name in the site."""
    files = _files()
    found = {f"{_FOLDER}/{_stem(file)}.md": "\n".join(_page(file)) + "\n" for file in files}
    return {f"{_FOLDER}/index.md": "\n".join(_index(files)) + "\n", **found}


def navigation() -> list[tuple[str, str]]:
    """Return the title and name of each page, in the order of the navigation."""
    files = _files()
    entries = [(_title(file), f"{_FOLDER}/{_stem(file)}.md") for file in files]
    return [("Overview", f"{_FOLDER}/index.md"), *entries]


def _files() -> list[Any]:
    """Return the descriptors of the protos, those with a service first."""
    names = sorted(each.name for each in iter_modules(v1.__path__) if each.name.endswith("_pb2"))
    files = [import_module(f"{v1.__name__}.{name}").DESCRIPTOR for name in names]
    return sorted(files, key=lambda file: not file.services_by_name)


def _stem(file: Any) -> str:
    return str(file.name).rpartition("/")[2].removesuffix(".proto")


def _title(file: Any) -> str:
    services = list(file.services_by_name)
    return services[0] if services else _stem(file).replace("_", " ").capitalize()


def _index(files: list[Any]) -> Iterator[str]:
    yield _INDEX
    for file in files:
        for service in file.services_by_name.values():
            yield f"## {service.name}"
            yield ""
            yield proto_comment(service.full_name)
            yield ""
            yield "| method | purpose | permission | HTTP |"
            yield "|---|---|---|---|"
            for method in service.methods:
                link = f"[{method.name}]({_stem(file)}.md#{method.name.lower()})"
                purpose = first_sentence(proto_comment(method.full_name))
                route = f"`{routes[0]}`" if (routes := _routes(method)) else ""
                yield f"| {link} | {_cell(purpose)} | {_permission(method)} | {route} |"
            yield ""


def _routes(method: Any) -> list[str]:
    return [f"{route.verb} {route.shown_path}" for route in ROUTES if route.descriptor is method]


def _permission(method: Any) -> str:
    rule = RULES[f"/{method.containing_service.full_name}/{method.name}"]
    if rule.on is Subject.NONE:
        return "none"
    rights = sorted(right.value for right in rule.rights)
    return f"`{rights[0]}`" if len(rights) == 1 else "any"


def _page(file: Any) -> Iterator[str]:
    yield f"# {_title(file)}"
    yield ""
    for service in file.services_by_name.values():
        yield proto_comment(service.full_name)
        yield ""
        for method in service.methods:
            yield from _method(method, file)
    for message in file.message_types_by_name.values():
        yield from _message(message, file)
    for enum in file.enum_types_by_name.values():
        yield from _enum(enum)


def _method(method: Any, file: Any) -> Iterator[str]:
    request = _type(method.input_type, file)
    response = _type(method.output_type, file)
    streams = (
        "stream of " if method.client_streaming else "",
        "stream of " if method.server_streaming else "",
    )
    yield f"## {method.name}"
    yield ""
    yield proto_comment(method.full_name)
    yield ""
    yield f"- Request: {streams[0]}{request}"
    yield f"- Response: {streams[1]}{response}"
    yield f"- Permission: {_permission(method)}"
    if routes := _routes(method):
        yield f"- HTTP: {'<br>'.join(f'`{route}`' for route in routes)}"
    yield ""


def _message(message: Any, file: Any) -> Iterator[str]:
    yield f"## {_name(message)}"
    yield ""
    yield proto_comment(message.full_name)
    yield ""
    if message.fields:
        yield "| field | type | meaning |"
        yield "|---|---|---|"
    for field in message.fields:
        text = _cell(proto_comment(field.full_name)).replace(" Limit: ", "<br>Limit: ")
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]:
            text += "<br>Required."
        yield f"| `{field.name}` | {_field_type(field, file)} | {text} |"
    yield ""
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _message(nested, file)
    for enum in message.enum_types:
        yield from _enum(enum)


def _enum(enum: Any) -> Iterator[str]:
    yield f"## {_name(enum)}"
    yield ""
    yield proto_comment(enum.full_name)
    yield ""
    yield "| value | number | meaning |"
    yield "|---|---|---|"
    for value in enum.values:
        comment = proto_comment(f"{enum.full_name}.{value.name}")
        yield f"| `{value.name}` | {value.number} | {_cell(comment)} |"
    yield ""


def _name(part: Any) -> str:
    return str(part.full_name).removeprefix(_PACKAGE)


def _field_type(field: Any, file: Any) -> str:
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map of {_field_type(key, file)} to {_field_type(value, file)}"
    kind = field.message_type or field.enum_type
    name = _type(kind, file) if kind else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


def _type(kind: Any, file: Any) -> str:
    if not kind.full_name.startswith(_PACKAGE):
        return f"`{kind.full_name}`"
    page = "" if kind.file.name == file.name else f"{_stem(kind.file)}.md"
    anchor = re.sub(r"[^\w\- ]", "", _name(kind).lower())
    return f"[{_name(kind)}]({page}#{anchor})"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
