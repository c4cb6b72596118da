"""Results as JSON: the names of their fields, times in ISO 8601, durations in seconds, bytes in base 64."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import grpc
import numpy as np

from headstart.results import Prediction
from headstart.spec import Auto, FineTuneSpec, Logistic, Mlp, Partial, Ridge
from headstart.task import Task

__all__ = ["document"]


def document(value: Any) -> Any:
    """Makes a result something that `json.dumps` takes."""
    if isinstance(value, Mapping):
        return {key: document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [document(item) for item in value]
    if is_dataclass(value):
        names = [each.name for each in fields(value) if _is_shown(value, each.name)]
        return _head(value) | {name: document(getattr(value, name)) for name in names}
    return _plain(value)


def _is_shown(value: object, name: str) -> bool:
    # The server keeps the id of a request to itself: in its answers it is always empty.
    return not (isinstance(value, FineTuneSpec) and name == "request_id")


def _plain(value: Any) -> Any:
    plain = value
    match value:
        case grpc.StatusCode():
            plain = value.name
        case Enum():
            plain = value.value
        case datetime():
            plain = value.isoformat()
        case timedelta():
            plain = value.total_seconds()
        case np.ndarray():
            plain = value.tolist()
        case bytes():
            plain = b64encode(value).decode()
    return plain


def _head(value: object) -> dict[str, Any]:
    """What a result says by its type or by a property."""
    match value:
        case Auto() | Ridge() | Logistic() | Mlp() | Partial():
            return {"name": type(value).__name__.lower()}
        case Prediction() if value.task is Task.MULTI_LABEL:
            return {"labels": list(value.labels)}
        case Prediction() if value.classes:
            return {"label": value.label, "probability": value.probability}
    return {}
