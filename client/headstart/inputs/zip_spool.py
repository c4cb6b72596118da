"""Makes a one-time iterator repeatable, so that an interrupted upload can be sent again."""

import struct
import tempfile
import weakref
from collections.abc import Iterator

from headstart.v1 import input_pb2

_MEMORY_BYTES = 64 * 2**20
_LENGTH = struct.Struct("<Q")


class Spool:
    """A repeatable iterator, with up to 64 MiB in memory and the rest in a temporary file.

    Each iteration first repeats the stored items, then continues with the iterator. Iterations must not
    overlap.
    """

    def __init__(self, messages: Iterator[input_pb2.Example]) -> None:
        self._messages = messages
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def __iter__(self) -> Iterator[input_pb2.Example]:
        self._file.seek(0)
        while header := self._file.read(_LENGTH.size):
            (length,) = _LENGTH.unpack(header)
            yield input_pb2.Example.FromString(self._file.read(length))
        for message in self._messages:
            data = message.SerializeToString()
            self._file.write(_LENGTH.pack(len(data)) + data)
            yield message
