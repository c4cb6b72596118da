"""Fields of messages that may be unset."""

from typing import Any

from google.protobuf.message import Message

__all__ = ["optional"]


def optional(message: Message, *names: str) -> dict[str, Any]:
    """The fields of these names by name, None for each that is unset."""
    return {name: getattr(message, name) if message.HasField(name) else None for name in names}
