"""Features by content: the backbone is frozen, so the features of an input never change."""

from collections.abc import Callable, Collection
from enum import Enum
from hashlib import sha256

import numpy as np

from headstart_server.backbones.backbone import Content
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.feature_store import FeatureStore
from headstart_server.embedding.memory_tier import MemoryTier


def content_digest(content: Content) -> str:
    """SHA-256 in hexadecimal of an input, different for different kinds, types and shapes of content."""
    if isinstance(content, bytes):
        digest = sha256(b"image\0")
        digest.update(content)
    elif isinstance(content, str):
        digest = sha256(b"text\0")
        digest.update(content.encode())
    else:
        digest = sha256(f"tensor\0{content.dtype.str}{content.shape}\0".encode())
        digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


class Outcome(Enum):
    """Where a look-up found features."""

    MEMORY = "memory"
    DISK = "disk"
    MISS = "miss"


class FeatureCache:
    """Keeps features in memory and, with a store, on disk. Safe to use from many threads.

    What is found on disk comes into memory. Vectors can be written to by nobody once they are put.

    Args:
        max_bytes: most bytes to keep in memory; 0 keeps nothing there.
        store: keeps features on disk; None keeps them in memory only. Closed with the cache.
        looked_up: told of each outcome with the number of features that had it.
    """

    def __init__(
        self,
        max_bytes: int,
        store: FeatureStore | None = None,
        looked_up: Callable[[Outcome, int], None] = lambda *_: None,
    ) -> None:
        self._memory = MemoryTier(max_bytes)
        self._store = store
        self._looked_up = looked_up

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Bytes it holds in memory, overhead included."""
        return self._memory.nbytes

    @property
    def disk_nbytes(self) -> int:
        """Bytes it holds on disk."""
        return self._store.nbytes if self._store else 0

    def get(self, backbone: str, digest: str) -> Vectors | None:
        """The vectors of a content on a backbone, or None.

        Args:
            backbone: digest and runtime of the backbone.
            digest: digest of the content.
        """
        return self.get_many(backbone, (digest,)).get(digest)

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """The vectors of different contents on a backbone, by digest, as far as they are there.

        Args:
            backbone: digest and runtime of the backbone.
            digests: digests of the contents.
        """
        removals = self._memory.removals
        found = self._memory.get_many(backbone, digests)
        self._tell(Outcome.MEMORY, len(found))
        missing = [digest for digest in digests if digest not in found]
        if self._store and found:
            self._store.touch(backbone, found)
        if self._store and missing:
            stored = self._store.get_many(backbone, missing)
            self._tell(Outcome.DISK, len(stored))
            self._memory.fill(backbone, stored, removals)
            found |= stored
        self._tell(Outcome.MISS, len(digests) - len(found))
        return found

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Keep vectors; those used longest ago go for them."""
        kept = _read_only(vectors)
        self._memory.put((backbone, digest), kept)
        if self._store:
            self._store.put(backbone, digest, kept)

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the vectors of contents, of one backbone or of all. What is put meanwhile may stay."""
        # Memory last: what was found on disk before it was removed there does not come into memory any more.
        if self._store:
            self._store.remove(digests, backbone)
        self._memory.remove(digests, backbone)

    def close(self) -> None:
        """Write what is not on disk yet, for some seconds at most."""
        if self._store:
            self._store.close()

    def _tell(self, outcome: Outcome, count: int) -> None:
        if count:
            self._looked_up(outcome, count)


def _read_only(vectors: Vectors) -> Vectors:
    """The same vectors, which nobody can write to any more; copied where they are a part of other memory."""
    if any(vector.base is not None for vector in vectors.values()):
        vectors = {view: vector.copy() for view, vector in vectors.items()}
    for vector in vectors.values():
        vector.setflags(write=False)
    return vectors
