"""Opens image files in the five formats of the web, from untrusted bytes, under a pixel limit.

Uses Pillow's class of each format without `Image.open`, whose limits and warnings are global to the process.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart_server.backbones.preprocessing.image_parts import (
    check_bmp_parts,
    check_gif_parts,
    check_jpeg_parts,
    check_png_parts,
)
from headstart_server.errors import InputTooLarge, UndecodableInput

Size = tuple[int, int]


def open_image(data: bytes, *, max_pixels: int) -> ImageFile:
    """Read the header of an image file without decoding pixels.

    Args:
        data: bytes of a JPEG, PNG, WebP, GIF or BMP file.

    Raises:
        UndecodableInput: the bytes are not an image in one of these formats, or one with too many parts.
        Exception: errors of Pillow for a damaged header, from struct.error to MemoryError.
    """
    kind = _kind_of(data)
    if kind is None:
        raise UndecodableInput(
            f"Expected a JPEG, PNG, WebP, GIF or BMP image. Received: {describe_bytes(data)}."
        )
    if kind.check_parts is not None:
        kind.check_parts(data)
    if kind.announced is not None:
        check_size(kind.announced(data), max_pixels=max_pixels)
    image = kind.opener(io.BytesIO(data))
    check_size(image.size, max_pixels=max_pixels)
    return image


def check_size(size: Size, *, max_pixels: int) -> None:
    """Raise `UndecodableInput` for images without pixels, or `InputTooLarge` for too many."""
    width, height = size
    if width < 1 or height < 1:
        raise UndecodableInput(f"Expected an image with pixels. Received: {width} x {height} pixels.")
    if width * height > max_pixels:
        raise InputTooLarge(
            f"Expected an image of at most {max_pixels:,} pixels. Received: {width:,} x {height:,} "
            "pixels. Scale it down.",
            metadata={"max_pixels": str(max_pixels), "width": str(width), "height": str(height)},
        )


def describe_bytes(data: bytes) -> str:
    """Describe bytes by their count and beginning, for a message."""
    return f"{len(data)} bytes beginning with {data[:12]!r}" if data else "no bytes"


class _JpegFile(JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Skip: unneeded, slow, and warns of faulty EXIF."""


def _webp_size(data: bytes) -> Size:
    """Return the canvas size from the header: the decoder allocates the canvas before it reports its size.

    RFC 9649, sections 2.5 to 2.7.
    """
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        wide, width, high, height = struct.unpack_from("<HBHB", data, 24)
        return (wide | width << 16) + 1, (high | height << 16) + 1
    raise UndecodableInput(f"Expected a WebP image. Received: an unknown first chunk, {chunk!r}.")


def _gif_size(data: bytes) -> Size:
    """Return the logical screen size, grown to contain the first frame, as Pillow does on opening.

    GIF89a specification, sections 18 to 26.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    offset, pieces = 13 + _colour_table_size(flags), 0
    while data[offset : offset + 1] == b"!":
        offset += 2
        while length := data[offset]:
            offset += 1 + length
            pieces += 1
            check_gif_parts(pieces)
        offset += 1
        pieces += 1
        check_gif_parts(pieces)
    if data[offset : offset + 1] == b",":
        left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, offset + 1)
        return max(width, left + frame_width), max(height, top + frame_height)
    return width, height


def _colour_table_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


@dataclass(frozen=True, slots=True)
class _Kind:
    media_type: str
    begins: Callable[[bytes], bool]
    opener: Callable[[io.BytesIO], ImageFile]
    #: Parses the size in the header, if opening the file would already allocate or warn.
    announced: Callable[[bytes], Size] | None = None
    #: Rejects files that would take long to decode.
    check_parts: Callable[[bytes], None] | None = None


def _begins(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(beginnings)


_KINDS = (
    _Kind("image/jpeg", _begins(b"\xff\xd8\xff"), _JpegFile, check_parts=check_jpeg_parts),
    _Kind("image/png", _begins(b"\x89PNG\r\n\x1a\n"), PngImageFile, check_parts=check_png_parts),
    _Kind(
        "image/webp",
        lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP",
        WebPImageFile,
        _webp_size,
    ),
    _Kind("image/gif", _begins(b"GIF87a", b"GIF89a"), GifImageFile, _gif_size),
    _Kind("image/bmp", _begins(b"BM"), BmpImageFile, check_parts=check_bmp_parts),
)


def media_type_of(data: bytes) -> str | None:
    """Return the media type of an image file by its beginning; None for a format that is not decoded."""
    kind = _kind_of(data)
    return None if kind is None else kind.media_type


def _kind_of(data: bytes) -> _Kind | None:
    return next((kind for kind in _KINDS if kind.begins(data)), None)
