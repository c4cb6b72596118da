"""Short forms in JSON: rows of numbers in place of the bytes of a tensor, and names in place of labels."""

import base64
import json
import math
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from headstart.v1 import input_pb2, label_pb2

_INPUT = input_pb2.Input.DESCRIPTOR
_LABEL = label_pb2.Label.DESCRIPTOR
#: The key of the short form, which replaces `tensor`.
FEATURES = "features"
#: Its schema in OpenAPI.
FEATURES_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "number"},
    "description": (
        "A row of numbers in place of `tensor`, such as `[5.1, 3.5, 1.4, 0.2]`. It is a FLOAT64 tensor."
    ),
}


def expand(values: Any, message: Any, path: str = "") -> Any:
    """Return JSON values of a message with the short forms of inputs and labels expanded.

    Raise ValueError, with the path, if a row is invalid.
    """
    if message is _LABEL and isinstance(values, str):
        return {"className": values}
    if message is _INPUT and not isinstance(values, dict):
        raise ValueError(
            f'{path} must be an object, such as {{"text": "…"}} or {{"{FEATURES}": [5.1, 3.5]}}. '
            f"Received: {json.dumps(values)[:80]}"
        )
    if not isinstance(values, dict) or not _has_form(message):
        return values
    if message is _INPUT:
        return _tensor(values, path)
    expanded = {}
    for name, value in values.items():
        field: Any = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        inner = None if field is None else field.message_type
        place = f"{path}.{name}" if path else name
        if inner is None or not _has_form(inner):
            expanded[name] = value
        elif isinstance(value, list):
            expanded[name] = [expand(each, inner, f"{place}[{i}]") for i, each in enumerate(value)]
        else:
            expanded[name] = expand(value, inner, place)
    return expanded


@cache
def _has_form(message: Descriptor) -> bool:
    known, found = {message}, [message]
    while found:
        inner: Any = [field.message_type for field in found.pop().fields if field.message_type is not None]
        found += set(inner) - known
        known |= set(inner)
    return not known.isdisjoint({_INPUT, _LABEL})


def _tensor(values: dict[str, Any], path: str) -> dict[str, Any]:
    if FEATURES not in values:
        return values
    if len(values) > 1:
        raise ValueError(f"{path} has {FEATURES} and other keys. Send one of them")
    row = values[FEATURES]
    where = f"{path}.{FEATURES}"
    if not isinstance(row, list):
        raise ValueError(f"{where} must be a list of numbers")
    for number, each in enumerate(row):
        if isinstance(each, bool) or not isinstance(each, int | float) or not _is_finite(each):
            raise ValueError(f"{where}[{number}] must be a finite number. Received: {str(each)[:80]!r}")
    data = base64.b64encode(struct.pack(f"<{len(row)}d", *row)).decode()
    return {"tensor": {"dataType": "DATA_TYPE_FLOAT64", "shape": [str(len(row))], "data": data}}


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
