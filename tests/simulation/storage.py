"""Files of versions, archives and captured inputs that all replicas share, as in a bucket."""

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from headstart_server.storage.directory import FolderEntry

#: The file of a name that has only one.
_ONLY = ""


class SimulatedBucket:
    """The files of one folder: each is whole or missing.

    Attributes:
        files: the files of each name.
        written: when each name was last written to.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.written: dict[str, float] = {}

    def contents(self) -> dict[str, bytes]:
        """Return the content of each name, of all its files together."""
        return {name: b"".join(files.values()) for name, files in self.files.items()}


class SimulatedFolder:
    """A folder as one replica sees it.

    Args:
        bucket: the files.
        before: called before each file is written, listed, read or removed; may wait, raise or let the
            replica die.
        clock: seconds of the bucket.
        scratch: path on this machine that files which are being written begin with.
    """

    def __init__(
        self,
        bucket: SimulatedBucket,
        before: Callable[[str], None],
        clock: Callable[[], float],
        scratch: Path | None = None,
    ) -> None:
        self._bucket = bucket
        self._before = before
        self._clock = clock
        self._scratch = scratch

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self._before(f"put {name}/{file}")
            self._bucket.files.setdefault(name, {})[file] = content
            self._bucket.written[name] = self._clock()

    def put(self, name: str, content: bytes) -> None:
        """Store the only file of a name."""
        self.write(name, {_ONLY: content})

    def read(self, name: str, file: str) -> bytes:
        self._before(f"get {name}/{file}")
        try:
            return self._bucket.files[name][file]
        except KeyError:
            raise FileNotFoundError(name) from None

    def remove(self, name: str) -> None:
        self._before(f"remove {name}")
        self._bucket.files.pop(name, None)
        self._bucket.written.pop(name, None)

    def names(self) -> Sequence[str]:
        self._before("list")
        return list(self._bucket.files)

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        self._before("list entries")
        return [
            FolderEntry(name=name, nbytes=sum(map(len, self._bucket.files[name].values())), written=written)
            for name, written in self._bucket.written.items()
            if names is None or name in names
        ]

    def now(self) -> float:
        return self._clock()

    def staging_path(self, name: str) -> Path:
        assert self._scratch is not None
        return self._scratch.with_name(f"{self._scratch.name}-{name}")

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        path = staged or self.staging_path(name)
        self.put(name, path.read_bytes())
        path.unlink()

    def discard_copy(self, name: str) -> bool:
        del name
        return False

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name, _ONLY))
