"""Disk errors as domain errors, and file names that survive a power failure."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart_server.errors import HeadstartError, LocalStorageUnavailable, StorageFull
from headstart_server.storage.circuit_breaker import FULL_DISKS

#: Label of artifacts, copies and scratch files in logs and metrics of full disks.
PLACE = "artifacts"
#: Bytes that are written to determine whether a disk has space again.
PROBE_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Errors of a missing file, another kind of file, or an impossible offset in a damaged file.
_OF_FILES = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EOVERFLOW})
#: What to do about an error, by its number.
REMEDIES = {
    errno.EMFILE: "Raise the open-file limit of the server (ulimit -n, LimitNOFILE).",
    errno.ENFILE: "Raise the open-file limit of the machine (sysctl fs.file-max).",
    errno.EAGAIN: "Raise the process limit of the server (ulimit -u, TasksMax, pids.max).",
    errno.ENOMEM: "Give the server more memory, or run fewer jobs at a time with --job-workers.",
    errno.EACCES: "Give the server's user the right to read and write the folder.",
    errno.EPERM: "Give the server's user the right to read and write the folder.",
    errno.EROFS: "Mount the folder writable.",
    errno.ESTALE: "Mount the network folder again.",
}
_REMEDY = "Check the disk or the network folder, and the system's log."


def storage_fault(error: OSError | MemoryError) -> HeadstartError | None:
    """Return the domain error for an operating system error; None for missing or damaged files.

    Every other error is a storage fault, which may be transient and does not imply a damaged file.
    """
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    if number is None or number in _OF_FILES:
        return None
    if number in _FULL:
        return StorageFull()
    name = errno.errorcode.get(number, str(number))
    return LocalStorageUnavailable(
        f"The storage of the server failed: {os.strerror(number)} ({name}). {REMEDIES.get(number, _REMEDY)}",
        metadata={"errno": name},
    )


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk, or its quota, is full."""
    return error.errno in _FULL


@contextmanager
def storage_errors(*, writes: bool = True) -> Iterator[None]:
    """Turn storage errors into StorageFull or LocalStorageUnavailable, except missing files.

    Decoding errors pass unchanged, too. The success of a block that `writes` proves that the disk has space.
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
    """Write to a folder that was full, to determine whether it has space again."""
    if FULL_DISKS.is_full(PLACE):
        with suppress(StorageFull, LocalStorageUnavailable):
            check_space(folder)


def check_space(folder: Path) -> None:
    """Write and remove a file in a folder; raise StorageFull or LocalStorageUnavailable if that fails."""
    probe_file = folder / f".probe-{uuid.uuid4().hex}"
    try:
        with storage_errors(), probe_file.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            probe_file.unlink(missing_ok=True)
