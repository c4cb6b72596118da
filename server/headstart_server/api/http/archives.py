"""Reads examples from uploads: ZIP archives of class folders, and files that list examples."""

import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

from headstart.inputs import tensors
from headstart.inputs.folders import IN_TABLE, check_classes
from headstart.inputs.records import INPUT_COLUMNS, Layout
from headstart.v1 import input_pb2
from headstart_server.api.grpc.messages.dataset_manifest import list_rows
from headstart_server.api.http.columns import names_columns
from headstart_server.api.http.json_text import load_row
from headstart_server.errors import DatasetTooLarge, InputTooLarge, InvalidField
from headstart_server.storage.zip_member import check_methods, read_entry

#: The end of an archive's directory, its form for large archives, and the locator of that form.
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
#: The beginning of each entry of a directory.
_ENTRY = b"PK\x01\x02"
_PIECE = 1 << 20
#: Maximum bytes after an archive's content: its end, and a comment.
_MAX_TAIL = 22 + 65_535
#: Maximum bytes of the directory per entry: names have at most some hundred bytes.
_ENTRY_BYTES = 1024
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def files_of(file: IO[bytes], *, max_files: int, max_bytes: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield class, path and content of each file in an archive, in the archive's order.

    The class is the first folder of a file's path, after outer folders that contain all class folders are
    removed. Hidden files are skipped.
    """
    try:
        _check_directory(file, max_files)
        with zipfile.ZipFile(file) as archive:
            entries = [each for each in archive.infolist() if not each.is_dir() and _visible(each.filename)]
            check_methods(entries)
            if len(entries) > max_files:
                raise _too_many(max_files)
            paths = _without_common([tuple(each.filename.split("/")) for each in entries])
            check_class_folders({path[0] for path in paths if len(path) > 1}, "the archive")
            for place, (entry, path) in enumerate(zip(entries, paths, strict=True)):
                if len(path) < 2:
                    raise InvalidField(
                        f"Expected each file of the archive in a folder named after its class. "
                        f"Received: {entry.filename[:200]!r}.",
                        field=f"examples[{place}]",
                    )
                yield path[0], "/".join(path), _read(archive, entry, place, max_bytes)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeDecodeError) as error:
        raise InvalidField(f"Expected a ZIP archive. Received: {error}.") from None


def check_class_folders(names: Collection[str], place: str) -> None:
    """Check that folders are classes; raise InvalidField if they look like the splits of a dataset."""
    try:
        check_classes(names, f"The folders of {place}", IN_TABLE)
    except ValueError as error:
        raise InvalidField(str(error), field="examples") from None


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: int, most: int) -> bytes:
    try:
        content = read_entry(archive, entry, most)
    except (RuntimeError, zlib.error, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidField(
            f"The file {entry.filename[:200]!r} of the archive cannot be read: {error}.",
            field=f"examples[{place}]",
        ) from None
    if content is None:
        raise InputTooLarge(
            f"Example {place} is too large. Send at most {most} bytes.",
            field=f"examples[{place}].input",
        )
    return content


def _without_common(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    while paths and min(map(len, paths)) > 2 and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    return paths


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part.lower() in _CLUTTER for part in name.split("/"))


def _too_many(most: int) -> DatasetTooLarge:
    return DatasetTooLarge(
        f"The archive has too many files. Send at most {most} files.",
        metadata={"subject": "examples", "limit": str(most)},
    )


def _check_directory(file: IO[bytes], max_files: int) -> None:
    """Check the directory's size before it is read, because it is read into memory as a whole."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _MAX_TAIL))
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) - place < 22:
        raise zipfile.BadZipFile(f"{size:,} bytes without the directory that ends an archive")
    (nbytes,) = struct.unpack_from("<L", tail, place + 12)
    locator = tail[place - 20 : place] if place >= 20 else b""
    if locator.startswith(_LOCATOR64):
        (offset,) = struct.unpack_from("<Q", locator, 8)
        file.seek(min(offset, size))
        record = file.read(56)
        # Readers also search for it right before its locator, independent of the locator's offset.
        file.seek(max(0, size - len(tail) + place - 76))
        for each in (record, file.read(56)):
            if each.startswith(_END64):
                (nbytes64,) = struct.unpack_from("<Q", each, 40)
                nbytes = max(nbytes if nbytes < 0xFFFFFFFF else 0, nbytes64)
    # Folders and hidden files are entries, too. The count in the end record may be wrong.
    most = 2 * max_files + 1000
    end = size - len(tail) + place
    if nbytes > most * _ENTRY_BYTES or _has_more_entries(file, end - nbytes - 76, end, most):
        raise _too_many(max_files)
    file.seek(0)


def _has_more_entries(file: IO[bytes], start: int, end: int, most: int) -> bool:
    """Return whether a directory has more than `most` entries, without reading all of it into memory."""
    file.seek(max(0, start))
    left, count, rest = end - file.tell(), 0, b""
    while left > 0 and count <= most and (piece := file.read(min(left, _PIECE))):
        left -= len(piece)
        count += (rest + piece).count(_ENTRY)
        rest = piece[-(len(_ENTRY) - 1) :]
    return count > most


def is_row(values: Mapping[str, Any], layout: Layout) -> bool:
    """Return whether a line has the form of a file's row.

    It then has an input, but not under the key `input`, or the caller names its columns.
    """
    return names_columns(layout) or ("input" not in values and any(name in values for name in INPUT_COLUMNS))


def examples_of_list(file: IO[bytes], suffix: str, layout: Layout) -> Iterator[tuple[input_pb2.Example, int]]:
    """Yield the examples of a list, each with its bytes.

    Args:
        suffix: the suffix of files in its format, such as `.csv`.
        layout: the meanings of the columns.
    """
    try:
        for row, example in list_rows(file, "the body", suffix, layout, load_row):
            if row.path:
                raise ValueError(
                    f"the body, line {row.line}: a path cannot be read over HTTP. "
                    "Send the files as a ZIP archive or as a form"
                )
            if row.features is None:
                example.input.text = row.text
            else:
                example.input.tensor.CopyFrom(tensors.encode(row.features))
            example.held_out = row.settings["held_out"]
            if row.settings["weight"] is not None:
                example.weight = row.settings["weight"]
            yield example, example.ByteSize()
    except UnicodeDecodeError as error:
        raise InvalidField(f"The body is not in UTF-8: {error.reason}.") from None
    except ValueError as error:
        text = str(error)
        raise InvalidField(f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}") from None
