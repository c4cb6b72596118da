"""Pages of lists, limited in entries and bytes."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

#: Maximum entries of a page; a request for more gets this many.
MAX_PAGE = 1000
DEFAULT_PAGE = 50
#: Maximum bytes of a page; a single entry may be larger.
MAX_PAGE_BYTES = 4 << 20
#: Entries that are fetched together; as many may be in memory in addition to the page.
_SLICE = 200

_Entry = TypeVar("_Entry")
_Message = TypeVar("_Message", bound=Message)


def page_size_of(size: int) -> int:
    """Return the size of a page: the default for 0, and at most the maximum."""
    return min(size, MAX_PAGE) or DEFAULT_PAGE


def page_of(
    fetch: Callable[[list[Any] | None, int], Sequence[_Entry]],
    message_of: Callable[[_Entry], _Message],
    key_of: Callable[[_Entry], list[Any]],
    *,
    after: list[Any] | None,
    size: int,
) -> tuple[list[_Message], list[Any] | None]:
    """Return the messages of a page, and the key of the last one if others follow.

    Args:
        fetch: returns at most a number of entries after a key; the key None means from the beginning.
    """
    messages: list[_Message] = []
    nbytes, key = 0, after
    while True:
        # One additional entry shows whether others follow.
        wanted = min(_SLICE, size - len(messages)) + 1
        found = fetch(key, wanted)
        for entry in found:
            if len(messages) == size:
                return messages, key
            message = message_of(entry)
            nbytes += message.ByteSize()
            if messages and nbytes > MAX_PAGE_BYTES:
                return messages, key
            messages.append(message)
            key = key_of(entry)
        if len(found) < wanted:
            return messages, None
