"""Limits the parts of image files before decoding: the decoding time grows with them.

Pixels and bytes of a file bound the decoding time, except for parts that may occur any number of times: each
scan of a JPEG, which may have few bytes, passes over all pixels; and Pillow reads small parts in Python loops
that copy what they have so far. No honest image has nearly as many parts.
"""

import re
import struct

from headstart_server.errors import UndecodableInput

#: Scans of a JPEG: a progressive one of the usual script has 10.
MAX_SCANS = 100
#: Segments of a JPEG, chunks of a PNG, and blocks before the first frame of a GIF. A PNG of
#: 32 MiB in chunks of 8 KiB has 4,096.
MAX_PARTS = 20_000
#: Bytes between the segments of a JPEG's header.
MAX_FILL = 4096
#: Pixels and bytes of a BMP in run lengths, which are decoded one by one.
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
            # The only scan of its frame: what follows is read once.
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
        raise UndecodableInput(f"Expected an image of at most {most:,} {what}. Received: more.")
