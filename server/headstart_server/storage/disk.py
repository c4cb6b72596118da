"""Writing files: clear errors of a full disk, and names that survive a power cut."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart_server.errors import StorageFull


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn the errors of a full disk into `StorageFull`.

    Raises:
        StorageFull: the disk, or the quota on it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: syncing a file alone does not."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
