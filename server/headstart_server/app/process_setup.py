"""The state of a process before the server starts: its standard streams and its signals."""

import os
import signal
import sys
from contextlib import suppress


def prepare_process() -> None:
    """Open closed standard streams, and let SIGTERM end the first process of a container."""
    _open_closed_streams()
    if os.getpid() == 1:
        # The kernel ignores signals of this process that have no handler, so a stop during the start would be
        # lost. The server replaces this handler.
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _open_closed_streams() -> None:
    """Open /dev/null in place of closed standard streams.

    Otherwise the next files of the server get their descriptors, and libraries write messages into them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.fstat(number)
            continue
        if (opened := os.open(os.devnull, os.O_RDWR)) != number:
            os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
