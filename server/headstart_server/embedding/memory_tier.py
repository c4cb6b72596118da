"""Features in memory under a byte limit."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping

from headstart_server.embedding.feature_rows import Key, Vectors

#: Bytes of an entry in addition to its vectors: keys, dictionary and array headers.
OVERHEAD = 600


class MemoryTier:
    """The features used last. Safe to use from many threads.

    Args:
        max_bytes: most bytes to keep; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, Vectors] = OrderedDict()
        self._nbytes = 0
        self._removals = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes used, overhead included."""
        return self._nbytes

    @property
    def removals(self) -> int:
        """Number of removals so far."""
        return self._removals

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the vectors of contents on a backbone, by digest."""
        found = {}
        with self._lock:
            for digest in digests:
                key = (backbone, digest)
                if key in self._entries:
                    self._entries.move_to_end(key)
                    found[digest] = self._entries[key]
        return found

    def put(self, key: Key, vectors: Vectors) -> None:
        """Store vectors, and evict the least recently used above the limit."""
        with self._lock:
            self._drop(key)
            self._add(key, vectors)

    def fill(self, backbone: str, stored: Mapping[str, Vectors], removals: int) -> None:
        """Store what was found in another tier, unless something was stored or removed meanwhile."""
        with self._lock:
            if removals == self._removals:
                for digest, vectors in stored.items():
                    if (backbone, digest) not in self._entries:
                        self._add((backbone, digest), vectors)

    def remove(self, digests: Collection[str], backbone: str | None) -> None:
        """Remove the vectors of contents, of one backbone or of all."""
        gone = set(digests)
        with self._lock:
            self._removals += 1
            for key in [key for key in self._entries if key[1] in gone and backbone in (None, key[0])]:
                self._drop(key)

    def _add(self, key: Key, vectors: Vectors) -> None:
        size = _size(vectors)
        if size > self._max_bytes:
            return
        self._entries[key] = vectors
        self._nbytes += size
        while self._nbytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        vectors = self._entries.pop(key, None)
        if vectors is not None:
            self._nbytes -= _size(vectors)


def _size(vectors: Vectors) -> int:
    return OVERHEAD + sum(vector.nbytes for vector in vectors.values())
