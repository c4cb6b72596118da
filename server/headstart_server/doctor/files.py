"""Reads the small files that settings name, without hanging on pipes and devices."""

import os
import stat
from pathlib import Path

#: The largest file of settings or certificates.
MOST_BYTES = 16 << 20


def unreadable(path: Path) -> str | None:
    """Return why a file of settings or certificates cannot be read; None if it can."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file."
    if found.st_size > MOST_BYTES:
        return f"{path} has {found.st_size:,} bytes, more than {MOST_BYTES:,}."
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return None


def remedy_of(path: Path) -> str:
    """Return what to do about a file that cannot be read."""
    return f"Provide the file {path}, readable for the user ID {os.geteuid()}."


def open_to_all(path: Path) -> str | None:
    """Return how a secret file is open to every user of the machine; None if it is not."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        return f"every user may change {path} (mode {stat.S_IMODE(mode):03o})"
    if mode & stat.S_IROTH:
        return f"every user may read {path} (mode {stat.S_IMODE(mode):03o})"
    return None
