"""Cache of exports, bounded in bytes and in time."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from weakref import WeakSet

from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.errors import ExportQueueFull
from headstart_server.lru import LruCache
from headstart_server.storage.disk import storage_errors

#: Maximum total bytes of cached exports, and the seconds after which an export is created again.
MAX_BYTES = 1 << 30
MAX_SECONDS = 3600.0
#: Exports that may be open at once. Each holds its files open while its caller reads, perhaps slowly.
MAX_OPEN = 32
#: Seconds after which a caller may try again if there are too many exports.
RETRY_SECONDS = 10.0

#: The artifact of a version and a form.
Key = tuple[str, ExportFormat]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file of an export."""

    name: str  # path inside the export, with ``/`` between folders
    size: int
    sha256: str  # of the content, in hexadecimal


class OpenExport:
    """An export with open files, which stay readable after the cache drops them."""

    def __init__(self, files: Sequence[ExportedFile], streams: Sequence[IO[bytes]]) -> None:
        self.files = files
        self.is_closed = False
        self._streams = streams

    def chunks(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield the contents of the files in order, as file index and chunk of at most `size` bytes."""
        for place, stream in enumerate(self._streams):
            while piece := _read(stream, size):
                yield place, piece

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()
        self.is_closed = True


@dataclass(frozen=True, kw_only=True, slots=True)
class _CachedExport:
    folder: Path
    files: Sequence[ExportedFile]
    made: float

    @property
    def nbytes(self) -> int:
        return sum(file.size for file in self.files)


class ExportCache:
    """The most recently used exports. Safe to use from many threads.

    Args:
        max_bytes: maximum bytes; the most recently used export stays whatever its size.
        max_seconds: age at which an export is created again.
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
        self._max_seconds, self._clock = max_seconds, clock
        self._open: WeakSet[OpenExport] = WeakSet()
        self._lock = threading.Lock()
        self._exports: LruCache[Key, _CachedExport] = LruCache(max_bytes, lambda export: export.nbytes)

    @property
    def nbytes(self) -> int:
        """Bytes in the cache."""
        with self._lock:
            return self._exports.size

    def new_folder(self) -> Path:
        """Create an empty folder to export into."""
        folder = self._folder / uuid.uuid4().hex
        with storage_errors():
            folder.mkdir(parents=True)
        return folder

    def add(self, key: Key, folder: Path) -> None:
        """Add the export in a folder."""
        export = _CachedExport(folder=folder, files=_files(folder), made=self._clock())
        with self._lock:
            replaced = self._exports.pop(key)
            evicted = [old for _, old in self._exports.add(key, export)]
        _remove([*evicted, *([replaced] if replaced else [])])

    def open(self, key: Key) -> OpenExport | None:
        """Return an open export; None if it is not cached. Raise ExportQueueFull if too many are open."""
        with self._lock:
            self._check_open()
            export = None if self._is_old(key) else self._exports.get(key)
            if export is None:
                return None
            # Under the lock, since the export could be removed in between.
            with storage_errors(writes=False), ExitStack() as stack:
                streams = [
                    stack.enter_context((export.folder / file.name).open("rb")) for file in export.files
                ]
                stack.pop_all()
            opened = OpenExport(export.files, streams)
            self._open.add(opened)
        return opened

    def sweep(self, live: Callable[[Collection[str]], Collection[str]]) -> None:
        """Remove exports that are too old, and those whose artifact is not live.

        Args:
            live: returns the artifacts, among the given ones, that are live.
        """
        with self._lock:
            keys = list(self._exports)
        known = live({artifact for artifact, _ in keys}) if keys else ()
        gone = [key for key in keys if key[0] not in known]
        with self._lock:
            old = [key for key in self._exports if self._is_old(key)]
            dropped = [self._exports.pop(key) for key in {*gone, *old}]
        _remove([export for export in dropped if export is not None])

    def _check_open(self) -> None:
        if sum(not export.is_closed for export in self._open) >= MAX_OPEN:
            raise ExportQueueFull(
                f"{MAX_OPEN} exports are being read, which is the maximum. Try again in "
                f"{RETRY_SECONDS:.0f} seconds.",
                retry_after=RETRY_SECONDS,
            )

    def _is_old(self, key: Key) -> bool:
        export = self._exports.peek(key)
        return export is None or self._clock() - export.made > self._max_seconds


def _files(folder: Path) -> list[ExportedFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        ExportedFile(
            name=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=file_digest(path)
        )
        for path in paths
    ]


def _read(stream: IO[bytes], size: int) -> bytes:
    with storage_errors(writes=False):
        return stream.read(size)


def _remove(dropped: Sequence[_CachedExport]) -> None:
    for export in dropped:
        shutil.rmtree(export.folder, ignore_errors=True)
