"""Files of versions and archives that all replicas share, as in a bucket: each is whole or missing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from headstart_server.storage.directory import FolderEntry


class SimulatedBucket:
    """The files themselves.

    Attributes:
        versions: the files of each artifact by their names.
        archives: when each archive was written.
    """

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, bytes]] = {}
        self.archives: dict[str, float] = {}
        self.written: dict[str, float] = {}


class SimulatedFolder:
    """The folder of versions as one replica sees it.

    Args:
        bucket: the files.
        before: called before each file is written, listed or removed; may wait, raise or let the replica die.
        clock: seconds of the bucket.
    """

    def __init__(
        self, bucket: SimulatedBucket, before: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._bucket = bucket
        self._before = before
        self._clock = clock

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self._before(f"put {name}/{file}")
            self._bucket.versions.setdefault(name, {})[file] = content
            self._bucket.written[name] = self._clock()

    def read(self, name: str, file: str) -> bytes:
        try:
            return self._bucket.versions[name][file]
        except KeyError:
            raise FileNotFoundError(name) from None

    def remove(self, name: str) -> None:
        self._before(f"remove {name}")
        self._bucket.versions.pop(name, None)
        self._bucket.written.pop(name, None)

    def names(self) -> Sequence[str]:
        self._before("list")
        return list(self._bucket.versions)

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        self._before("list entries")
        return [
            FolderEntry(name=name, nbytes=1, written=written)
            for name, written in self._bucket.written.items()
            if names is None or name in names
        ]

    def now(self) -> float:
        return self._clock()

    def staging_path(self, name: str) -> Path:
        raise NotImplementedError

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        raise NotImplementedError

    def open(self, name: str) -> BinaryIO:
        raise NotImplementedError


class SimulatedArchives:
    """The archives of examples as one replica sees them; arguments as for `SimulatedFolder`."""

    def __init__(
        self, bucket: SimulatedBucket, before: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._bucket = bucket
        self._before = before
        self._clock = clock

    def put(self, job_id: str) -> None:
        self._before(f"put archive {job_id}")
        self._bucket.archives[job_id] = self._clock()

    def sizes(self) -> Mapping[str, int]:
        self._before("list archives")
        return dict.fromkeys(self._bucket.archives, 10)

    def remove(self, job_id: str) -> None:
        self._before(f"remove archive {job_id}")
        self._bucket.archives.pop(job_id, None)

    def remove_all_but(
        self, needed: Callable[[Collection[str]], Collection[str]], *, older_than: float = 0.0
    ) -> int:
        self._before("list archives")
        before = self._clock() - older_than
        old = [job for job, at in self._bucket.archives.items() if not older_than or at <= before]
        kept = set(needed(old))
        gone = [job_id for job_id in old if job_id not in kept]
        for job_id in gone:
            self.remove(job_id)
        return len(gone)
