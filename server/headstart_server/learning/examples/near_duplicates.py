"""Groups of nearly equal examples by their features, because folds must not split a group."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.features.feature_matrix import (
    BLOCK,
    Float32,
    Float64,
    Ints,
    RobustScale,
    Scaling,
    scale_features,
)
from headstart_server.learning.features.result_cache import RESULT_CACHE, bytes_key, feature_key

Bools = NDArray[np.bool_]

#: Squared distance of near-duplicates relative to the mean squared distance of two examples of one class. An
#: image saved again at another size is within 0.01 to 0.1 of it; different handwritten digits rarely have
#: such a neighbor.
SHARE = 0.1
#: The same for feature rows: the root mean square of the differences, each in deviations of its feature.
#: Rounding or converting a row again changes it less. Rows have few dimensions, so different rows can be much
#: nearer than two images ever are.
ROW_DEVIATIONS = 0.005
#: Deviations from the median to which a feature of a row is clipped.
_FARTHEST = 1e6
#: Squared distance of equal rows due to float32 rounding, relative to their squared length.
_ROUNDING = 1e-10
#: The same for differences of matrix products.
_PRODUCT_ROUNDING = 1e-5
#: The same for differences of matrix products in double precision.
_DOUBLE_ROUNDING = 1e-12
#: Fraction of pairs that may be near from which a product of matrices is faster than differences of rows.
_DENSE = 1 / 32
#: Maximum distances in memory: 16 MB.
_DISTANCES = 1 << 22
#: Maximum candidates, and other contents, whose distances are computed at a time; pairs in memory: 16 MB.
_TILE, _PAIRS = 1024, 1 << 24
#: Above this number of contents, pairs are first searched in random projections of this size, which keep
#: squared distances within a factor of two (Johnson and Lindenstrauss 1984).
_PROJECT_ABOVE, _PROJECTED, _SLACK = 2000, 128, 2.0


def group_near_duplicates(
    features: Float32,
    labels: Ints,
    groups: Sequence[str],
    *,
    modality: Modality = Modality.IMAGE,
    order: Ints | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> list[str]:
    """Join groups of examples with near-duplicate contents, and return the group of each example, [N].

    Every joined content is a near-duplicate of the representative of its group, so a dense cloud of examples,
    in which each has a near neighbor, does not chain into one group. Contents with the most near-duplicates
    represent groups first (star clustering, Aslam, Pelekhov and Rus 2004).

    Images and texts are compared in direction, and near is relative to the distance of two examples of one
    class, so tight classes do not fall into one group each. Feature rows are compared in deviations of each
    feature, by a fixed distance.

    `features` are [N, D]; `order` is their row for each class index in `labels` and content digest in
    `groups`, None for the same row. `checkpoint` is called between blocks and may raise to stop.
    """
    names, first, members = np.unique(np.array(groups), return_index=True, return_inverse=True)
    contents = _Contents(features, first if order is None else order[first], modality, checkpoint)
    if modality is Modality.TENSOR:
        limit = contents.varying * ROW_DEVIATIONS**2
    else:
        limit = SHARE * contents.spread(labels[first])
    limit = max(limit, _ROUNDING)
    representative: Ints = RESULT_CACHE.get(
        None if contents.key is None else ("representatives", contents.key, limit),
        lambda: _Search(contents, limit, checkpoint).representatives(),
    )
    earliest = np.full(len(names), len(names))
    np.minimum.at(earliest, representative, np.arange(len(names)))
    found: list[str] = names[earliest[representative][members]].tolist()
    return found


class _Contents:
    """The distinct contents as rows in which near-duplicates are compared, computed on demand."""

    def __init__(
        self, features: Float32, places: Ints, modality: Modality, checkpoint: Callable[[], None]
    ) -> None:
        self._features = features
        self._places = places
        self._checkpoint = checkpoint
        self._centre: Float64 | None = None
        #: Features that differ between contents.
        self.varying = features.shape[1]
        if modality is Modality.TENSOR:
            scale = RESULT_CACHE.get(
                feature_key([features], "scale", places), lambda: RobustScale.from_features(features, places)
            )
            self._centre, self._scale = scale.center, scale.scale
            self.varying = int(np.isfinite(self._scale).sum())
        #: Identifies the rows in the cache.
        self.key = feature_key([features], "contents", modality, places)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, chosen: slice | Ints) -> Float32:
        """Return rows [n, D]: of length 1, or in deviations around the median."""
        if self.key is not None:
            whole: Float32 = RESULT_CACHE.get(self.key, lambda: self._rows(slice(None)))
            return whole[chosen]
        return self._rows(chosen)

    def _rows(self, chosen: slice | Ints) -> Float32:
        rows = self._features[self._places[chosen]]
        if self._centre is None:
            return scale_features(rows, Scaling.ROOT)
        return np.clip((rows - self._centre) / self._scale, -_FARTHEST, _FARTHEST).astype(np.float32)

    def spread(self, labels: Ints) -> float:
        """Return the mean squared distance of two different rows of one class; 0 if no class has two."""
        key = None if self.key is None else ("spread", self.key, bytes_key(labels))
        return float(RESULT_CACHE.get(key, lambda: np.float64(self._spread(labels))))

    def _spread(self, labels: Ints) -> float:
        counts = np.bincount(labels)
        # Class by class, so that only one sum is incomplete at a time.
        order = np.argsort(labels, kind="stable")
        within, between = 0.0, 0.0
        last, carried = -1, np.zeros(self._features.shape[1])
        for block in self._blocks():
            shown = labels[order[block]]
            rows = self.rows(order[block]).astype(np.float64)
            within += float(counts[shown] @ np.square(rows).sum(axis=1))
            sums = np.add.reduceat(rows, np.unique(shown, return_index=True)[1], axis=0)
            if shown[0] == last:
                sums[0] += carried
            else:
                between += float(np.square(carried).sum())
            between += float(np.square(sums[:-1]).sum())
            last, carried = shown[-1], sums[-1]
        between += float(np.square(carried).sum())
        # Over ordered pairs of a class the squared distances sum up to 2 n sum |a|^2 - 2 |sum a|^2.
        pairs = int((counts * (counts - 1)).sum())
        return max(2 * (within - between), 0.0) / pairs if pairs else 0.0

    def searched(self) -> tuple[Float32, float]:
        """Return the rows to search pairs in, [N, d], and the overestimate of their squared distances."""
        count, size = len(self._places), self._features.shape[1]
        if count <= _PROJECT_ABOVE or size <= _PROJECTED:
            return np.concatenate([self.rows(block) for block in self._blocks()]), 1.0
        directions = np.random.default_rng(0).normal(size=(size, _PROJECTED)) / np.sqrt(_PROJECTED)
        to = directions.astype(np.float32)
        return np.concatenate([self.rows(block) @ to for block in self._blocks()]), _SLACK

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self._places), BLOCK):
            self._checkpoint()
            yield slice(start, start + BLOCK)


class _Search:
    """Finds the groups of contents within a squared distance of one of them."""

    def __init__(self, contents: _Contents, limit: float, checkpoint: Callable[[], None]) -> None:
        self._contents, self._limit, self._checkpoint = contents, limit, checkpoint
        search, slack = contents.searched()
        squares = np.square(search).sum(axis=1, keepdims=True)
        ones = np.ones_like(squares)
        # |a|^2 - 2 a b + |b|^2 as one product of matrices.
        self._left, self._right = np.hstack([-2 * search, squares, ones]), np.hstack([search, ones, squares])
        self._bounds = slack * limit + _PRODUCT_ROUNDING * np.maximum(squares, 1)
        self._at_once = max(_DISTANCES // max(len(contents), 1), 1)

    def representatives(self) -> Ints:
        """Return the index of the representative of each content, [N]; its own if it is alone."""
        count = len(self._contents)
        representative, free = np.arange(count), np.ones(count, np.bool_)
        near_count = self._near_count()
        candidates = np.flatnonzero(near_count > 1)
        candidates = candidates[np.argsort(-near_count[candidates], kind="stable")]
        at_once = min(max(_PAIRS // max(count, 1), 1), _TILE)
        for start in range(0, len(candidates), at_once):
            part = candidates[start : start + at_once]
            part, others = part[free[part]], np.flatnonzero(free)
            for place, row in zip(part.tolist(), self._near(part, others), strict=True):
                if not free[place]:
                    continue
                taken = others[row]
                taken = taken[free[taken]]
                if len(taken) > 1:
                    free[taken] = False
                    representative[taken] = place
        return representative

    def _near_count(self) -> Ints:
        """Return how many contents may be near each, itself included, [N]."""
        if self._contents.key is None:
            parts = []
            for start in range(0, len(self._contents), self._at_once):
                self._checkpoint()
                part = slice(start, start + self._at_once)
                parts.append(self._may_be_near(part, slice(None)).sum(axis=1))
            return np.concatenate(parts)
        # Contents with a key fit into one block, and their labels change only the bounds.
        key = ("distances", self._contents.key)
        distances: Float32 = RESULT_CACHE.get(key, lambda: self._left @ self._right.T)
        counts: Ints = (distances <= self._bounds).sum(axis=1)
        return counts

    def _may_be_near(self, places: Ints | slice, others: Ints | slice) -> Bools:
        near: Bools = self._left[places] @ self._right[others].T <= self._bounds[places]
        return near

    def _near(self, places: Ints, others: Ints) -> Bools:
        """Return which other contents are within the limit of each, [n, m]."""
        near = np.empty((len(places), len(others)), np.bool_)
        rows = self._contents.rows(places).astype(np.float64)
        for start in range(0, len(others), _TILE):
            self._checkpoint()
            columns = others[start : start + _TILE]
            tile = self._may_be_near(places, columns)
            left, right = np.flatnonzero(tile.any(axis=1)), np.flatnonzero(tile.any(axis=0))
            compared = self._contents.rows(columns[right]).astype(np.float64)
            chosen = np.ix_(left, right)
            tile[chosen] = self._confirmed(tile[chosen], rows[left], compared)
            near[:, start : start + _TILE] = tile
        return near

    def _confirmed(self, near: Bools, rows: Float64, others: Float64) -> Bools:
        """Return which of the pairs that may be near, [n, m], are within the limit."""
        unsure = near
        if np.count_nonzero(near) > near.size * _DENSE:
            squares, other_squares = np.square(rows).sum(axis=1, keepdims=True), np.square(others).sum(axis=1)
            above = rows @ others.T
            above *= -2
            above += squares
            above += other_squares
            above -= self._limit
            unsure = near & (np.abs(above) <= _DOUBLE_ROUNDING * (squares + other_squares))
            near &= above <= 0
        # Differences of rows have no rounding errors of large squares.
        left, right = np.nonzero(unsure)
        for start in range(0, len(left), _TILE):
            self._checkpoint()
            row, other = left[start : start + _TILE], right[start : start + _TILE]
            near[row, other] = np.square(rows[row] - others[other]).sum(axis=1) <= self._limit
        return near
