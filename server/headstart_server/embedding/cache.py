"""Feature cache by content. The backbone is frozen, so the features of an input never change."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from enum import Enum
from hashlib import sha256
from typing import Protocol

import numpy as np

from headstart_server.backbones.contract.backbone import Content
from headstart_server.embedding.feature_rows import Key, Vectors
from headstart_server.lru import LruCache

# The tenant of the current call or job; threads that work for a call receive a copy.
_TENANT: ContextVar[str] = ContextVar("cache_tenant")


def shared_key(backbone: str) -> str | None:
    """Return the key of a backbone's features that all tenants share."""
    return backbone


def tenant_key(backbone: str) -> str | None:
    """Return the key of the features that a backbone computed for the current tenant.

    None without a current tenant: such features are neither looked up nor stored, because another tenant must
    not find them.
    """
    tenant = _TENANT.get(None)
    return None if tenant is None else f"{backbone} for {tenant}"


def work_for(tenant: str) -> Token[str]:
    """Set the tenant of the current call; empty without a tenant."""
    return _TENANT.set(tenant)


@contextmanager
def working_for(tenant: str) -> Iterator[None]:
    """Set the tenant within the block; empty without a tenant."""
    token = work_for(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


#: Bytes of an entry in addition to its vectors: keys, dictionary and array headers.
OVERHEAD = 600


class MemoryTier:
    """The most recently used features, in memory. Safe to use from many threads.

    Args:
        max_bytes: maximum bytes in memory; 0 stores nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._entries: LruCache[Key, Vectors] = LruCache(max_bytes, _size)
        self._removals = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes used, including overhead."""
        return self._entries.size

    @property
    def removals(self) -> int:
        """Number of removals so far."""
        return self._removals

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the vectors of contents on a backbone, by digest."""
        found = {}
        with self._lock:
            for digest in digests:
                if (vectors := self._entries.get((backbone, digest))) is not None:
                    found[digest] = vectors
        return found

    def put(self, key: Key, vectors: Vectors) -> None:
        """Store vectors, and evict the least recently used above the limit."""
        with self._lock:
            self._entries.pop(key)
            self._add(key, vectors)

    def fill(self, backbone: str, stored: Mapping[str, Vectors], removals: int) -> None:
        """Store vectors from another tier, unless they were stored, or any were removed, meanwhile."""
        with self._lock:
            if removals == self._removals:
                for digest, vectors in stored.items():
                    if (backbone, digest) not in self._entries:
                        self._add((backbone, digest), vectors)

    def remove(self, digests: Collection[str], backbone: str | None) -> None:
        """Remove the vectors of contents, of one backbone or of all."""
        removed = set(digests)
        with self._lock:
            self._removals += 1
            for key in [key for key in self._entries if key[1] in removed and backbone in (None, key[0])]:
                self._entries.pop(key)

    def _add(self, key: Key, vectors: Vectors) -> None:
        if _size(vectors) <= self._entries.limit:
            self._entries.add(key, vectors)


def _size(vectors: Vectors) -> int:
    return OVERHEAD + sum(vector.nbytes for vector in vectors.values())


def content_digest(content: Content) -> str:
    """Return the SHA-256 of an input in hexadecimal; kind, type and shape of the content are part of it."""
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
    """Tier in which a look-up found features."""

    MEMORY = "memory"
    DISK = "disk"
    MISS = "miss"


class Store(Protocol):
    """Features in another tier, such as `FeatureStore`. Its methods never raise for faults."""

    @property
    def nbytes(self) -> int:
        """Bytes used."""

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the stored features of contents on a backbone, by digest."""

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Store read-only features."""

    def touch(self, backbone: str, digests: Collection[str]) -> None:
        """Mark features as used."""

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the features of contents, of one backbone or of all."""

    def close(self) -> None:
        """Close the tier."""


class FeatureCache:
    """Keeps features in memory and, with a store, on disk. Thread-safe; stored vectors are read-only.

    Args:
        max_bytes: maximum bytes in memory; 0 stores nothing there.
        store: features on disk, closed with the cache; None keeps them in memory only.
        looked_up: receives each outcome with its number of features.
    """

    def __init__(
        self,
        max_bytes: int,
        store: Store | None = None,
        looked_up: Callable[[Outcome, int], None] = lambda *_: None,
    ) -> None:
        self._memory = MemoryTier(max_bytes)
        self._store = store
        self._looked_up = looked_up

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Bytes used in memory, including overhead."""
        return self._memory.nbytes

    @property
    def disk_nbytes(self) -> int:
        """Bytes used on disk."""
        return self._store.nbytes if self._store else 0

    def get(self, backbone: str, digest: str) -> Vectors | None:
        """Return the vectors of a content on a backbone, or None."""
        return self.get_many(backbone, (digest,)).get(digest)

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the cached vectors of contents on a backbone, by digest."""
        removals = self._memory.removals
        found = self._memory.get_many(backbone, digests)
        self._record(Outcome.MEMORY, len(found))
        missing = [digest for digest in digests if digest not in found]
        if self._store and found:
            self._store.touch(backbone, found)
        if self._store and missing:
            stored = self._store.get_many(backbone, missing)
            self._record(Outcome.DISK, len(stored))
            self._memory.fill(backbone, stored, removals)
            found |= stored
        self._record(Outcome.MISS, len(digests) - len(found))
        return found

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Store vectors, evicting the least recently used."""
        kept = _read_only(vectors)
        self._memory.put((backbone, digest), kept)
        if self._store:
            self._store.put(backbone, digest, kept)

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the vectors of contents, of one backbone or of all. Concurrent writes may survive."""
        # Memory is last, so that vectors found on disk before their removal no longer enter memory.
        if self._store:
            self._store.remove(digests, backbone)
        self._memory.remove(digests, backbone)

    def close(self) -> None:
        """Write pending features to disk, for a few seconds at most."""
        if self._store:
            self._store.close()

    def _record(self, outcome: Outcome, count: int) -> None:
        if count:
            self._looked_up(outcome, count)


def _read_only(vectors: Vectors) -> Vectors:
    """Return read-only vectors; views into larger arrays are copied."""
    if any(vector.base is not None for vector in vectors.values()):
        vectors = {view: vector.copy() for view, vector in vectors.items()}
    for vector in vectors.values():
        vector.setflags(write=False)
    return vectors
