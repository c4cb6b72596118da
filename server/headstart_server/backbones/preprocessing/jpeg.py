"""JPEG decoding by libjpeg-turbo, at a fraction of the size if that suffices.

At a fraction of a lossless JPEG's size, libjpeg-turbo before 3.2 writes the whole image, past the end of its
buffer. So the header is parsed here first, and Pillow decodes all unusual kinds at full size.
"""

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from headstart_server.backbones.preprocessing.image_files import MAX_PARTS

_APP1, _SOS = 0xE1, 0xDA

#: Frames of DCT coefficients in Huffman codes: baseline, extended and progressive (ITU-T T.81, table B.1).
_FRAMES = {0xC0, 0xC1, 0xC2}

#: Other segments before the first scan: tables, restart interval, comments and application data.
_OTHERS = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegHeader:
    """Header of an ordinary JPEG."""

    width: int
    height: int
    components: int  # 1 is gray, 3 are YCbCr or RGB, 4 are CMYK or YCCK
    exif: bytes  # data of its EXIF segment, beginning with `Exif`; may be empty

    def scaled(self, scale: int) -> tuple[int, int]:
        """Return width and height when decoded at 1/`scale`."""
        return -(-self.width // scale), -(-self.height // scale)


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the segments before the first scan (ITU-T T.81, section B.2).

    Return None unless the JPEG is regular, with DCT, Huffman codes, 8 bits, and few segments in order:
    libjpeg could read another header from an irregular one.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    frame, exif = b"", b""
    end = 2
    for _ in range(MAX_PARTS):
        if end + 4 > len(data):
            break
        start = end + 4
        prefix, marker, length = struct.unpack_from(">BBH", data, end)
        end += 2 + length
        if prefix != 0xFF or length < 2 or end > len(data):
            return None
        if marker == _SOS:
            return _header(frame, exif)
        if marker in _FRAMES and not frame:
            frame = data[start:end]
        elif marker not in _OTHERS:
            return None
        elif marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start:end]
    return None


def _header(frame: bytes, exif: bytes) -> JpegHeader | None:
    if len(frame) < 6:
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    if bits != 8 or components not in (1, 3, 4):
        return None
    return JpegHeader(width=width, height=height, components=components, exif=exif)


def decode_jpeg(data: bytes, header: JpegHeader, scale: int) -> NDArray[np.uint8] | None:
    """Decode a flawless grayscale or color JPEG, without holding the interpreter's lock.

    Args:
        scale: 1, 2, 4 or 8; the image is decoded at 1/`scale` of its size.

    Returns:
        Pixels [height, width, 3] (RGB) or [height, width] (gray), or None if libjpeg-turbo finds any fault or
        an unknown kind: Pillow then decides which faults to tolerate.
    """
    if header.components == 4:
        return None
    is_gray = header.components == 1
    width, height = header.scaled(scale)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "GRAY" if is_gray else "RGB", min_height=height, min_width=width
        )
    except ValueError:
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels[..., 0] if is_gray else pixels
