"""Local copies of large objects, under a byte limit."""

import os
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from headstart_server.errors import StorageFull
from headstart_server.storage.atomic_files import staged_file
from headstart_server.storage.bucket import ObjectVersion
from headstart_server.storage.disk import storage_errors

#: Changes at each start of the machine; Linux only.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the identity of the current start of the machine; a unique value if it is unknown."""
    with suppress(OSError, ValueError):
        return uuid.UUID(_BOOT_ID.read_text().strip()).hex
    return uuid.uuid4().hex


class LocalCopies:
    """Keeps the most recently used copies. Thread-safe, for one process.

    The name of a copy contains a fingerprint of the object's content, so no copy is ever stale. Copies are
    not synced, so a power failure may damage them. The name therefore also contains the start of the machine
    in which the copy was written, and copies of earlier ones are removed.

    Args:
        root: directory, private to this process. Incomplete copies in it are removed.
        max_bytes: byte limit; the most recently used copy stays regardless of its size.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._suffix = f"@{boot_id()}"
        self._lock = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._discarded: set[str] = set()
        root.mkdir(parents=True, exist_ok=True)
        for path in (*root.glob("*.part"), *root.glob("*@*")):
            if not path.name.endswith(self._suffix):
                path.unlink(missing_ok=True)

    def open(self, name: str, version: ObjectVersion, fetch: Callable[[Path], None]) -> BinaryIO:
        """Open a copy for reading, downloading it with `fetch` if missing or of another size.

        An open copy survives its removal.

        Raise StorageFull if the disk is full even without the other copies.
        """
        path = self._path(name, version)
        with self._turn(path.name):
            with suppress(FileNotFoundError), storage_errors(writes=False):
                if path.stat().st_size == version.nbytes:
                    return self._opened(path)
                path.unlink()
            try:
                file = self._fetch(path, fetch)
            except StorageFull:
                # Copies are only a cache: they are removed first.
                if not self._drop_all():
                    raise
                file = self._fetch(path, fetch)
        self._keep_to_bound()
        return file

    def adopt(self, name: str, version: ObjectVersion, file: Path) -> None:
        """Move a file with the content into the copies; if the disk fails, delete it instead."""
        try:
            os.replace(file, self._path(name, version))
        except OSError:
            file.unlink(missing_ok=True)
            return
        self._keep_to_bound()

    def discard(self, name: str) -> None:
        """Remove damaged copies of an object, each once, because the object itself may be damaged."""
        with self._lock, storage_errors(writes=False):
            for path in self._root.glob(f"{name}@*"):
                if path.name not in self._discarded:
                    path.unlink(missing_ok=True)
                    self._discarded.add(path.name)

    def remove(self, name: str) -> None:
        """Remove every copy of an object."""
        with storage_errors(writes=False):
            for path in self._root.glob(f"{name}@*"):
                path.unlink(missing_ok=True)

    def _path(self, name: str, version: ObjectVersion) -> Path:
        return self._root / f"{name}@{version.fingerprint}{self._suffix}"

    def _fetch(self, path: Path, fetch: Callable[[Path], None]) -> BinaryIO:
        # Opened before it has its name, by which another thread may remove it.
        with storage_errors(), ExitStack() as opened:
            with staged_file(path) as staging:
                fetch(staging)
                file = opened.enter_context(staging.open("rb"))
            opened.pop_all()
        return file

    def _drop_all(self) -> int:
        """Remove every copy, and return their number; open ones stay readable."""
        there = list(self._root.glob("*@*"))
        for path in there:
            path.unlink(missing_ok=True)
        return len(there)

    def _opened(self, path: Path) -> BinaryIO:
        with storage_errors(writes=False):
            file = path.open("rb")
        # The time of use, for the eviction of the oldest.
        with suppress(OSError):
            os.utime(path)
        return file

    def _turn(self, key: str) -> threading.Lock:
        with self._lock:
            # Archives are few compared to their content: their locks are never removed.
            return self._fetching.setdefault(key, threading.Lock())

    def _keep_to_bound(self) -> None:
        found = []
        for path in self._root.glob("*@*"):
            with suppress(FileNotFoundError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        found.sort(key=lambda one: one[0])
        total = sum(size for _, size, _ in found)
        for _, size, path in found[:-1]:
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
