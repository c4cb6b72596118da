"""Thumbnails of images, each made once and stored within a limit."""

import re
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from headstart_server.errors import InvalidField
from headstart_server.lru import LruCache
from headstart_server.storage.atomic_files import staged_file
from headstart_server.storage.attempts import Attempts
from headstart_server.storage.disk import storage_errors

#: Longer sides of thumbnails in pixels.
SIDES = (64, 128, 256, 512)
#: Media type of thumbnails.
JPEG = "image/jpeg"
_NAME = re.compile(r"([0-9a-f]{32,64})-([0-9]+)\.jpg")


def check_side(side: int) -> None:
    """Raise InvalidField if a number of pixels is not a longer side of thumbnails."""
    if side not in SIDES:
        raise InvalidField(
            f"Expected a thumbnail_size of {', '.join(map(str, SIDES))}. Received: {side}.",
            field="thumbnail_size",
        )


class ThumbnailStore:
    """The most recently used thumbnails, as files. Thread-safe.

    An image is named by 32 to 64 hexadecimal digits: the digest of its content, or the ID of its prediction.

    Args:
        folder: folder of the files; other files in it are removed.
        max_bytes: maximum bytes of all files; 0 stores none.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._removals = Attempts()
        self._files: LruCache[str, int] = LruCache(max(max_bytes, 1), lambda size: size)
        folder.mkdir(parents=True, exist_ok=True)
        self._load()

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        with self._lock:
            return self._files.size

    @property
    def images(self) -> set[str]:
        """The names of the images that have thumbnails."""
        with self._lock:
            return {name.partition("-")[0] for name in self._files}

    def get(self, image: str, side: int, make: Callable[[], bytes]) -> bytes:
        """Return a thumbnail; make it if it is not stored."""
        name = _name(image, side)
        with self._lock:
            is_stored = self._files.get(name) is not None
        if is_stored:
            with suppress(OSError):
                return (self._folder / name).read_bytes()
        content = make()
        # If a thumbnail cannot be stored, the next caller makes it again.
        with suppress(OSError):
            self._store(name, content)
        return content

    def remove(self, images: Collection[str]) -> None:
        """Remove the thumbnails of some images; one that cannot be removed is still counted.

        Raise LocalStorageUnavailable at the end if one cannot be removed.
        """
        self._removals.run_all([_name(image, side) for image in images for side in SIDES], self._remove)

    def _remove(self, name: str) -> None:
        with self._lock:
            with suppress(NotADirectoryError), storage_errors(writes=False):
                (self._folder / name).unlink(missing_ok=True)
            self._files.pop(name)

    def _store(self, name: str, content: bytes) -> None:
        if len(content) > self._max_bytes:
            return
        with staged_file(self._folder / name) as staging:
            staging.write_bytes(content)
        with self._lock:
            for old, _ in self._files.add(name, len(content)):
                self._unlink(old)

    def _load(self) -> None:
        """Find the files of earlier runs, the oldest first, and remove other files."""
        found = []
        for path in self._folder.iterdir():
            status = path.stat()
            if _NAME.fullmatch(path.name) and status.st_size and status.st_size <= self._max_bytes:
                found.append((status.st_mtime, path.name, status.st_size))
            else:
                self._unlink(path.name)
        for _, name, size in sorted(found):
            for old, _ in self._files.add(name, size):
                self._unlink(old)

    def _unlink(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)


def _name(image: str, side: int) -> str:
    return f"{image}-{side}.jpg"
