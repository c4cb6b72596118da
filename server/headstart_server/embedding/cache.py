"""Features by content: the backbone is frozen, so the features of an input never change."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Content

Vectors = Mapping[str, NDArray[np.float32]]

#: Bytes an entry takes beside its vectors: keys, dictionary and array headers.
OVERHEAD = 600


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


class FeatureCache:
    """Keeps the features used last, under a bound of bytes. Safe to use from many threads.

    Args:
        max_bytes: most bytes to keep; 0 keeps nothing.
        looked_up: told of each look-up whether it found something.
    """

    def __init__(self, max_bytes: int, looked_up: Callable[[bool], None] = lambda _: None) -> None:
        self._max_bytes = max_bytes
        self._looked_up = looked_up
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes it holds, overhead included."""
        return self._nbytes

    def get(self, backbone: str, digest: str) -> Vectors | None:
        """The vectors of a content on a backbone, or None.

        Args:
            backbone: digest and runtime of the backbone.
            digest: digest of the content.
        """
        key = (backbone, digest)
        with self._lock:
            vectors = self._entries.get(key)
            if vectors is not None:
                self._entries.move_to_end(key)
        self._looked_up(vectors is not None)
        return vectors

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Keep vectors, and drop what was used longest ago while there are too many bytes."""
        key = (backbone, digest)
        size = _size(vectors)
        if size > self._max_bytes:
            return
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None:
                self._nbytes -= _size(before)
            self._entries[key] = vectors
            self._nbytes += size
            while self._nbytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._nbytes -= _size(dropped)


def _size(vectors: Vectors) -> int:
    return OVERHEAD + sum(vector.nbytes for vector in vectors.values())
