"""Finds the server that uses a data folder."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock."""

    pid: int | None  # its process ID; None if it is in another container


def holder_of(lock: Path) -> Holder | None:
    """Return the server that holds a lock file; None if the lock is free.

    A free lock is held for some microseconds, shared and without waiting. A server that starts in exactly
    that moment would be refused.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        file = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(_pid(os.fstat(file).st_ino))
    finally:
        os.close(file)
    return None


def _pid(inode: int) -> int | None:
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        # Not the device: file systems of several devices report another one.
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None
