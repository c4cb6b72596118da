"""A folder in a bucket."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from headstart_server.storage.bucket import Bucket, ObjectFacts
from headstart_server.storage.copies import LocalCopies
from headstart_server.storage.failpoints import failpoint
from headstart_server.storage.folder import FolderEntry

#: An object that is written to read the bucket's time.
_CLOCK = ".clock"


class BucketFolder:
    """Stores files as objects; opening one copies it to the local disk first.

    An object exists whole or not at all. Nothing is renamed: the database knows which names are complete.

    Args:
        scratch: directory of files to upload; private to this process and emptied.
    """

    def __init__(self, bucket: Bucket, root: str, scratch: Path, copies: LocalCopies) -> None:
        self._bucket = bucket
        self._root = root
        self._scratch = scratch
        self._copies = copies
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            path.unlink()

    def write(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            with failpoint("bucket.put_file"):
                self._bucket.write(f"{self._root}/{name}/{file}", content)

    def read(self, name: str, file: str) -> bytes:
        return self._bucket.read(f"{self._root}/{name}/{file}")

    def staging_path(self, name: str) -> Path:
        return (self._scratch / name).with_suffix(".part")

    def commit(self, name: str, *, staged: Path | None = None, shared: bool = True) -> None:
        staging = staged or self.staging_path(name)
        if not shared:
            os.replace(staging, self._scratch / name)
            return
        with failpoint("bucket.upload"):
            self._bucket.upload(staging, self._path(name))
        # The replica that accepted a job often runs it.
        self._copies.adopt(name, self._bucket.fingerprint(self._path(name)), staging)

    def open(self, name: str) -> BinaryIO:
        with suppress(FileNotFoundError):
            return (self._scratch / name).open("rb")
        path = self._path(name)
        fingerprint = self._bucket.fingerprint(path)
        return self._copies.open(name, fingerprint, lambda file: self._bucket.download(path, file))

    def remove(self, name: str) -> None:
        private = self._scratch / name
        if private.exists():
            # Not shared, so no other replica has it.
            private.unlink(missing_ok=True)
            return
        self._copies.remove(name)
        with failpoint("bucket.remove"):
            self._bucket.remove(list(self._bucket.list(self._path(name))))

    def names(self) -> Sequence[str]:
        return list(self._top())

    def entries(self, names: Collection[str] | None = None) -> Sequence[FolderEntry]:
        found: list[FolderEntry] = []
        several = names
        if names is None:
            there = self._top()
            several = [name for name, file in there.items() if file is None]
            found += [
                FolderEntry(name=name, nbytes=file[0], written=file[1])
                for name, file in there.items()
                if file
            ]
        for name in several or ():
            files = self._bucket.list(self._path(name)).values()
            if files:
                nbytes, written = sum(file[0] for file in files), max(file[1] for file in files)
                found.append(FolderEntry(name=name, nbytes=nbytes, written=written))
        return found

    def now(self) -> float:
        return self._bucket.now(self._path(_CLOCK))

    def _top(self) -> Mapping[str, ObjectFacts | None]:
        begin = len(self._root) + 1
        there = {path[begin:]: file for path, file in self._bucket.list_top(self._root).items()}
        there.pop(_CLOCK, None)
        return there

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
