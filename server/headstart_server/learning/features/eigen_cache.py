"""Eigendecompositions of rows that were solved before: they depend on features and weights, not on labels."""

import threading
from collections.abc import Callable
from hashlib import blake2b

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.lru import LruCache

#: Bytes of all decompositions; 1,000 rows take 8 MB.
MAX_BYTES = 96 << 20
#: Rows below which decomposing again is faster, and beyond which one would displace all others.
ROWS = (200, 2_000)

Eigen = tuple[Float64, Float64]


class EigenCache:
    """The eigendecompositions that were used last. Safe to use from many threads.

    A fine-tune that relabels examples of its parent has the rows of the parent, so it skips the slowest part
    of its fit. A found decomposition has the bits of a computed one.

    Args:
        max_bytes: most bytes in memory.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._found: LruCache[bytes, Eigen] = LruCache(
            max_bytes, lambda eigen: eigen[0].nbytes + eigen[1].nbytes
        )

    def get(self, rows: Float64, decompose: Callable[[], Eigen]) -> Eigen:
        """Return eigenvalues [N] and eigenvectors [N, N] of the products of rows [N, D]."""
        if not ROWS[0] <= len(rows) <= ROWS[1]:
            return decompose()
        key = blake2b(np.ascontiguousarray(rows).data, person=str(rows.shape).encode()[:16]).digest()
        with self._lock:
            found = self._found.get(key)
        if found is None:
            found = decompose()
            for part in found:
                part.flags.writeable = False
            with self._lock:
                self._found.add(key, found)
        return found

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            for key in self._found:
                self._found.pop(key)


EIGEN_CACHE = EigenCache()
