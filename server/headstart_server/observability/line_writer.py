"""Writes lines to a file, terminal or pipe, without waiting for a reader that does not read."""

import errno
import os
import select
import stat
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
        self._wait = wait_seconds
        self._waits = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._is_stuck = False
        self._is_broken = False

    def write(self, line: bytes) -> int:
        """Write a line that ends with a newline, and return the number of its bytes that were written.

        A line in a regular file takes one write, because several processes may append to it. After a line
        that was cut off, the next one begins with a newline.

        Raises:
            OSError: nothing was written.
        """
        start = b"\n" if self._is_broken else b""
        content = start + line
        # A pipe that is ready accepts a part of this size immediately.
        size = select.PIPE_BUF if self._waits else len(content)
        written = 0
        try:
            while written < len(content):
                self._await_reader()
                count = os.write(self._descriptor, content[written : written + size])
                written += count
                if not self._waits:
                    break
        except OSError:
            if written <= len(start):
                raise
        self._is_broken = written < len(content)
        return max(0, written - len(start))

    def _await_reader(self) -> None:
        if not self._waits:
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if not poll.poll(0 if self._is_stuck else self._wait * 1000):
            self._is_stuck = True
            raise BlockingIOError(errno.EAGAIN, "the reader of the pipe does not read")
        self._is_stuck = False


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
