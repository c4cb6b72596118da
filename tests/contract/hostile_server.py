"""A server that answers each call with extreme, senseless and hostile values."""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

#: Sets a terminal's title, clears its screen, reverses the text, is markup of rich, and leaves a folder.
TEXT: Final = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e\r\n\x7f[/b]../../../etc/\x08[red]"
_DEPTH: Final = 9


@dataclass(frozen=True, kw_only=True)
class Nonsense:
    """The values of the fields of messages.

    Attributes:
        integer: of each field of integers, within its type.
        number: of each field of floating point.
        seconds: of each timestamp and duration.
        enumerator: of each enum.
        count: of the elements of each repeated field.
        choice: index of the field that is set of each oneof, modulo the number of its fields.
        is_plausible: whether jobs run, and tensors are valid.
    """

    integer: int = 2**63 - 1
    number: float = float("nan")
    seconds: int = 2**63 - 1
    enumerator: int = 9999
    count: int = 2
    choice: int = 0
    is_plausible: bool = False

    def responses(self, method: MethodDescriptor) -> Iterable[Message]:
        """Return the responses of a method; two of a stream."""
        choices = [self.choice, self.choice + 1] if method.server_streaming else [self.choice]
        return [replace(self, choice=choice).message(method.output_type) for choice in choices]

    def error(self, code: grpc.StatusCode, reason: str) -> status_pb2.Status:
        """Return an error."""
        details: list[Any] = [self.message(each.DESCRIPTOR) for each in _DETAILS]
        details[0].domain, details[0].reason = "headstart", reason
        for name in ("limit", "size", "model", "unusable_examples", "examples", "begun"):
            details[0].metadata[name] = str(self.integer) if self.is_plausible else TEXT
        status = status_pb2.Status(code=code.value[0], message=f"{TEXT} Input {'9' * 4400}")
        for detail in details:
            status.details.add().Pack(detail)
        return status

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """Return a message whose fields all have such values."""
        message: Any = GetMessageClass(descriptor)()
        match descriptor.full_name:
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                message.seconds = self.seconds
            case "google.protobuf.Any":
                message.type_url = "type.googleapis.com/google.rpc.ErrorInfo" if self.is_plausible else TEXT
                message.value = b"\xff"
            case "headstart.v1.Tensor" if self.is_plausible:
                message.data_type, message.data = 5, bytes(4 * self.count**2)
                message.shape.extend([self.count, self.count])
            case _:
                for field in descriptor.fields:
                    oneof = field.containing_oneof
                    if oneof is None or oneof.fields[self.choice % len(oneof.fields)] is field:
                        self._fill(message, field, depth)
        return message

    def _fill(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if field.name == "next_page_token" or (depth > _DEPTH and field.message_type is not None):
            return
        place = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._fill_map(place, field.message_type.fields_by_name)
        elif field.is_repeated:
            place.extend(self._value(field, depth) for _ in range(self.count))
        elif field.message_type is not None:
            place.CopyFrom(self._value(field, depth))
            place.SetInParent()
        else:
            setattr(message, field.name, self._value(field, depth))

    def _fill_map(self, place: Any, fields: Any) -> None:
        for _ in range(min(self.count, 1)):
            key, value = self._value(fields["key"], _DEPTH), self._value(fields["value"], _DEPTH)
            if isinstance(value, Message):
                place[key].CopyFrom(value)
            else:
                place[key] = value

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        if field.message_type is not None:
            return self.message(field.message_type, depth + 1)
        if field.enum_type is not None:
            if field.enum_type.name != "JobState":
                return self.enumerator
            # Jobs end, or the command would wait for them.
            is_running = self.is_plausible and field.containing_type.name == "JobEvent"
            name = "JOB_STATE_RUNNING" if is_running else "JOB_STATE_SUCCEEDED"
            return field.enum_type.values_by_name[name].number
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                return TEXT.encode() if field.type == FieldDescriptor.TYPE_BYTES else TEXT
            case FieldDescriptor.CPPTYPE_BOOL:
                return True
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return self.number
            case FieldDescriptor.CPPTYPE_INT32:
                return max(-(2**31), min(self.integer, 2**31 - 1))
            case FieldDescriptor.CPPTYPE_INT64:
                return self.integer
        return max(0, min(self.integer, 2**32 - 1))


_DETAILS: Final[tuple[type[Message], ...]] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.QuotaFailure,
    error_details_pb2.RetryInfo,
)


class HostileServer(grpc.GenericRpcHandler):
    """Answers the calls of each method with messages, or ends them with a status."""

    def __init__(self) -> None:
        self.answers: Callable[[MethodDescriptor], Iterable[Message]] = Nonsense().responses
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """End all calls."""
        self._server.stop(None).wait()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of any method."""
        service, _, name = call.method.strip("/").partition("/")
        method = Default().FindServiceByName(service).methods_by_name[name]

        def stream(_: object, context: grpc.ServicerContext) -> Iterator[bytes]:
            for message in self.answers(method):
                if isinstance(message, status_pb2.Status):
                    content = message.SerializeToString()
                    context.set_trailing_metadata((("grpc-status-details-bin", content),))
                    code = next(each for each in grpc.StatusCode if each.value[0] == message.code)
                    context.abort(code, TEXT)
                yield message.SerializeToString()

        def unary(request: object, context: grpc.ServicerContext) -> bytes:
            return next(stream(request, context), b"")

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(
                lambda requests, context: unary(list(requests), context)
            )
        return grpc.unary_unary_rpc_method_handler(unary)
