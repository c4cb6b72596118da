"""Binary rows of features; a checksum identifies backbone and content."""

import json
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

#: Digest and runtime of a backbone, and digest of a content.
Key = tuple[str, str]

#: The features of one content on one backbone: a vector for each view, float32 of shape [size of the view].
Vectors = Mapping[str, NDArray[np.float32]]

_CHECKSUM_BYTES = 8


def encode(backbone: str, digest: str, vectors: Vectors) -> bytes:
    """Encode a row: checksum, sizes of the views as a line of JSON, and little-endian values."""
    sizes = json.dumps({view: vector.size for view, vector in vectors.items()})
    values = (vector.astype("<f4", copy=False).tobytes() for vector in vectors.values())
    body = b"".join([sizes.encode(), b"\n", *values])
    return _checksum(backbone, digest, body) + body


def decode(backbone: str, digest: str, row: object) -> Vectors | None:
    """Decode a row into read-only features; None if it is damaged or has another key."""
    if not isinstance(row, bytes):
        return None
    body = memoryview(row)[_CHECKSUM_BYTES:]
    if row[:_CHECKSUM_BYTES] != _checksum(backbone, digest, body):
        return None
    at = row.index(b"\n", _CHECKSUM_BYTES) + 1
    vectors = {}
    for view, size in json.loads(row[_CHECKSUM_BYTES:at]).items():
        # Copied, so that a reference to one view does not keep the whole row.
        vectors[view] = np.frombuffer(row, "<f4", size, at).astype(np.float32)
        vectors[view].setflags(write=False)
        at += vectors[view].nbytes
    return vectors


def _checksum(backbone: str, digest: str, body: bytes | memoryview) -> bytes:
    checksum = sha256(f"{backbone}\0{digest}\0".encode())
    checksum.update(body)
    return checksum.digest()[:_CHECKSUM_BYTES]
