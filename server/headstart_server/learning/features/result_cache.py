"""Cache of results computed from the features of examples, which do not depend on labels."""

import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from headstart_server.lru import LruCache

#: Maximum bytes of all results; a fit of 1,000 images takes about 70 MB.
MAX_BYTES = 160 << 20
#: Minimum and maximum rows: fewer are fast to compute again, and the results of more would not fit.
ROWS = (200, 2_000)


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Sized = TypeVar("Sized", bound=_Sized)
AnyArray = NDArray[Any]


class ResultCache:
    """The most recently used results. Safe to use from many threads.

    A fine-tune that relabels examples of its parent has the features of the parent, so it skips the slowest
    parts of its fit and its findings. A cached result is bit-identical to a computed one.

    Args:
        max_bytes: maximum bytes in memory.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._found: LruCache[Hashable, Any] = LruCache(max_bytes, lambda result: int(result.nbytes))
        #: Locks of the results that are being computed.
        self._pending: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable | None, compute: Callable[[], Sized]) -> Sized:
        """Return the result for a key, which the caller must not change; a key of None always computes it.

        Threads that need the same result wait for the thread that computes it.
        """
        if key is None:
            return compute()
        with self._lock:
            known: Sized | None = self._found.get(key)
            pending = self._pending.setdefault(key, threading.Lock()) if known is None else None
        if known is not None or pending is None:
            return cast(Sized, known)
        with pending:
            try:
                return self._computed(key, compute)
            finally:
                with self._lock:
                    self._pending.pop(key, None)

    def _computed(self, key: Hashable, compute: Callable[[], Sized]) -> Sized:
        with self._lock:
            known: Sized | None = self._found.get(key)
        if known is not None:
            return known
        found = compute()
        # A large result would displace all others.
        if found.nbytes <= self._found.limit // 2:
            with self._lock:
                self._found.add(key, found)
        return found

    def clear(self) -> None:
        """Remove all results."""
        with self._lock:
            for key in self._found:
                self._found.pop(key)


RESULT_CACHE = ResultCache()
_digests: dict[int, tuple[weakref.ref[AnyArray], bytes]] = {}


def frozen(array: AnyArray) -> AnyArray:
    """Make an array that is not a view of another one read-only, so that `feature_key` identifies it."""
    array.flags.writeable = False
    return array


def feature_key(views: Sequence[AnyArray], *parts: Hashable | AnyArray) -> Hashable | None:
    """Return a key for results computed from features [N, D] and other values.

    It is None if caching is not worthwhile, or if an array can change. The content of a
    read-only array is hashed once.
    """
    if not all(ROWS[0] <= len(view) <= ROWS[1] and _is_constant(view) for view in views):
        return None
    hashed = tuple(bytes_key(part) if isinstance(part, np.ndarray) else part for part in parts)
    return tuple(_digest(view) for view in views), hashed


def bytes_key(array: AnyArray) -> bytes:
    """Return the hash of an array as a part of a key."""
    head = f"{array.dtype.str}{array.shape}".encode()[:16]
    return blake2b(np.ascontiguousarray(array).data, person=head).digest()


def _is_constant(array: AnyArray) -> bool:
    return array.base is None and array.flags.c_contiguous and not array.flags.writeable


def _digest(array: AnyArray) -> bytes:
    known = _digests.get(id(array))
    if known is not None and known[0]() is array:
        return known[1]
    digest, array_id = bytes_key(array), id(array)
    _digests[array_id] = (weakref.ref(array, lambda reference: _forget(array_id, reference)), digest)
    return digest


def _forget(array_id: int, reference: "weakref.ref[AnyArray]") -> None:
    known = _digests.get(array_id)
    # A new array may have the same ID as the deleted one.
    if known is not None and known[0] is reference:
        del _digests[array_id]
