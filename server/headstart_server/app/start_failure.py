"""The exit of a process, and the one-line message of a failing start."""

import errno
import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from headstart_server.errors import (
    DatabaseUnavailable,
    HeadstartError,
    StorageFull,
    StorageUnavailable,
)
from headstart_server.processes.channel import ProcessEndedError
from headstart_server.storage.disk import REMEDIES

#: The last sentence of messages about this machine.
_DOCTOR = "Run 'headstart-server doctor' with the same settings to check this machine."
_FULL = "The disk is full{where}. Free space, or choose another folder with --data-dir."
#: Errors that do not depend on the file.
_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: Python's message for a thread that cannot be started.
_NO_THREAD = "can't start new thread"
_DISK_FULL = ("No space left on device", "Disk quota exceeded")


def cause_of(error: BaseException) -> str | None:
    """Return the cause of a failing start and its remedy, in one line; None for an unexpected error."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted before the server had started."
    if isinstance(error, StorageFull):
        cause = _FULL.format(where="")
    elif isinstance(error, ProcessEndedError):
        cause = str(error)
    elif isinstance(error, DatabaseUnavailable | StorageUnavailable):
        cause = f"{error.unavailable.removesuffix('.')}: {error.detail}"
    elif isinstance(error, HeadstartError):
        cause = error.message
    elif isinstance(error, ModuleNotFoundError):
        cause = _with_package(error)
    elif isinstance(error, OSError):
        cause = _of_system(error)
    elif isinstance(error, MemoryError):
        cause = f"The memory is full. {REMEDIES[errno.ENOMEM]}"
    elif isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        cause = "The system allows no more threads. Raise its limits (ulimit -u, pids.max), or add memory."
    else:
        return None
    return _line(f"{cause.removesuffix('.')}. {_DOCTOR}")


def unexpected(error: BaseException) -> str:
    """Return the type and message of an unexpected error and the remedy, in one line."""
    # SQLAlchemy adds the statement and its parameters, which hold callers' data.
    original = getattr(error, "orig", None) or error
    return _line(f"{type(error).__name__}: {original} (--log-level debug shows the stack trace.)")


def end_process(code: int) -> NoReturn:
    """Flush all buffers, and end this process immediately.

    Otherwise a thread that still loads a backbone in C++ would abort the process while Python shuts down.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


def _with_package(error: ModuleNotFoundError) -> str:
    if "pip install" in str(error):
        return str(error)
    return f"The package {error.name} is missing. Install it with: pip install 'headstart[server]'."


def _of_system(error: OSError) -> str:
    if error.strerror in _DISK_FULL:
        return _FULL.format(where=f" at {error.filename}" if error.filename else "")
    if error.filename is None or error.strerror is None:
        return str(error)
    if error.errno in _LIMITS:
        return f"{error.strerror}. {REMEDIES[error.errno]}"
    return (
        f"Cannot use {error.filename}: {error.strerror}. Check that it exists and that this user may read "
        "and write it."
    )


def _line(text: str) -> str:
    return " ".join(text.split())
