"""A disk that is full as long as a test says so, for what Python writes beneath a folder."""

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

_open = io.open


class _File(io.FileIO):
    """A file that keeps half of what is written, and then fails: something half-written is left."""

    def __init__(self, path: str, mode: str, disk: "FullDisk") -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any, /) -> int:
        if self._disk.full_while():
            super().write(memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


class FullDisk:
    """Stands in for a disk in this process; what opens a file with Python's `open` to write finds it.

    Args:
        folder: what lies on it.

    Attributes:
        folder: what lies on it.
        full_while: called at each write; returns whether the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.full_while: Callable[[], bool] = lambda: False

    def __enter__(self) -> Self:
        io.open = builtins.open = self._opened
        return self

    def __exit__(self, *_: object) -> None:
        io.open = builtins.open = _open

    def _opened(self, file: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        if isinstance(file, str | Path) and str(file).startswith(str(self.folder)) and mode in ("wb", "w+b"):
            raw = _File(str(file), mode.replace("b", ""), self)
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return _open(file, mode, *arguments, **settings)
