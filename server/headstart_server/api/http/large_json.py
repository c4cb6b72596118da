"""Writes a large message as JSON in parts: making or freeing the values of all of it blocks other threads."""

import io
import json
from collections.abc import Sequence
from typing import IO

from google.protobuf.message import Message

from headstart.protojson import to_dict, to_json

#: Maximum bytes of a message that is written as a whole.
PART_BYTES = 32 << 10


def large_json(message: Message) -> bytes:
    """Return a message as JSON, with one line for each entry of a list of messages."""
    out = io.BytesIO()
    _write(out, message)
    out.write(b"\n")
    return out.getvalue()


def _write(out: IO[bytes], message: Message) -> None:
    if message.ByteSize() <= PART_BYTES:
        out.write(to_json(message).encode())
        return
    rest, lists = type(message)(), dict[str, Sequence[Message]]()
    for field, value in message.ListFields():
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.is_repeated and field.message_type is not None and not is_map:
            lists[field.json_name] = value
        elif field.is_repeated:
            getattr(rest, field.name).MergeFrom(value)
        elif field.message_type is not None:
            getattr(rest, field.name).CopyFrom(value)
        else:
            setattr(rest, field.name, value)
    separator = b"{"
    for name, value in (to_dict(rest) | lists).items():
        out.write(separator + json.dumps(name).encode() + b": ")
        if name in lists:
            _write_list(out, lists[name])
        else:
            out.write(json.dumps(value, ensure_ascii=False).encode())
        separator = b",\n"
    out.write(b"}")


def _write_list(out: IO[bytes], entries: Sequence[Message]) -> None:
    separator = b"[\n"
    for entry in entries:
        out.write(separator)
        _write(out, entry)
        separator = b",\n"
    out.write(b"\n]")
