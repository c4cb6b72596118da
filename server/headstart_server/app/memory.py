"""Garbage collection and the memory allocator of a server, set for large requests."""

import ctypes
import gc

#: Thresholds of the garbage collector: new objects before a collection of the youngest generation, and
#: collections of one generation before the next. A full one comes after a million new objects, and with
#: Python's defaults (700, 10, 10) after 70,000.
GARBAGE_THRESHOLDS = (2_000, 20, 25)
#: Parameters of `mallopt`, from glibc's `malloc.h`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
#: The maximum that glibc allows; larger buffers are mapped each time.
_MAX_KEPT_BUFFER = 32 << 20
#: Free bytes that are kept at the end of the heap: enough for some messages of default size.
_KEPT_BYTES = 128 << 20


def keep_freed_memory() -> None:
    """Let glibc use the memory of a freed message for the next one, even if another thread allocates it.

    New memory comes in pages of 4 KiB. Mapping them takes up to ten times as long as copying a message into
    them, and the copying thread holds Python's lock. Do nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAX_KEPT_BUFFER)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        # By default each thread has a separate heap, and a message passes through several threads.
        mallopt(_ARENA_MAX, 1)


def keep_started_objects() -> None:
    """Exclude the objects of the start from garbage collection, and collect less often."""
    # A full collection takes a tenth of a second with these objects, and every request that creates many
    # objects would trigger one.
    gc.collect()
    gc.freeze()
    # With these thresholds, collections also do not search the examples of a large request repeatedly.
    gc.set_threshold(*GARBAGE_THRESHOLDS)
