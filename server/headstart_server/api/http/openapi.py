"""The OpenAPI 3.1 document, from the contract's HTTP rules, descriptors and comments."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import status_pb2

from headstart.v1 import input_pb2
from headstart_server.api.http.columns import PARAMETERS, TABLES
from headstart_server.api.http.comments import comment, first_sentence
from headstart_server.api.http.downloads import FILE, TAR
from headstart_server.api.http.json_forms import FEATURES, FEATURES_SCHEMA
from headstart_server.api.http.response import JSON
from headstart_server.api.http.routes import ROUTES, Body, Route

_Schema = dict[str, Any]

_INT64: _Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64: _Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_TEXT: _Schema = {"type": "string"}
#: The JSON schema of each kind of value in protobuf's mapping.
_SCALARS: Mapping[int, _Schema] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_KNOWN: Mapping[str, _Schema] = {
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "examples": ["1.5s"],
    },
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["displayName,tags"]},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
}
_FILES: _Schema = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}},
}


def openapi(version: str) -> bytes:
    """Return the document as JSON."""
    schemas = _Schemas()
    schemas.reference(status_pb2.Status.DESCRIPTOR)
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for route in ROUTES:
        operation = _operation(route, schemas)
        if operation["operationId"] in names:
            operation["operationId"] += f"By{_last_variable(route).capitalize()}"
        if operation["operationId"] in names:
            operation["operationId"] += route.verb.capitalize()
        names.add(operation["operationId"])
        paths.setdefault(route.shown_path, {})[route.verb.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Headstart",
            "version": version,
            "description": "Fine-tunes models on demand and serves them; its gRPC contract over HTTP.",
        },
        "tags": [
            {"name": service.name, "description": comment(service.full_name)}
            for service in dict.fromkeys(route.descriptor.containing_service for route in ROUTES)
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.found.items())),
            "responses": {
                "Error": {
                    "description": "The error as a `google.rpc.Status`; its details have the reason.",
                    "content": {JSON: {"schema": schemas.reference(status_pb2.Status.DESCRIPTOR)}},
                    "headers": {
                        "Retry-After": {
                            "description": "Seconds after which a retry may succeed.",
                            "schema": {"type": "integer", "minimum": 1},
                        }
                    },
                }
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        # The empty alternative: servers without an access file accept calls without a token.
        "security": [{}, {"bearer": []}],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


class _Schemas:
    """The schemas of messages, each once."""

    def __init__(self) -> None:
        self.found: dict[str, _Schema] = {}

    def reference(self, message: Any) -> _Schema:
        if message.full_name in _KNOWN:
            return _KNOWN[message.full_name]
        name = message.full_name.removeprefix("headstart.v1.")
        if name not in self.found:
            # Registered before its fields, because a message may contain itself.
            self.found[name] = {}
            self.found[name].update(self._of_message(message))
        return {"$ref": f"#/components/schemas/{name}"}

    def of_field(self, field: FieldDescriptor) -> _Schema:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            schema = {"type": "object", "additionalProperties": self._single(message.fields_by_name["value"])}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._single(field)}
        else:
            schema = self._single(field)
        text = comment(field.full_name)
        if text:
            # OpenAPI 3.1 accepts more keys next to a reference.
            schema = {**schema, "description": text}
        return {**schema, "readOnly": True} if field_behavior_pb2.OUTPUT_ONLY in _behavior(field) else schema

    def _single(self, field: FieldDescriptor) -> _Schema:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return self._reference_of_enum(field.enum_type)
        return _SCALARS[field.type]

    def _reference_of_enum(self, enum: Any) -> _Schema:
        name = enum.full_name.removeprefix("headstart.v1.")
        comments = {value.name: comment(f"{enum.full_name}.{value.name}") for value in enum.values}
        meanings = "\n".join(f"- `{value}`: {meaning}" for value, meaning in comments.items() if meaning)
        self.found[name] = {
            "type": "string",
            "enum": list(comments),
            "description": "\n\n".join(part for part in (comment(enum.full_name), meanings) if part),
        }
        return {"$ref": f"#/components/schemas/{name}"}

    def _of_message(self, message: Descriptor) -> _Schema:
        schema: _Schema = {
            "type": "object",
            "properties": {field.json_name: self.of_field(field) for field in message.fields},
            "additionalProperties": False,
        }
        required = [
            field.json_name
            for field in message.fields
            if field_behavior_pb2.REQUIRED in _behavior(field) and field.full_name not in _in_paths()
        ]
        if required:
            schema["required"] = required
        if message is input_pb2.Input.DESCRIPTOR:
            schema["properties"][FEATURES] = FEATURES_SCHEMA
        groups = [
            ", ".join(field.json_name for field in group.fields)
            for group in message.oneofs
            if len(group.fields) > 1
        ]
        sentences = [comment(message.full_name), *(f"At most one of {group}." for group in groups)]
        return {"description": " ".join(part for part in sentences if part), **schema}


def _behavior(field: FieldDescriptor) -> Sequence[int]:
    found: Sequence[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return found


@cache
def _in_paths() -> frozenset[str]:
    """Return the full names of the fields that paths bind, which a body may omit."""
    return frozenset(_at(route.message, path).full_name for route in ROUTES for path in route.variables)


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    service, method = route.descriptor.containing_service.name, route.descriptor.name
    operation: dict[str, Any] = {
        "operationId": method,
        "tags": [service],
        "summary": first_sentence(comment(route.descriptor.full_name)),
        "description": f"{comment(route.descriptor.full_name)}\n\n{service}.{method} of the contract.",
        "parameters": [*_path_parameters(route, schemas), *_query_parameters(route, schemas)],
        "responses": {"200": _answer(route, schemas), "default": {"$ref": "#/components/responses/Error"}},
    }
    if route.is_events:
        operation["responses"]["204"] = {"description": "The job has ended, and there are no new events."}
    if route.body is not Body.NONE:
        operation["requestBody"] = {
            "content": _contents(route, schemas),
            "required": route.body is not Body.MESSAGE,
        }
    return operation


def _last_variable(route: Route) -> str:
    return route.variables[-1].rpartition(".")[2] if route.variables else ""


def _path_parameters(route: Route, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    for path in route.variables:
        field = _at(route.message, path)
        yield {"name": field.name, "in": "path", "required": True, **_parameter(field, schemas)}


def _query_parameters(route: Route, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    if route.field == "*" and route.body is Body.MESSAGE:
        return
    for field in route.message.fields:
        known = field.message_type is None or field.message_type.full_name in _KNOWN
        is_free = field.name not in (*route.variables, route.field)
        if is_free and known and field.type != FieldDescriptor.TYPE_BYTES:
            yield {"name": field.json_name, "in": "query", **_parameter(field, schemas)}
    if route.body is Body.EXAMPLES:
        for name, text in PARAMETERS.items():
            schema = {"type": "array", "items": _TEXT} if name.endswith("s") else _TEXT
            yield {"name": name, "in": "query", "description": text, "schema": schema}
    if route.is_events:
        text = "The ID of the last received event; browsers send it automatically."
        yield {"name": "Last-Event-ID", "in": "header", "description": text, "schema": _INT64}


def _parameter(field: FieldDescriptor, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas.of_field(field)
    text = schema.pop("description", "")
    return {"description": text, "schema": schema} if text else {"schema": schema}


def _at(message: Any, path: str) -> FieldDescriptor:
    *names, last = path.split(".")
    for name in names:
        message = message.fields_by_name[name].message_type
    field: FieldDescriptor = message.fields_by_name[last]
    return field


def _contents(route: Route, schemas: _Schemas) -> dict[str, Any]:
    if route.body is Body.EXAMPLES:
        example = schemas.reference(input_pb2.Example.DESCRIPTOR)
        spec = schemas.reference(route.message)
        whole = {
            "type": "object",
            "properties": {"spec": spec, "examples": {"type": "array", "items": example}},
            "additionalProperties": False,
        }
        return {
            JSON: {"schema": whole},
            "application/jsonl": {"schema": example},
            **{media_type: {"schema": _TEXT} for media_type in TABLES},
            "application/zip": {"schema": {"type": "string", "contentMediaType": "application/zip"}},
            "multipart/form-data": {"schema": {**_FILES, "properties": {"spec": spec}}},
        }
    part = route.message if route.field == "*" else route.message.fields_by_name[route.field].message_type
    message = {JSON: {"schema": schemas.reference(part)}}
    if route.body is Body.MESSAGE:
        return message
    return {
        **message,
        "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}},
        FILE: {"schema": {"type": "string", "contentMediaType": FILE}},
        "text/plain": {"schema": {"type": "string"}},
        "multipart/form-data": {
            "schema": {**_FILES, "properties": {"request": schemas.reference(route.descriptor.input_type)}}
        },
    }


def _answer(route: Route, schemas: _Schemas) -> dict[str, Any]:
    answered = route.descriptor.output_type
    if route.is_document:
        kinds = ("text/html", JSON, "text/plain")
        content = {kind: {"schema": {"type": ["string", "object"]}} for kind in kinds}
        return {"description": "The document.", "content": content}
    if route.is_files:
        contents = {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in (FILE, TAR)}
        return {"description": "The single file of the export, or a tar of several.", "content": contents}
    if route.is_events:
        event = schemas.reference(answered.fields_by_name["event"].message_type)
        return {
            "description": "Server-sent events with JSON data.",
            "content": {"text/event-stream": {"schema": event}},
        }
    return {"description": "The answer.", "content": {JSON: {"schema": schemas.reference(answered)}}}
