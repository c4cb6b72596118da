"""Writes lines to a file, terminal or pipe, without waiting for a reader that does not read."""

import errno
import os
import select
import socket
import stat
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TextIO

#: Seconds that a line waits for a reader. Once that was in vain, lines do not wait until the reader reads.
WAIT_SECONDS = 1.0


class LineWriter:
    """Write lines to a descriptor. Use it from one thread at a time.

    A pipe has a capacity, and writing to a full one would wait for its reader forever.

    Args:
        descriptor: an open file, which the caller closes.
    """

    def __init__(self, descriptor: int, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._descriptor = descriptor
        self._write: Callable[[bytes], int] = partial(os.write, descriptor)
        self._wait = wait_seconds
        mode = os.fstat(descriptor).st_mode
        self._waits = not stat.S_ISREG(mode)
        self._is_stuck = False
        self._is_broken = False
        if stat.S_ISFIFO(mode):
            self._reopen(descriptor)
        elif stat.S_ISSOCK(mode):
            own = socket.socket(fileno=os.dup(descriptor))
            weakref.finalize(self, own.close).atexit = False
            self._write = lambda content: own.send(content, socket.MSG_DONTWAIT)

    def write(self, line: bytes) -> int:
        """Write a line that ends with a newline, and return the number of its bytes that were written.

        A line in a regular file takes one write, because several processes may append to it. After a line
        that was cut off, the next one begins with a newline.

        Raises:
            OSError: nothing was written.
        """
        start = b"\n" if self._is_broken else b""
        content = start + line
        written = 0
        try:
            if not self._waits:
                written = self._write(content)
            while self._waits and written < len(content):
                # A pipe that is ready accepts a part of this size immediately.
                written += self._write_part(content[written : written + select.PIPE_BUF])
        except OSError:
            if written <= len(start):
                raise
        self._is_broken = written < len(content)
        return max(0, written - len(start))

    def _write_part(self, content: bytes) -> int:
        deadline = time.monotonic() + (0.0 if self._is_stuck else self._wait)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while True:
            if poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                # Another process may have filled the pipe meanwhile.
                with suppress(BlockingIOError):
                    written = self._write(content)
                    self._is_stuck = False
                    return written
            if time.monotonic() >= deadline:
                self._is_stuck = True
                raise BlockingIOError(errno.EAGAIN, "the reader of the pipe does not read")

    def _reopen(self, descriptor: int) -> None:
        """Write to a pipe through an open file of this writer's own, whose writes do not wait.

        The flag that makes them so would also apply to the other processes that have the caller's open file.
        """
        # Fails without /proc, and for the pipe of another user.
        with suppress(OSError):
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
            weakref.finalize(self, os.close, own).atexit = False
            self._write = partial(os.write, own)


class LogStream:
    """A text stream for the log. If a line cannot be written, the stream drops it and counts it.

    A full disk, a pipe without a reader or a stuck one must not fail or delay the calls that are logged.
    """

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._writer = LineWriter(stream.fileno())
        #: Lines that were dropped since the last line that was written.
        self.dropped = 0

    def write(self, line: str) -> int:
        """Write a line that ends with a newline."""
        content = line.encode(errors="backslashreplace")
        try:
            is_written = self._writer.write(content) == len(content)
        except OSError:
            is_written = False
        self.dropped = 0 if is_written else self.dropped + 1
        return len(line)

    def flush(self) -> None:
        """Do nothing: lines are written immediately."""
