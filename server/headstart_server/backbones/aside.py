"""Folders and files of a cache that are made aside and then renamed: nobody ever sees one half made."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart_server.failpoints import failpoint

#: Seconds after which nobody can be at work any more on what lies aside: twice what a preparation may take.
ABANDONED_SECONDS = 3600.0

#: Ends the name of what is not finished.
_SUFFIX = ".part"


@contextmanager
def made_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside another, which becomes that one if the block ends well.

    Threads, processes and machines may make the same folder at once, each aside; the first one's stays. What
    others left aside there is removed before.

    Args:
        folder: what is made. Those above it are made too.

    Raises:
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.", suffix=_SUFFIX))
    try:
        # As `mkdir` would have made it: others may read what is prepared for them.
        aside.chmod(0o755)
        yield aside
        try:
            with failpoint("cache.rename_folder"):
                aside.rename(folder)
        except OSError:
            # A folder takes the place of an empty one only.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """A new, empty file beside another, which becomes that one if the block ends well; as `made_aside`."""
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
    """Remove what lies aside in a folder, and was not written to for `ABANDONED_SECONDS`."""
    for part in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - _changed(part) < ABANDONED_SECONDS:
                continue
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink()


def _changed(part: Path) -> float:
    """When anything in it was last written, seconds since 1970."""
    return max(each.stat().st_mtime for each in (part, *part.rglob("*")))
