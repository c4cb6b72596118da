"""Training examples that inputs are compared with, in the space that suits their modality."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import shake_128
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.features.feature_matrix import (
    BLOCK,
    Float32,
    Float64,
    Ints,
    RobustScale,
    concatenate_views,
    normalized,
)
from headstart_server.learning.features.result_cache import RESULT_CACHE, feature_key
from headstart_server.learning.features.similarity import QuantizedRows, nearest_of, part_key, similarity_rows

#: Dimensions of projected rows; shorter rows are unchanged.
PROJECTED = 256


def project_directions(rows: Float32) -> Float32:
    """Return rows [n, D] in at most `PROJECTED` dimensions, of length 1: [n, d].

    Angles are kept to about 1 / sqrt(2 d) (Johnson and Lindenstrauss 1984; with signs Achlioptas 2003).
    """
    size = rows.shape[1]
    return rows if size <= PROJECTED else normalized(rows @ _signs(size))


def _compared(views: "Views", names: Sequence[str], places: Ints | slice) -> Float32:
    """Return inputs as rows whose directions are compared, [n, d]; the caller must not change them."""
    chosen = [views[name] for name in names]
    key = feature_key(chosen, "directions", _at(chosen[0], places))
    return RESULT_CACHE.get(key, lambda: project_directions(similarity_rows(views, names, places)))


def _at(view: Float32, places: Ints | slice) -> Ints:
    return np.arange(len(view))[places]


def _robust_scale(views: "Views", names: Sequence[str], places: Ints) -> tuple[Float64, Float64]:
    found = RESULT_CACHE.get(
        feature_key([views[name] for name in names], "scale", places),
        lambda: RobustScale.from_features(
            concatenate_views({name: views[name][places] for name in names}, names)
        ),
    )
    return found.center, found.scale


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


#: Deviations to which a feature is clipped: larger squares would overflow.
_FARTHEST = 1e6
#: Maximum distances in memory: 32 MB.
_DISTANCES = 1 << 22
Views = Mapping[str, Float32]
Own = Callable[[slice], NDArray[np.bool_]]


class References(Protocol):
    """Reference examples."""

    @property
    def views(self) -> tuple[str, ...]:
        """The backbone's views that inputs are compared by."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""

    @property
    def work(self) -> int:
        """Multiplications for one input."""

    def __len__(self) -> int:
        """Return the number of reference examples."""

    def exact(self) -> Float64:
        """Return the reference examples as `prepared` returns inputs, [N, d]."""

    def prepared(self, views: Views, places: Ints | slice = slice(None)) -> Float32:
        """Return inputs as rows that can be compared, [n, d], from their features by view."""

    def nearest(
        self,
        rows: Float32,
        own: Own | None = None,
        checkpoint: Callable[[], None] = lambda: None,
        key: Hashable | None = None,
    ) -> Float32:
        """Return the distance of each prepared row [n, d] from the nearest reference example, [n].

        `own` returns for a slice of the rows which references are their own and do not count, [n, N];
        `checkpoint` is called between blocks and may raise to stop. `key` identifies the rows and the
        reference examples in the cache.
        """


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Directions:
    """Images and texts, compared by the direction of their features."""

    views: tuple[str, ...]  # the backbone's views that inputs are compared by
    rows: QuantizedRows  # projected rows of length 1, [N, d]

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes

    @property
    def work(self) -> int:
        return self.rows.values.size

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self) -> Float64:
        return self.rows.values.astype(np.float64) * self.rows.scales[:, np.newaxis]

    def prepared(self, views: Views, places: Ints | slice = slice(None)) -> Float32:
        return _compared(views, self.views, places)

    def nearest(
        self,
        rows: Float32,
        own: Own | None = None,
        checkpoint: Callable[[], None] = lambda: None,
        key: Hashable | None = None,
    ) -> Float32:
        return self.rows.nearest(rows, own, checkpoint, key)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Magnitudes:
    """Feature rows, compared in deviations of each feature: five times a row is another row."""

    views: tuple[str, ...]  # the views that inputs are compared by
    values: Float32  # projected rows, [N, d]
    center: Float64  # median of each feature, [D]
    scale: Float64  # its deviation, above 0, [D]

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.center.nbytes + self.scale.nbytes

    @property
    def work(self) -> int:
        return self.values.size

    def __len__(self) -> int:
        return len(self.values)

    def exact(self) -> Float64:
        return self.values.astype(np.float64)

    def prepared(self, views: Views, places: Ints | slice = slice(None)) -> Float32:
        def compute() -> Float32:
            features = concatenate_views({name: views[name][places] for name in self.views}, self.views)
            rows = np.clip((features - self.center) / self.scale, -_FARTHEST, _FARTHEST)
            return project_distances(rows.astype(np.float32))

        chosen = [views[name] for name in self.views]
        key = feature_key(chosen, "magnitudes", self.center, self.scale, _at(chosen[0], places))
        return RESULT_CACHE.get(key, compute)

    def nearest(
        self,
        rows: Float32,
        own: Own | None = None,
        checkpoint: Callable[[], None] = lambda: None,
        key: Hashable | None = None,
    ) -> Float32:
        nearest = np.empty(len(rows), np.float32)
        size = max(_DISTANCES // max(len(self), 1), 1)
        for start in range(0, len(rows), size):
            checkpoint()
            part = slice(start, start + size)
            found = RESULT_CACHE.get(part_key(key, start), partial(self._distances, rows[part]))
            nearest[part] = nearest_of(found, None if own is None else own(part))
        return nearest

    def _distances(self, rows: Float32) -> Float32:
        """Return the distance between each row, [n, d], and each reference example, [n, N]."""
        # In float32 the difference of squares would not separate near rows.
        references, exact = self.exact(), rows.astype(np.float64)
        squares = np.square(references).sum(axis=1) + np.square(exact).sum(axis=1, keepdims=True)
        distances: Float32 = np.sqrt(np.maximum(squares - 2 * (exact @ references.T), 0.0)).astype(np.float32)
        return distances


def sample_by_digest(digests: Sequence[str], count: int) -> Ints:
    """Return ascending indexes of at most `count` examples, sampled by their content digests."""
    return np.sort(np.array(sorted(range(len(digests)), key=digests.__getitem__)[:count], np.int64))


def build_references(
    views: Views,
    names: Sequence[str],
    places: Ints,
    modality: Modality,
    checkpoint: Callable[[], None] = lambda: None,
) -> References:
    """Return examples at some positions, at least one, as references in the space of their modality.

    `views` has features [N, D of the view] by view; `checkpoint` may raise to stop.
    """
    blocks = [places[start : start + BLOCK] for start in range(0, len(places), BLOCK)]
    if modality is Modality.TENSOR:
        center, scale = _robust_scale(views, names, places)
        # A constant feature is at distance 1 if it changes by its absolute value.
        scale = np.where(np.isfinite(scale), scale, np.where(center == 0, 1.0, np.abs(center)))
        space = Magnitudes(
            views=tuple(names), values=np.zeros((0, 0), np.float32), center=center, scale=scale
        )
        rows = []
        for block in blocks:
            checkpoint()
            rows.append(space.prepared(views, block))
        return Magnitudes(views=tuple(names), values=np.concatenate(rows), center=center, scale=scale)

    def compared() -> list[Float32]:
        parts = []
        for block in blocks:
            checkpoint()
            parts.append(_compared(views, names, block))
        return parts

    return Directions(views=tuple(names), rows=QuantizedRows.from_blocks(compared()))
