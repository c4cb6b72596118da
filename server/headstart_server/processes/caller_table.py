"""Per-caller limits that all serving processes of a server share."""

import fcntl
import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from headstart_server.processes.shared_memory import sealed_memory

#: Maximum callers in the table, and slots that are searched for a caller.
SLOTS, PROBES = 4096, 16
#: A caller's key, and the monotonic times at which its buckets of calls and bytes are full again.
_HEAD = struct.Struct("<Qdd")
_COUNT = struct.Struct("<I")
#: Offsets of the buckets of calls and of bytes in a slot.
CALLS, BYTES = 8, 16


class CallerTable:
    """A table in memory that the serving processes share. Not thread-safe within a process.

    A process that ends releases its lock, and its successor clears the calls that it counted.

    Args:
        descriptor: descriptor of the memory, from `create`.
        count: number of serving processes.
        number: number of this process, from 1.
    """

    def __init__(self, descriptor: int, *, count: int, number: int) -> None:
        self._file = descriptor
        self._size = _slot_bytes(count)
        self._map = mmap.mmap(descriptor, SLOTS * self._size)
        self._own = _HEAD.size + (number - 1) * _COUNT.size
        self._count = count
        with self._locked():
            for start in range(0, SLOTS * self._size, self._size):
                _COUNT.pack_into(self._map, start + self._own, 0)

    @staticmethod
    def create(count: int) -> int:
        """Return the descriptor of an empty table."""
        return sealed_memory("headstart-callers", SLOTS * _slot_bytes(count))

    def exchange(self, caller: str, bucket: int, now: float, change: Callable[[float], float]) -> None:
        """Replace the time at which a caller's bucket is full again.

        Args:
            caller: the key of the caller.
            bucket: `CALLS` or `BYTES`.
            now: the time on the monotonic clock.
            change: returns the new time for the old one, which is 0 for a new caller.
        """
        with self._locked():
            place = self._find(caller, now) + bucket
            (full,) = struct.unpack_from("<d", self._map, place)
            struct.pack_into("<d", self._map, place, change(full))

    def start_call(self, caller: str, now: float, most: int) -> bool:
        """Count a concurrent call of a caller; return False at the maximum."""
        with self._locked():
            start = self._find(caller, now)
            if self._running(start) >= most:
                return False
            self._add(start, 1)
            return True

    def end_call(self, caller: str, now: float) -> None:
        """Stop counting a concurrent call."""
        with self._locked():
            self._add(self._find(caller, now), -1)

    def _running(self, start: int) -> int:
        return sum(struct.unpack_from(f"<{self._count}I", self._map, start + _HEAD.size))

    def _add(self, start: int, calls: int) -> None:
        place = start + self._own
        (running,) = _COUNT.unpack_from(self._map, place)
        _COUNT.pack_into(self._map, place, max(0, running + calls))

    def _find(self, caller: str, now: float) -> int:
        """Return the start of a caller's slot; a new caller replaces one whose buckets are full."""
        key = int.from_bytes(blake2b(caller.encode(), digest_size=8).digest(), "little") or 1
        chosen, least = -1, float("inf")
        for probe in range(PROBES):
            start = (key + probe) % SLOTS * self._size
            found, calls, nbytes = _HEAD.unpack_from(self._map, start)
            if found == key:
                return start
            if found == 0:
                chosen = start
                break
            # A slot with running calls is replaced last.
            owed = max(calls, nbytes, now) + (1e9 if self._running(start) else 0.0)
            if owed < least:
                chosen, least = start, owed
        _HEAD.pack_into(self._map, chosen, key, 0.0, 0.0)
        struct.pack_into(f"<{self._count}I", self._map, chosen + _HEAD.size, *(0,) * self._count)
        return chosen

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A lock of the process, not of the open file, which all processes share.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _slot_bytes(count: int) -> int:
    return -(-(_HEAD.size + count * _COUNT.size) // 8) * 8
