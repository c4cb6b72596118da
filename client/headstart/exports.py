"""Writes the files of an export as they arrive, and checks their digests."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, cast

import grpc
from google.protobuf.message import Message

from headstart.errors import DataLoss, ErrorDetails
from headstart.results import Export, ExportFormat
from headstart.v1 import model_service_pb2 as pb


class ExportFiles:
    """The files of an export; use it in a `with` statement.

    They are written to a temporary folder, and moved to the path when all have arrived with the announced
    digests. The path is a file, or a folder for several files, created if it is missing. An existing folder
    may be a mount point, and its parent need not be writable.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._header: pb.ExportHeader | None = None
        self._stream: IO[bytes] | None = None
        self._index = -1
        self._is_folder = self._path.is_dir()
        nearby = self._path.absolute() if self._is_folder else self._path.absolute().parent
        self._aside = Path(tempfile.mkdtemp(prefix=".headstart-", dir=nearby))

    def __enter__(self) -> "ExportFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        shutil.rmtree(self._aside, ignore_errors=True)

    def write(self, message: Message) -> None:
        """Write a message of the stream."""
        response = cast(pb.ExportVersionResponse, message)
        part = response.WhichOneof("part")
        if part == "header" and self._header is None:
            _check_names([file.name for file in response.header.files])
            self._header = response.header
        elif part == "chunk" and self._header is not None:
            self._write(response.chunk)
        elif part is not None:
            raise _broken(f"a {part} out of order")

    def finish(self) -> Export:
        """Move the files to the path; raise DataLoss if files are missing or differ."""
        if self._header is None:
            raise _broken("no header")
        self._open(len(self._header.files))
        files = self._header.files
        for file in files:
            _check(self._aside / file.name, file)
        names = [file.name for file in files]
        path = self._path
        if len(files) == 1:
            path = path / PurePosixPath(names[0]).name if self._is_folder else path
            (self._aside / names[0]).replace(path)
            placed = [path]
        else:
            placed = self._move_all(names)
        format = pb.ExportFormat.Name(self._header.format).removeprefix("EXPORT_FORMAT_").lower()
        return Export(
            model=self._header.model,
            version=self._header.version,
            format=cast(ExportFormat, format),
            path=path,
            files=tuple(placed),
        )

    def _move_all(self, names: Sequence[str]) -> list[Path]:
        path = self._path
        others = [each for each in path.iterdir() if each.name != self._aside.name] if self._is_folder else []
        if others or (path.exists() and not self._is_folder):
            raise FileExistsError(
                f"Expected a new or an empty folder for an export of {len(names)} files. Received: {path}."
            )
        if self._is_folder:
            for each in self._aside.iterdir():
                each.replace(path / each.name)
        else:
            self._aside.chmod(0o777 & ~_umask())
            self._aside.replace(path)
        return [path / name for name in names]

    def _write(self, chunk: pb.ExportChunk) -> None:
        assert self._header is not None  # noqa: S101 - for the type checker
        if not 0 <= chunk.file < len(self._header.files):
            raise _broken("a chunk of an unknown file")
        if chunk.file < self._index:
            raise _broken("a chunk of a file that has ended")
        self._open(chunk.file)
        assert self._stream is not None  # noqa: S101 - for the type checker
        file = self._header.files[chunk.file]
        if (
            self._stream.tell() + len(chunk.content) > file.size_bytes
        ):  # or a stream without end fills the disk
            raise _broken(f"more than {file.size_bytes} bytes of {file.name}")
        self._stream.write(chunk.content)

    def _open(self, place: int) -> None:
        """Open the file of an index and complete the earlier ones; the index after the last completes all."""
        assert self._header is not None  # noqa: S101 - for the type checker
        files = self._header.files
        while self._index < place:
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            self._index += 1
            if self._index < len(files):
                path = self._aside / files[self._index].name
                path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = path.open("wb")


def _check_names(names: Sequence[str]) -> None:
    """Check that the names, which a server chooses, are neither elsewhere nor hidden, such as `.bashrc`."""
    if not names:
        raise _broken("no files")
    for name in names:
        parts = name.split("/")
        if any(not part or part.startswith(".") or not part.isprintable() for part in parts) or (
            "\\" in name or ":" in name
        ):
            raise _broken(f"a file named {name!r}")
    if len(set(names)) < len(names):
        raise _broken("two files of one name")


def _check(path: Path, file: pb.ExportedFile) -> None:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != file.sha256:
        raise _broken(f"{file.name} with another digest")


def _broken(received: str) -> DataLoss:
    message = f"Expected the files of an export in their order. Received: {received}."
    return DataLoss(ErrorDetails(code=grpc.StatusCode.DATA_LOSS, message=message))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
