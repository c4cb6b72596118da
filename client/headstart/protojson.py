"""Messages as JSON, in the format of HTTP, webhooks, reports and the command line."""

from typing import Any

from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message


def to_dict(message: Message) -> dict[str, Any]:
    """Return the JSON of `to_json` as Python values."""
    document: dict[str, Any] = MessageToDict(message, always_print_fields_with_no_presence=True)
    return document


def to_json(message: Message, indent: int | None = None) -> str:
    """Return a message as protobuf JSON, with every field without presence; `indent` None writes one line."""
    return MessageToJson(
        message, indent=indent, ensure_ascii=False, always_print_fields_with_no_presence=True
    )
