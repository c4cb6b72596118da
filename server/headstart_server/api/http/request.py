"""Reads the message of a unary request from an HTTP request."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headstart.inputs.records import Layout
from headstart_server.api.http.body import RequestBody, read_within, within
from headstart_server.api.http.forms import parts_of
from headstart_server.api.http.inputs import (
    FORM,
    UploadLimits,
    check_json,
    check_json_size,
    json_body,
    read_json_body,
    set_input,
    set_text,
)
from headstart_server.api.http.json_text import copied
from headstart_server.api.http.messages import fill_parameters, read_json
from headstart_server.api.http.routes import Body, Route
from headstart_server.errors import InvalidField, MessageTooLarge

#: Maximum bytes of one part of a form in addition to its content.
_PART_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """A request, without its body."""

    route: Route
    path: Mapping[str, Sequence[str]]
    query: Mapping[str, Sequence[str]]
    media_type: str
    options: Mapping[str, str]  # the parameters of the media type
    columns: Layout = field(default_factory=Layout)  # the columns of a table that the query names


async def message_of(request: HttpRequest, body: RequestBody, limits: UploadLimits) -> Message:
    """Return the message of a request. Raise ClientDisconnectedError if it is incomplete."""
    route = request.route
    message: Any = GetMessageClass(route.descriptor.input_type)()
    async with aclosing(body.pieces()) as pieces:
        if route.body is Body.INPUTS and _holds_inputs(request.media_type):
            await _add_inputs(message, pieces, request, limits)
        elif route.body is not Body.NONE:
            if route.body is Body.INPUTS:
                check_json(request.media_type, "image/..., text/plain, application/octet-stream")
            text = await read_json_body(pieces, request.media_type, limits)
            if text.strip():
                await read_json(text, _body_of(route, message), json_body(request.media_type))
        else:
            await read_within(pieces, limits.json_bytes)
    fill_parameters(message, request.path, request.query)
    return message  # type: ignore[no-any-return]


async def serialized(message: Message, received: int, limits: UploadLimits) -> bytes:
    """Return the bytes of a message, which is emptied to free as much memory.

    Args:
        received: bytes of the body it was read from; a large message is serialized in a thread.

    Raises:
        MessageTooLarge: the message exceeds its limit.
    """
    content = await copied(received, message.SerializeToString)
    if len(content) > limits.message_bytes:
        raise MessageTooLarge(
            f"Expected a message of at most {limits.message_bytes} bytes. Received: {len(content)}."
        )
    message.Clear()
    return content


def _body_of(route: Route, message: Message) -> Message:
    if route.field == "*":
        return message
    part: Message = getattr(message, route.field)
    part.SetInParent()
    return part


def _holds_inputs(media_type: str) -> bool:
    return media_type.startswith(("image/", "text/")) or media_type in ("application/octet-stream", FORM)


async def _add_inputs(message: Any, pieces: Any, request: HttpRequest, limits: UploadLimits) -> None:
    if request.media_type != FORM:
        content = await read_within(pieces, limits.message_bytes)
        if request.media_type.startswith("text/"):
            await copied(len(content), set_text, message.inputs.add(), content, "the body")
        else:
            await copied(len(content), setattr, message.inputs.add(), "image", content)
        return
    size, boundary = 0, request.options.get("boundary", "")
    # A form may also have any number of bytes outside of its parts.
    bounded = within(pieces, limits.message_bytes + (limits.inputs + 1) * _PART_BYTES)
    async with aclosing(parts_of(bounded, boundary, limits.message_bytes)) as parts:
        async for part in parts:
            size += len(part.content)
            if size > limits.message_bytes:
                raise MessageTooLarge(
                    f"The inputs are too large. Send at most {limits.message_bytes} bytes in one request."
                )
            if part.filename is None and part.name == "request":
                if message.inputs:
                    raise InvalidField("The field 'request' must precede all other fields. Send it first.")
                check_json_size(part.content, limits)
                await read_json(part.content, message, "the field 'request'")
            elif len(message.inputs) >= limits.inputs:
                raise InvalidField(
                    f"The request has more than {limits.inputs} inputs. Send several requests.",
                    field="inputs",
                )
            else:
                await copied(len(part.content), set_input, message.inputs.add(), part)
