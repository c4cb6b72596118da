"""Every field that the contract calls REQUIRED is refused by name if it is missing."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from headstart_server.api.http.routes import SERVICES
from server_process import ServerProcess

METHODS = [method for service in SERVICES for method in service.methods if service.name != "Health"]


def required(message: Any) -> list[FieldDescriptor]:
    """Return the REQUIRED fields of a message."""
    extension = field_behavior_pb2.field_behavior
    return [
        field
        for field in message.fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[extension]
    ]


def paths(message: Descriptor) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Yield the REQUIRED fields of a message, and of the messages in them, with the way to each."""
    for field in required(message):
        yield (field,)
        if field.message_type is not None:
            yield from ((field, *inner) for inner in paths(field.message_type))


def valid(descriptor: Descriptor) -> Message:
    """Return a message with its REQUIRED fields."""
    message: Any = GetMessageClass(descriptor)()
    for field in required(descriptor):
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask":
            value: Any = {"paths": ["description"]}
        elif field.message_type is not None:
            value = valid(field.message_type)
        elif field.type == FieldDescriptor.TYPE_STRING:
            value = "backbones-and-models"
        else:
            value = 1
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif isinstance(value, Message):
            getattr(message, field.name).CopyFrom(value)
        elif isinstance(value, dict):
            getattr(message, field.name).paths.extend(value["paths"])
        else:
            setattr(message, field.name, value)
    return message


def cases() -> Iterator[Any]:
    for method in METHODS:
        request: Any = method.input_type
        spec = request.fields_by_name["spec"].message_type if method.client_streaming else request
        for path in paths(spec):
            yield pytest.param(method, path, id=f"{method.name}-{'.'.join(field.name for field in path)}")


def without(message: Any, path: tuple[FieldDescriptor, ...]) -> None:
    """Remove a field from a message."""
    part = message
    for field in path[:-1]:
        part = getattr(part, field.name)[0] if field.is_repeated else getattr(part, field.name)
    part.ClearField(path[-1].name)


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


def violations(channel: grpc.Channel, method: MethodDescriptor, request: Message) -> list[str]:
    """Call a method, and return the fields of its INVALID_ARGUMENT."""
    sides = (method.client_streaming, method.server_streaming)
    kind = "_".join("stream" if each else "unary" for each in sides)
    name = f"/{method.containing_service.full_name}/{method.name}"
    call = getattr(channel, kind)(name, type(request).SerializeToString, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        response = call(iter([request]) if method.client_streaming else request, timeout=60)
        if method.server_streaming:
            list(response)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    found = error_details_pb2.BadRequest()
    assert any(each.Unpack(found) for each in status_pb2.Status.FromString(packed).details)
    return [each.field for each in found.field_violations]


@pytest.mark.parametrize(("method", "path"), list(cases()))
def test_a_required_field_that_is_missing_is_refused_by_its_name(
    channel: grpc.Channel, method: MethodDescriptor, path: tuple[FieldDescriptor, ...]
) -> None:
    request: Any = GetMessageClass(method.input_type)()
    part = request
    if method.client_streaming:
        part = request.spec
        part.SetInParent()
    part.CopyFrom(valid(path[0].containing_type))
    without(part, path)
    found = violations(channel, method, request)
    # Of a message, what it lacks may be named instead.
    expected = "".join(f".{each.name}{'[0]' if each.is_repeated else ''}" for each in path)[1:]
    named = expected.removesuffix("[0]")
    prefix = "spec." if method.client_streaming else ""
    assert any(each.removeprefix(prefix).startswith(named) for each in found), found
