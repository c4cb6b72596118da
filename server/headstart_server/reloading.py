"""Values that are read from files, and read again when the files change."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
#: Identifies the content of files. A mounted secret is replaced by another file when it changes.
Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Return a value that changes with the files; raise `OSError` if one is missing."""
    stats = [path.stat() for path in paths]
    return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


class ReloadedFiles(Generic[T]):
    """A value read from files. Thread-safe.

    If the files cannot be read, for example during a renewal, the last value stays, and the next call reads
    them again.

    Args:
        read: reads the value from the files; its errors propagate.

    Raises:
        OSError: a file is missing.
    """

    def __init__(self, paths: Iterable[Path], read: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._lock = threading.Lock()
        self._stamp = stamp_of(self._paths)
        self.value = read()

    def reload(self) -> bool:
        """Read the files if they have changed, and return whether there is a new value.

        Raise OSError if a file is missing.
        """
        # Most calls find no change, so they do not wait for a call that reads the files.
        if stamp_of(self._paths) == self._stamp:
            return False
        with self._lock:
            stamp = stamp_of(self._paths)
            if stamp == self._stamp:
                return False
            try:
                value = self._read()
            except Exception as error:
                # Invalid content stays invalid until the files change once more. An error of the system may
                # pass without a change of the files: missing rights, or too many open files.
                if getattr(error, "errno", None) is None:
                    self._stamp = stamp
                raise
            if stamp_of(self._paths) != stamp:
                # The files changed while they were read: the next call reads them again.
                return False
            self.value, self._stamp = value, stamp
            return True
