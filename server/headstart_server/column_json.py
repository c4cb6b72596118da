"""JSON documents with long lists, encoded in parts: `json` holds the GIL for a whole document."""

import json
from collections.abc import Mapping
from typing import Any

#: Maximum number of list entries in one line.
_LINE = 1024
#: Key that stands for a list of several lines. Names never contain this character.
_LINES = "\0"


def dump_columns(fields: Mapping[str, Any]) -> str:
    """Return an object as JSON in which long lists, including nested ones, span several lines."""
    entries = (f"{json.dumps(name)}: {_dumped(value)}" for name, value in fields.items())
    return f"{{{', '.join(entries)}}}"


def _dumped(value: Any) -> str:
    if isinstance(value, dict):
        return dump_columns(value)
    if not isinstance(value, list) or len(value) <= _LINE:
        return json.dumps(value, ensure_ascii=False)
    parts = (value[start : start + _LINE] for start in range(0, len(value), _LINE))
    lines = ",\n".join([json.dumps(part, ensure_ascii=False)[1:-1] for part in parts])
    return f"[\n{lines}\n]"


def load_columns(text: bytes) -> Any:
    """Return the values of JSON that `dump_columns` wrote, or of other JSON without line breaks.

    Raise ValueError or RecursionError if the text is not such JSON.
    """
    lists: list[list[Any]] = []
    outline: list[bytes] = []
    is_list = False
    for line in text.split(b"\n"):
        if is_list and not line.startswith(b"]"):
            lists[-1] += json.loads(b"[%s]" % line.removesuffix(b","))
            continue
        if is_list:
            line = b'{"\\u0000": %d}%s' % (len(lists) - 1, line[1:])  # noqa: PLW2901
        is_list = line.endswith(b"[")
        if is_list:
            lists.append([])
        outline.append(line[:-1] if is_list else line)
    return json.loads(b"".join(outline), object_hook=lambda values: _with_lists(values, lists))


def _with_lists(values: dict[str, Any], lists: list[list[Any]]) -> Any:
    if _LINES not in values:
        return values
    try:
        return lists[values[_LINES]]
    except (IndexError, TypeError):
        raise ValueError("The JSON refers to a list that it does not contain.") from None
