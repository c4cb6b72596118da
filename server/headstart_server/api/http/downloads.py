"""An export as the body of a response: a single file unchanged, or a tar of several."""

import base64
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from headstart.v1 import model_service_pb2 as pb

FILE, TAR = "application/octet-stream", "application/x-tar"
#: Bytes of a tar block: files are padded to whole blocks, and two zero blocks end it (POSIX.1-1988, ustar).
_BLOCK = 512


class Download:
    """The body of an export's response, in pieces as they arrive."""

    def __init__(self, header: pb.ExportHeader) -> None:
        self._files: Sequence[Any] = header.files
        self._one = len(header.files) == 1
        # The name of a model has letters, digits, `.`, `_` and `-` only.
        self._name = f"{header.model}-{header.version}"
        self._starts = [b"" if self._one else _start(file) for file in self._files]

    @property
    def size(self) -> int:
        """Bytes of the whole body, so that a caller can detect a truncated one."""
        size = sum(map(len, self._starts))
        for place, file in enumerate(self._files):
            size += file.size_bytes + len(self._end(place))
        return size

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response, for a single file with its digest (RFC 9530)."""
        suffix, digest = ".tar", {}
        if self._one:
            suffix = PurePosixPath(self._files[0].name).suffix
            sha256 = base64.b64encode(bytes.fromhex(self._files[0].sha256)).decode()
            digest = {"repr-digest": f"sha-256=:{sha256}:"}
        return {
            "content-type": FILE if self._one else TAR,
            "content-length": str(self.size),
            "content-disposition": f'attachment; filename="{self._name}{suffix}"',
            **digest,
        }

    async def pieces(self, messages: AsyncIterator[pb.ExportVersionResponse]) -> AsyncIterator[bytes]:
        """Yield the body from the messages that follow the header."""
        place = -1
        async for message in messages:
            if message.WhichOneof("part") != "chunk":
                continue
            while place < message.chunk.file:
                yield self._between(place)
                place += 1
            yield message.chunk.content
        # Empty files have no chunk.
        while place < len(self._files):
            yield self._between(place)
            place += 1

    def _between(self, place: int) -> bytes:
        """Return the bytes between a file and the next."""
        ended = self._end(place) if place >= 0 else b""
        return ended + (self._starts[place + 1] if place + 1 < len(self._files) else b"")

    def _end(self, place: int) -> bytes:
        if self._one:
            return b""
        last = 2 * _BLOCK if place + 1 == len(self._files) else 0
        return bytes(-self._files[place].size_bytes % _BLOCK + last)


def _start(file: pb.ExportedFile) -> bytes:
    header = tarfile.TarInfo(file.name)
    header.size = file.size_bytes
    return header.tobuf(tarfile.PAX_FORMAT)
