"""Exports that were made, kept under a bound of bytes and for a time."""

import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headstart_server.backbones.export_request import ExportFormat
from headstart_server.backbones.torch_checkpoint import file_digest

#: The artifact of a version and a form.
Key = tuple[str, ExportFormat]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file of an export.

    Attributes:
        name: its path inside the export, with ``/`` between folders.
        size: in bytes.
        sha256: of its content, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


class OpenExport:
    """An export whose files are open: they can be read to their end even if it is no longer kept.

    Args:
        files: its files.
        streams: they, open.
    """

    def __init__(self, files: Sequence[ExportedFile], streams: Sequence[IO[bytes]]) -> None:
        self.files = files
        self._streams = streams

    def chunks(self, size: int) -> Iterator[tuple[int, bytes]]:
        """The contents of the files in their order, in pieces of `size` bytes at most: place and piece."""
        for place, stream in enumerate(self._streams):
            while piece := stream.read(size):
                yield place, piece

    def close(self) -> None:
        """Close its files."""
        for stream in self._streams:
            stream.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    folder: Path
    files: Sequence[ExportedFile]
    made: float

    @property
    def nbytes(self) -> int:
        return sum(file.size for file in self.files)


class ExportCache:
    """The exports used last. Safe to use from many threads.

    Args:
        folder: where they lie; what is in it is this cache's.
        max_bytes: most bytes to keep; the one used last stays whatever its size.
        max_seconds: after which an export is made anew.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._max_bytes, self._max_seconds, self._clock = max_bytes, max_seconds, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        with self._lock:
            return sum(kept.nbytes for kept in self._kept.values())

    def new_folder(self) -> Path:
        """An empty folder to export into."""
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def add(self, key: Key, folder: Path) -> None:
        """Keep what was exported into a folder."""
        kept = _Kept(folder=folder, files=_files(folder), made=self._clock())
        with self._lock:
            replaced = self._kept.pop(key, None)
            self._kept[key] = kept
            dropped = [*self._excess(), *([replaced] if replaced else [])]
        _remove(dropped)

    def open(self, key: Key) -> OpenExport | None:
        """An export, open to be read; None if there is none."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or self._clock() - kept.made > self._max_seconds:
                return None
            self._kept.move_to_end(key)
            # Under the lock: else it could be removed between.
            with ExitStack() as stack:
                streams = [stack.enter_context((kept.folder / file.name).open("rb")) for file in kept.files]
                stack.pop_all()
        return OpenExport(kept.files, streams)

    def sweep(self, is_live: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what is too old, and what is of versions that are no more.

        Args:
            is_live: whether there is still a version of this artifact.
        """
        with self._lock:
            keys = list(self._kept)
        gone = [key for key in keys if not is_live(key[0])]
        with self._lock:
            old = [key for key, kept in self._kept.items() if self._clock() - kept.made > self._max_seconds]
            dropped = [self._kept.pop(key) for key in {*gone, *old} if key in self._kept]
        _remove(dropped)

    def _excess(self) -> list[_Kept]:
        dropped, left = [], sum(kept.nbytes for kept in self._kept.values())
        while left > self._max_bytes and len(self._kept) > 1:
            _, kept = self._kept.popitem(last=False)
            left -= kept.nbytes
            dropped.append(kept)
        return dropped


def _files(folder: Path) -> list[ExportedFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        ExportedFile(
            name=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=file_digest(path)
        )
        for path in paths
    ]


def _remove(dropped: Sequence[_Kept]) -> None:
    for kept in dropped:
        shutil.rmtree(kept.folder, ignore_errors=True)
