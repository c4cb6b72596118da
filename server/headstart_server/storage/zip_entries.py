"""ZIP archives from untrusted sources: only methods whose output is bounded while it is read."""

import io
import zipfile
from collections.abc import Iterable

#: Python stops other decompressors only after a whole block, which can be gigabytes of one kilobyte.
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
_PIECE_BYTES = 1 << 18
_NAMES = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}


def check_methods(entries: Iterable[zipfile.ZipInfo]) -> None:
    """Reject entries whose compression method does not bound the output."""
    for entry in entries:
        if entry.compress_type not in _METHODS:
            method = _NAMES.get(entry.compress_type, f"method {entry.compress_type}")
            raise zipfile.BadZipFile(
                f"{entry.filename[:200]!r} is compressed with {method}. Use deflate or no compression"
            )


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes | None:
    """Return the content of an entry; None if it exceeds `most` bytes."""
    check_methods([entry])
    # In pieces: read at once, what is inflated is held three times.
    content = io.BytesIO()
    with archive.open(entry) as opened:
        while piece := opened.read(_PIECE_BYTES):
            if content.tell() + len(piece) > most:
                return None
            content.write(piece)
    return content.getvalue()


def check_disjoint(entries: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Reject uncompressed entries that share bytes: their content would exceed the size of the archive."""
    if sum(entry.file_size for entry in entries) > size:
        raise zipfile.BadZipFile("entries overlap: their contents are larger than the archive. Save it again")
