"""Decoded images: arrays of pixels."""

import struct
import zlib
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Content

#: Color types of PNG by the number of channels: grayscale, RGB and RGBA.
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}
_DEPTH = 8
#: The filter that stores the difference from the row above.
_UP = 2


def is_pixels(content: Content) -> TypeGuard[NDArray[np.uint8]]:
    """Return whether a content is pixels: uint8 of shape [height, width], or [height, width, 1, 3 or 4]."""
    if not isinstance(content, np.ndarray) or content.dtype != np.uint8:
        return False
    return content.ndim == 2 or (content.ndim == 3 and content.shape[2] in _COLOR_TYPES)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels as a PNG file.

    numpy and zlib release the GIL. Pillow's encoder holds it, often for a whole image.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    flat = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _UP
    rows[:1, 1:] = flat[:1]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, _DEPTH, _COLOR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, level=1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join([part for chunk in chunks for part in _chunk(*chunk)])


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", check)
