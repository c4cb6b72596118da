"""Files and folders that appear whole or not at all: written to a staging path, then renamed."""

import shutil
import tempfile
import time
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
    """Yield a new folder that replaces nothing and is renamed to `folder` if the block succeeds.

    Threads, processes and machines may make the same folder concurrently; the first one stays. Abandoned
    staging folders are removed first. Parents are created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.", suffix=_SUFFIX))
    try:
        # The mode of `mkdir`: other users may read what is prepared for them.
        aside.chmod(0o755)
        yield aside
        try:
            with failpoint("cache.rename_folder"):
                aside.rename(folder)
        except OSError:
            # A folder can only replace an empty one.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that is renamed to `file` if the block succeeds; see `staged_folder`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f"{path.name}.", suffix=_SUFFIX, delete=False
    ) as file:
        aside = Path(file.name)
    try:
        aside.chmod(0o644)
        yield aside
        with failpoint("cache.rename_file"):
            aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


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
    """Return when anything in a path was last written, in seconds since 1970."""
    return max(each.stat().st_mtime for each in (part, *part.rglob("*")))
