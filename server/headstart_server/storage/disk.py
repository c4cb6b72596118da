"""Files on a disk: clear errors of the disk itself, and names that survive a power cut."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart_server.errors import HeadstartError, LocalStorageUnavailable, StorageFull
from headstart_server.outage import FULL_DISKS

#: The place of artifacts, copies and scratch files in logs and metrics of full disks.
PLACE = "artifacts"
#: Bytes that are written to find out whether a disk has space again.
PROBE_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: A file is missing, another kind of thing lies in its place, or a damaged one names an impossible place.
_OF_FILES = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EOVERFLOW})
_REMEDIES = {
    errno.EMFILE: "Raise the open-file limit of the server (ulimit -n, LimitNOFILE).",
    errno.ENFILE: "Raise the open-file limit of the machine (sysctl fs.file-max).",
    errno.ENOMEM: "Give the server more memory, or run fewer jobs at a time with --job-workers.",
    errno.EACCES: "Give the server's user the right to read and write the folder.",
    errno.EPERM: "Give the server's user the right to read and write the folder.",
    errno.EROFS: "Mount the folder writable.",
    errno.ESTALE: "Mount the network folder again.",
}
_REMEDY = "Check the disk or the network folder, and the system's log."


def storage_fault(error: OSError | MemoryError) -> HeadstartError | None:
    """Return the error of the storage that an error of the system stands for.

    Everything but a missing or damaged file is a fault of the storage, which a retry may survive. It says
    nothing about the content of a file.

    Returns:
        None if the error is not one of the storage: a file is missing, or a decoder raised it.
    """
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    if number is None or number in _OF_FILES:
        return None
    if number in _FULL:
        return StorageFull()
    name = errno.errorcode.get(number, str(number))
    return LocalStorageUnavailable(
        f"The storage of the server failed: {os.strerror(number)} ({name}). {_REMEDIES.get(number, _REMEDY)}",
        metadata={"errno": name},
    )


def is_full(error: OSError) -> bool:
    """Return whether an error says that the disk, or the quota on it, is full."""
    return error.errno in _FULL


@contextmanager
def storage_errors(*, writes: bool = True) -> Iterator[None]:
    """Turn errors of the storage into errors of the domain; missing files and decode errors pass.

    Args:
        writes: whether the block writes, so that its success shows that the disk has space.

    Raises:
        StorageFull: the disk, or the quota on it, is full.
        LocalStorageUnavailable: the storage failed in another way.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        fault = storage_fault(error)
        if isinstance(fault, StorageFull):
            FULL_DISKS.found_full(PLACE)
        if fault is None:
            raise
        raise fault from error
    if writes:
        FULL_DISKS.wrote(PLACE)


def probe(folder: Path) -> None:
    """Write to a folder that was full, to find out whether it has space again."""
    if not FULL_DISKS.is_full(PLACE):
        return
    aside = folder / f".probe-{uuid.uuid4().hex}"
    try:
        with suppress(StorageFull, LocalStorageUnavailable), storage_errors(), aside.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: syncing a file alone does not."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
