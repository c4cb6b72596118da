"""Reads one uncompressed member of a ZIP archive without a list of all members in memory."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile

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
    # In pieces: a single read holds the inflated data three times.
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


# The end of the central directory, and the record before it in archives that need 64 bits.
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES = 20
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_FULL = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True, slots=True)
class _Directory:
    """The positions of an archive's entries in its file."""

    start: int
    nbytes: int


def read_stored(file: BinaryIO, name: str, place: int) -> bytes:
    """Return the content of an uncompressed member.

    Args:
        file: the archive, which was written without comments.
        name: the name of the member, in ASCII.
        place: the position that the member probably has among all members. If it is correct, and the
            archive has less than 2 GiB, the cost does not depend on the number of members.

    Raises:
        BadZipFile: the member is missing, compressed or damaged.
        OSError: the file cannot be read.
    """
    encoded = name.encode("ascii")
    directory = _directory(file)
    entry = _guess(file, directory, encoded, place) or _search(file, directory, encoded)
    if entry is None:
        raise BadZipFile(f"there is no item named {name!r} in the archive")
    method, crc, size, offset = entry
    file.seek(offset)
    local = _LOCAL.unpack(_read(file, _LOCAL.size))
    found = _read(file, local[-2])
    if local[0] != b"PK\3\4" or found != encoded or method != ZIP_STORED:
        raise BadZipFile(f"the header of {name!r} is damaged")
    file.seek(local[-1], os.SEEK_CUR)
    content = _read(file, size)
    if zlib.crc32(content) != crc:
        raise BadZipFile(f"bad CRC-32 for {name!r}")
    return content


def _directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, os.SEEK_END)
    tail_bytes = min(size, _END64.size + _LOCATOR_BYTES + _END.size)
    file.seek(size - tail_bytes)
    tail = _read(file, tail_bytes)
    if len(tail) < _END.size:
        raise BadZipFile("the archive is truncated")
    mark, *_, nbytes, start, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        raise BadZipFile("the end of the archive is damaged")
    if tail[:4] == b"PK\6\6":
        *_, nbytes, start = _END64.unpack(tail[: _END64.size])
    if start + nbytes > size:
        raise BadZipFile("the end of the archive is damaged")
    return _Directory(start=start, nbytes=nbytes)


def _guess(
    file: BinaryIO, directory: _Directory, name: bytes, place: int
) -> tuple[int, int, int, int] | None:
    width = _ENTRY.size + len(name)
    if (place + 1) * width > directory.nbytes:
        return None
    file.seek(directory.start + place * width)
    return _entry(_read(file, width), 0, name)


def _search(file: BinaryIO, directory: _Directory, name: bytes) -> tuple[int, int, int, int] | None:
    file.seek(directory.start)
    entries = _read(file, directory.nbytes)
    at = entries.find(name)
    while at >= 0:
        # The bytes of the name may occur in another field, too.
        if at >= _ENTRY.size and (entry := _entry(entries, at - _ENTRY.size, name)):
            return entry
        at = entries.find(name, at + 1)
    return None


def _entry(entries: bytes, at: int, name: bytes) -> tuple[int, int, int, int] | None:
    """Return method, CRC-32, size and offset of the entry at a position; None if it is another entry."""
    fields = _ENTRY.unpack_from(entries, at)
    end = at + _ENTRY.size + len(name)
    if fields[0] != b"PK\1\2" or fields[10] != len(name) or entries[at + _ENTRY.size : end] != name:
        return None
    method, crc, size, full_size, offset = fields[4], fields[7], fields[8], fields[9], fields[16]
    if _FULL in (size, full_size, offset):
        # Values that do not fit follow in the order of the fields.
        wide = _wide(entries[end : end + fields[11]])
        full_size = wide.pop(0) if full_size == _FULL and wide else full_size
        size = wide.pop(0) if size == _FULL and wide else size
        offset = wide.pop(0) if offset == _FULL and wide else offset
    return method, crc, size, offset


def _wide(extra: bytes) -> list[int]:
    """Return the 64-bit values of the extra fields of an entry."""
    while len(extra) >= _EXTRA.size:
        kind, nbytes = _EXTRA.unpack_from(extra)
        values, extra = extra[_EXTRA.size : _EXTRA.size + nbytes], extra[_EXTRA.size + nbytes :]
        if kind == 1:
            return [int.from_bytes(values[at : at + 8], "little") for at in range(0, len(values) - 7, 8)]
    return []


def _read(file: BinaryIO, nbytes: int) -> bytes:
    content = file.read(nbytes)
    if len(content) != nbytes:
        raise BadZipFile("the archive is truncated")
    return content
