"""Garbage collection and the memory allocator of a server, set for large requests."""

import ctypes
import gc

#: Objects after which the garbage collector searches new ones, and after how many such searches it searches
#: older and all ones: all after a million, where Python's defaults, (700, 10, 10), do it after 70,000.
GARBAGE_THRESHOLDS = (2_000, 20, 25)
#: Parameters of `mallopt`, from glibc's `malloc.h`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
#: The most that glibc allows: larger buffers are mapped each time.
_MAX_KEPT_BUFFER = 32 << 20
#: Free bytes at the end of the heap that stay: some messages of default size.
_KEPT_BYTES = 128 << 20


def keep_freed_memory() -> None:
    """Let glibc use the memory of a freed message for the next one, whichever thread allocates it.

    New memory comes in pages of 4 KiB. Getting them takes up to ten times as long as copying a message into
    them, and the thread that copies holds Python's lock. Do nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAX_KEPT_BUFFER)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        # Otherwise each thread has a heap, and a message passes several threads.
        mallopt(_ARENA_MAX, 1)


def keep_started_objects() -> None:
    """Let the garbage collector leave the objects of the start alone, and search all objects less often."""
    # A full collection would search all of them, for a tenth of a second, whenever a request creates many
    # objects.
    gc.collect()
    gc.freeze()
    # Nor do collections search the examples of a large request again and again while they are read.
    gc.set_threshold(*GARBAGE_THRESHOLDS)
