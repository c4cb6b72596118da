"""The audit log has a line about a call of every method, whatever its request holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from headstart.v1 import example_service_pb2, model_service_pb2
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.grpc.access import AccessCheck
from headstart_server.api.grpc.call import Call, Method
from headstart_server.api.grpc.call_audit import CallAudit
from headstart_server.api.grpc.permissions import RULES
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator, Caller
from headstart_server.auth.permissions import UNRESTRICTED
from headstart_server.errors import PermissionDenied
from request_fields import MODULES


class Logged:
    """An audit log of all calls."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "audit.jsonl"
        self._audit = CallAudit(AuditLog(self._path), RULES, audits_all=True)

    def line(self, method: str, request: Any) -> dict[str, Any]:
        """Return the line about a refused call."""
        caller = Mock(principal=Mock(tenant="red"), subject=None)
        caller.principal.name = "someone"
        call = Call(Method(method), Mock(peer=lambda: "ipv4:127.0.0.1:1"), caller=caller)
        self._audit.note(call, request)
        self._audit.write(call, PermissionDenied("You lack the permission."))
        line: dict[str, Any] = json.loads(self._path.read_text().splitlines()[-1])
        return line


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    return Logged(tmp_path)


def methods() -> Iterator[MethodDescriptor]:
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def fill(message: Any, depth: int = 3) -> None:
    """Set every field of a message; of a oneof the last one."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            continue
        if field.message_type is not None:
            getattr(message, field.name).SetInParent()
            if depth:
                fill(getattr(message, field.name), depth - 1)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            setattr(message, field.name, b"SECRET" if field.type == FieldDescriptor.TYPE_BYTES else "name")
        elif field.cpp_type != FieldDescriptor.CPPTYPE_ENUM:
            setattr(message, field.name, 1)


def test_every_request_has_a_line_without_its_content(logged: Logged) -> None:
    for method in methods():
        request = GetMessageClass(method.input_type)()
        fill(request)
        name = f"/{method.containing_service.full_name}/{method.name}"
        line = logged.line(name, request)
        assert (line["method"], line["outcome"]) == (name, "PERMISSION_DENIED")
        assert "SECRET" not in json.dumps(line)


def test_a_selected_version_is_named_like_a_version(logged: Logged) -> None:
    request = example_service_pb2.ListExamplesRequest(version={"model": "pets", "version": 3})
    line = logged.line("/headstart.v1.ExampleService/ListExamples", request)
    assert (line["models"], line["request"]) == (["pets"], {"version": 3})


def test_updated_fields_are_named_and_bounded(logged: Logged) -> None:
    paths = ["capture", "x" * 1000, *["tags"] * 100]
    request = model_service_pb2.UpdateModelRequest(model="pets", update_mask={"paths": paths})
    line = logged.line("/headstart.v1.ModelService/UpdateModel", request)
    assert line["request"]["update_mask"] == ["capture", "x" * 128, *["tags"] * 18]


async def test_a_stream_that_names_another_model_in_each_message_keeps_only_the_first(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    check = AccessCheck(Authenticator(None), lambda job_id: job_id, audit)
    method = Method("/inference.GRPCInferenceService/ModelStreamInfer", request_streaming=True)
    call = Call(method, Mock(), caller=Caller(principal=UNRESTRICTED))
    for number in range(1000):
        await check.request(call, oip.ModelInferRequest(model_name=f"pets-{number}"))
    assert call.models == [f"pets-{number}" for number in range(20)]
