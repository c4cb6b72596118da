"""Contents as files for callers: pixels become PNG files, and other arrays JSON lists."""

import json
import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing import image_files
from headstart_server.backbones.preprocessing.pixels import is_pixels, to_png
from headstart_server.errors import MessageTooLarge

_JSON, _PNG, _TEXT = "application/json", "image/png", "text/plain; charset=utf-8"
#: Maximum bytes of a JSON list. Every message may have 4 MiB; a row of features needs less than 2 MiB.
MAX_LIST_BYTES = 3 << 20
#: Maximum values that are encoded together, because `json` holds the GIL.
_VALUES = 1024


def media_type_of(content: Content) -> str:
    """Return the media type of the file of a content; `application/octet-stream` for unknown image files."""
    if isinstance(content, bytes):
        return image_files.media_type_of(content) or "application/octet-stream"
    if isinstance(content, str):
        return _TEXT
    return _PNG if _is_image(content) else _JSON


def file_of(content: Content) -> bytes:
    """Return the file of a content. Raise MessageTooLarge if the JSON list of an array is too long."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    return to_png(content) if _is_image(content) else _list_of(content)


def _is_image(content: NDArray[np.generic]) -> TypeGuard[NDArray[np.uint8]]:
    return is_pixels(content) and content.size > 0


def _list_of(array: NDArray[np.generic]) -> bytes:
    parts, nbytes = [], 0
    for part in _parts(array):
        parts.append(part)
        nbytes += len(part)
        if nbytes > MAX_LIST_BYTES:
            raise MessageTooLarge(
                f"The array of type {array.dtype} and shape {list(array.shape)} is too large to return: its "
                f"JSON list has more than {MAX_LIST_BYTES} bytes. Send images as uint8 pixels or as files."
            )
    return "".join(parts).encode()


def _parts(array: NDArray[Any]) -> Iterator[str]:
    """Yield the JSON of an array in parts."""
    if not array.ndim:
        yield json.dumps(array.tolist())
        return
    yield "["
    # A dimension of length zero hides the ones before it, whose lists still count.
    inner = math.prod(max(1, length) for length in array.shape[1:])
    count = max(1, _VALUES // inner)
    for start in range(0, len(array), count):
        if start:
            yield ", "
        if inner > _VALUES:
            yield from _parts(array[start])
        else:
            yield json.dumps(array[start : start + count].tolist())[1:-1]
    yield "]"
