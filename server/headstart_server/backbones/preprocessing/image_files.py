"""Open untrusted image files in the five formats of the web, under a pixel limit.

Uses Pillow's class of each format without `Image.open`, whose limits and warnings are global to the process.
"""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart_server.errors import InputTooLarge, UndecodableInput

#: Maximum scans of a JPEG: a progressive one with the default script has 10.
MAX_SCANS = 100
#: Maximum segments of a JPEG, chunks of a PNG, and blocks before the first frame of a GIF. A PNG of 32 MiB in
#: chunks of 8 KiB has 4,096.
MAX_PARTS = 20_000
#: Maximum bytes between the segments of a JPEG's header.
MAX_FILL = 4096
#: Maximum pixels and bytes of a BMP in run lengths, which are decoded one by one.
MAX_RUN_PIXELS = 1_000_000
MAX_RUN_BYTES = 2_000_000

#: A marker that is followed by its length: neither an escaped byte, nor a restart, nor a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_WHOLE_FRAMES = {0xC0, 0xC1}


def check_jpeg_parts(data: bytes) -> None:
    """Raise `UndecodableInput` if a JPEG has too many segments or scans."""
    end, segments, scans, fill, components = 2, 0, 0, 0, 0
    while (found := _MARKER.search(data, end)) is not None:
        if not scans:
            fill += found.start() - end
        marker, start = data[found.start() + 1], found.end()
        end, segments = start, segments + 1
        _check(segments, MAX_PARTS, "segments")
        if marker == _EOI or fill > MAX_FILL:
            break
        if marker in (_SOI, _TEM):
            continue
        length = int.from_bytes(data[start : start + 2])
        if marker in _WHOLE_FRAMES and length > 7:
            components = data[start + 7]
        if marker == _SOS:
            scans += 1
            _check(scans, MAX_SCANS, "scans")
            # This is the only scan of its frame, so the rest is read once.
            if scans == 1 and components and data[start + 2 : start + 3] == bytes([components]):
                break
        end = start + length
    if not scans:
        fill += max(0, len(data) - end) if found is None else 0
    _check(fill, MAX_FILL, "bytes that belong to no segment")


def check_png_parts(data: bytes) -> None:
    """Raise `UndecodableInput` if a PNG has too many chunks."""
    place, count = 8, 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        count += 1
        _check(count, MAX_PARTS, "chunks")
        if kind == b"IEND":
            return
        place += 12 + length


def check_bmp_parts(data: bytes) -> None:
    """Raise `UndecodableInput` if a BMP has too many run lengths."""
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40:
        return
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        _check(abs(width * height), MAX_RUN_PIXELS, "pixels in run lengths")
        _check(len(data), MAX_RUN_BYTES, "bytes in run lengths")


def check_gif_parts(count: int) -> None:
    """Raise `UndecodableInput` if a GIF has too many blocks before its first frame."""
    _check(count, MAX_PARTS, "pieces before its first frame")


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise UndecodableInput(f"The image has more than {most:,} {what}. Save it again with fewer.")


Size = tuple[int, int]


def open_image(data: bytes, *, max_pixels: int) -> ImageFile:
    """Read the header of an image file without decoding pixels.

    Args:
        data: bytes of a JPEG, PNG, WebP, GIF or BMP file.

    Raises:
        UndecodableInput: the bytes are not an image in one of these formats, or one with too many parts.
        MemoryError: the server lacks memory for an image of an allowed size.
        Exception: other errors of Pillow for a damaged header, such as struct.error.
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
    try:
        image = kind.opener(io.BytesIO(data))
    except MemoryError as error:
        if kind.announced is not None:
            raise
        # The size is still unknown, and a damaged header may announce any.
        raise UndecodableInput(
            f"Expected an image with a readable header. Received: {describe_bytes(data)}."
        ) from error
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
        """Do nothing: the resolution is unneeded, slow to read, and faulty EXIF causes warnings."""


def _webp_size(data: bytes) -> Size:
    """Return the canvas size from the header, because the decoder allocates the canvas before it reports it.

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
    """Return the logical screen size, grown to contain the first frame, as Pillow does (GIF89a, 18 to 26)."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    offset, pieces = 13 + _color_table_size(flags), 0
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


def _color_table_size(flags: int) -> int:
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
