"""Files and folders that appear atomically: written to a staging path, then renamed."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart_server.storage.failpoints import failpoint

#: Age in seconds at which a staging path is abandoned: twice the time limit of a preparation.
ABANDONED_SECONDS = 3600.0

#: Suffix of staging paths.
_SUFFIX = ".part"


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that is synced and renamed to `folder` if the block succeeds.

    Threads, processes and machines may make the same folder concurrently; the first one stays. Abandoned
    staging folders are removed first. Parents are created.
    """
    staging = _staging_path(folder)
    staging.mkdir()
    try:
        yield staging
        _sync_tree(staging)
        try:
            with failpoint("staged.rename_folder"):
                staging.rename(folder)
        except OSError:
            # A folder can only replace an empty one.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_file(path: Path, *, replaces: bool = True) -> Iterator[Path]:
    """Yield the path of a new file that is renamed to `path` if the block succeeds; see `staged_folder`.

    The file is not synced. After a power failure it may be empty, unless the block synced it.

    Args:
        replaces: whether the last of several concurrent writers wins; else the first one, where the file
            system supports links.
    """
    staging = _staging_path(path)
    staging.touch(exist_ok=False)
    try:
        yield staging
        with failpoint("staged.rename_file"):
            if replaces or not _linked(staging, path):
                staging.rename(path)
    finally:
        staging.unlink(missing_ok=True)


def _linked(staging: Path, path: Path) -> bool:
    """Link a file without replacing another one; return False if the file system has no links."""
    try:
        os.link(staging, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    return True


def write_synced(path: Path, content: bytes) -> None:
    """Write a file onto the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: syncing a file alone does not."""
    _sync(path, os.O_DIRECTORY)


def _sync_tree(folder: Path) -> None:
    """Sync a folder with its contents."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            _sync(path)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _staging_path(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    return path.with_name(f"{uuid.uuid4().hex}{_SUFFIX}")


def remove_abandoned(folder: Path) -> None:
    """Remove staging paths in a folder that were not written to for `ABANDONED_SECONDS`."""
    for part in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - _changed(part) < ABANDONED_SECONDS:
                continue
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink()


def _changed(part: Path) -> float:
    """Return the time of the last write within a path, in seconds since 1970."""
    return max(each.stat().st_mtime for each in (part, *part.rglob("*")))
