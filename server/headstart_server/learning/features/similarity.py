"""Similarity of inputs: the cosine of the angle between the roots of their features."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.feature_matrix import BLOCK, Float32, normalized, signed_root
from headstart_server.learning.features.result_cache import RESULT_CACHE

Int8 = NDArray[np.int8]


def similarity_rows(
    views: Mapping[str, Float32], names: Sequence[str], places: NDArray[np.int64] | slice = slice(None)
) -> Float32:
    """Return rows of length 1, [n, D], whose cosines measure the similarity of inputs.

    The signed roots of each view's features are scaled to length 1 and concatenated, so that each view has
    the same weight. docs/lab/heads.md lists the other spaces that were measured. `views` has features [N, D
    of the view] by view; `names` are the views to concatenate, `places` the inputs.
    """
    parts = [normalized(signed_root(views[name][places])) for name in names]
    return normalized(np.concatenate(parts, axis=1)) if len(parts) > 1 else parts[0]


#: Maximum products in memory: 16 MB.
_PRODUCTS = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuantizedRows:
    """Rows of length 1, each number as a byte with a scale for each row.

    A row of about 2,000 numbers keeps its direction to about 1e-4 of a cosine; the distance of two different
    images is 0.05 and more.
    """

    values: Int8  # [N, D]
    scales: Float32  # factor of the bytes of each row that makes its length 1, [N]

    @classmethod
    def from_blocks(cls, blocks: Iterable[Float32]) -> Self:
        """Quantize rows that arrive in blocks [n, D], at least one."""
        values, scales = [], []
        for rows in blocks:
            largest = np.abs(rows).max(axis=1, keepdims=True)
            largest[largest == 0] = 1.0
            rounded = np.rint(rows / largest * 127).astype(np.int8)
            lengths = np.linalg.norm(rounded.astype(np.float32), axis=1)
            values.append(rounded)
            scales.append(1 / np.maximum(lengths, 1).astype(np.float32))
        return cls(values=np.concatenate(values), scales=np.concatenate(scales))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + self.scales.nbytes

    def distances(self, rows: Float32) -> Float32:
        """Return 1 less the cosine between rows of length 1, [n, D], and each of these: [n, N], 0 to 2."""
        distances = np.empty((len(rows), len(self)), np.float32)
        for start in range(0, len(self), BLOCK):
            part = slice(start, start + BLOCK)
            distances[:, part] = (rows @ self.values[part].astype(np.float32).T) * self.scales[part]
        np.subtract(1, distances, out=distances)
        return np.clip(distances, 0, 2, out=distances)

    def nearest(
        self,
        rows: Float32,
        own: Callable[[slice], np.ndarray] | None = None,
        checkpoint: Callable[[], None] = lambda: None,
        key: Hashable | None = None,
    ) -> Float32:
        """Return the distance of each row of length 1, [n, D], from the nearest of these, [n].

        `own` returns for a slice of the rows which of these are their own and do not count, [n, N]; `key`
        identifies the rows and these in the cache.
        """
        nearest = np.empty(len(rows), np.float32)
        size = max(_PRODUCTS // max(len(self), 1), 1)
        for start in range(0, len(rows), size):
            checkpoint()
            part = slice(start, start + size)
            found = RESULT_CACHE.get(part_key(key, start), partial(self.distances, rows[part]))
            nearest[part] = nearest_of(found, None if own is None else own(part))
        return nearest


def part_key(key: Hashable | None, start: int) -> Hashable | None:
    """Return the key of the distances of the rows from position `start` on."""
    return None if key is None else (key, start)


def nearest_of(distances: Float32, own: NDArray[np.bool_] | None) -> Float32:
    """Return the least distance in each row, [n], without its own references."""
    others = distances if own is None else np.where(own, np.float32(np.inf), distances)
    least: Float32 = others.min(axis=1)
    return least
