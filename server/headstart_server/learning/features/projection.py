"""A projection to fewer dimensions that is the same on every server, so that it need not be stored."""

from functools import lru_cache
from hashlib import shake_128

import numpy as np

from headstart_server.learning.features.feature_matrix import Float32, normalized

#: Dimensions of projected rows; shorter rows are unchanged.
PROJECTED = 256


def project_directions(rows: Float32) -> Float32:
    """Return rows [n, D] in at most `PROJECTED` dimensions, of length 1: [n, d].

    Angles are kept to about 1 / sqrt(2 d) (Johnson and Lindenstrauss 1984; with signs Achlioptas 2003).
    """
    size = rows.shape[1]
    return rows if size <= PROJECTED else normalized(rows @ _signs(size))


def project_distances(rows: Float32) -> Float32:
    """Return rows [n, D] in at most `PROJECTED` dimensions with the same mean distances: [n, d]."""
    size = rows.shape[1]
    return rows if size <= PROJECTED else rows @ _signs(size) / np.float32(np.sqrt(PROJECTED))


@lru_cache(maxsize=8)
def _signs(size: int) -> Float32:
    """Return signs [size, PROJECTED] from a hash: NumPy's generators may change between releases."""
    bits = np.frombuffer(shake_128(b"headstart projection").digest(size * PROJECTED // 8), np.uint8)
    signs = np.unpackbits(bits).reshape(size, PROJECTED).astype(np.float32) * 2 - 1
    signs.setflags(write=False)
    return signs
