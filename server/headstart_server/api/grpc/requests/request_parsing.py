"""Parse the requests of every method within the limits of the contract."""

# Annotations are not evaluated: grpc's handler class accepts type arguments in its stubs only.
from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from headstart_server.api.grpc.call import Call, CallCheck
from headstart_server.api.grpc.executors import CallPool
from headstart_server.api.grpc.requests.request_checks import check_request, checks_of, limit_of
from headstart_server.api.grpc.requests.wire_scan import TooManyElementsError, fields_of, scan
from headstart_server.errors import HeadstartError, InvalidField


def check_required(message: Message) -> None:
    """Check that a request has its required fields; the fields of list entries are checked at their use.

    Raise InvalidField with the path of a missing field.
    """
    missing = _missing(message)
    if missing:
        raise InvalidField(f"{missing} is missing. Set it in the request.", field=missing)


def is_required(field: FieldDescriptor) -> bool:
    """Return whether the contract marks a field as REQUIRED."""
    options = field.GetOptions()
    return field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]


def _missing(message: Any) -> str:
    for name, has_presence, required, has_inner in _fields(message.DESCRIPTOR):
        if not (message.HasField(name) if has_presence else getattr(message, name)):
            if required:
                return name
        elif has_inner and (inner := _missing(getattr(message, name))):
            return f"{name}.{inner}"
    return ""


@cache
def _fields(kind: Descriptor) -> tuple[tuple[str, bool, bool, bool], ...]:
    """Return the fields to check: name, presence, whether it is required, whether it has required fields."""
    found = []
    for field in kind.fields:
        inner = None if field.is_repeated else field.message_type
        has_inner = inner is not None and bool(_fields(inner))
        if is_required(field) or has_inner:
            found.append((field.name, field.has_presence, is_required(field), has_inner))
    return tuple(found)


#: Larger requests are scanned before they are parsed; smaller ones cannot hold many elements.
SCAN_BYTES = 128 << 10
#: Larger requests are parsed in a thread. For types that may hold many messages, the limit is `SCAN_BYTES`.
THREAD_BYTES = 1 << 20
#: Messages in one field up to which checking a request is faster than switching to a thread.
_FEW = 4096
#: Tags up to which the scan is faster than switching to a thread.
_FEW_TAGS = 2000
#: Threads that parse: two, so that a request does not wait for a single large one.
_THREADS = 2
#: Bytes of the request that the current task read last: a message does not store its size.
REQUEST_BYTES: ContextVar[int] = ContextVar("request_bytes", default=0)

_Result = TypeVar("_Result")

_POOL = CallPool(_THREADS, "parse")


def request_bytes() -> int:
    """Return the number of bytes of the request that was read last.

    A message's `ByteSize` would serialize all of it, which takes some milliseconds per MiB.
    """
    return REQUEST_BYTES.get()


class RequiredFieldsCheck(CallCheck):
    """Reject requests without a required field. The checks of the caller run before this one."""

    async def request(self, call: Call, message: Message) -> None:
        """Check the required fields of a request."""
        del call
        check_required(message)


class RequestParser:
    """Parse requests of one type, and check them before and after.

    Raises:
        ValueError: a field of the type has no limit.
    """

    def __init__(self, kind: Descriptor, parse: Callable[[bytes], Message]) -> None:
        self._kind = kind
        self._parse = parse
        checks_of(kind)
        fields_of(kind)
        self._thread_bytes = SCAN_BYTES if _most_messages(kind) > _FEW else THREAD_BYTES

    def takes_long(self, content: bytes) -> bool:
        """Return whether a request takes too long to be parsed in the event loop."""
        if len(content) <= SCAN_BYTES:
            return False
        if len(content) > self._thread_bytes:
            return True
        try:
            scan(content, self._kind, _FEW_TAGS)
        except TooManyElementsError:
            return True
        except (HeadstartError, DecodeError):
            # Parsing raises the same error.
            return False
        return False

    def __call__(self, content: bytes) -> Message:
        """Return the request.

        Raise InvalidField or InvalidLabel if a field exceeds its limit, and DecodeError if the bytes are not
        a message of this type.
        """
        if len(content) > SCAN_BYTES:
            scan(content, self._kind)
        message = self._parse(content)
        check_request(message, len(content))
        return message


async def read_request(parse: RequestParser | None, content: bytes) -> Any:
    """Return a parsed request, parsed in a thread if it is large. Without a parser, return the bytes."""
    REQUEST_BYTES.set(len(content))
    if parse is None:
        return content
    if parse.takes_long(content):
        return await asyncio.get_running_loop().run_in_executor(_POOL, parse, content)
    return parse(content)


async def in_thread_if_large(
    work: Callable[..., _Result], *arguments: Any, above: int = THREAD_BYTES
) -> _Result:
    """Run some work on the request that was read last, in a thread if the request is large.

    Args:
        above: bytes of the largest request whose work takes little time in the event loop.
    """
    if REQUEST_BYTES.get() > above:
        return await asyncio.get_running_loop().run_in_executor(_POOL, work, *arguments)
    return work(*arguments)


def _most_messages(kind: Descriptor) -> int:
    """Return the maximum number of messages in one field of a message type, or of a type inside it."""
    most = 0
    for field in kind.fields:
        if field.message_type is not None:
            limit = limit_of(field)
            own = 1 if limit is None or limit.entries is None else limit.entries
            most = max(most, own, _most_messages(field.message_type))
    return most
