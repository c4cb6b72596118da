"""Features as solvers use them: scaled, centered, in blocks that bound the memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.features.result_cache import RESULT_CACHE, feature_key

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Ints = NDArray[np.int64]
T = TypeVar("T", np.float32, np.float64)

#: Rows converted to float64 at a time; with 2,064 features they take 34 MB.
BLOCK = 2048

#: Least positive normal number of each type of features.
_LEAST: Mapping[np.dtype[Any], Any] = {
    np.dtype(kind): np.finfo(kind).tiny for kind in (np.float32, np.float64)
}

#: Sums of squares of float32 numbers that have neither lost small summands nor overflowed.
_SAFE_SQUARES = 1e-20, 1e37

#: Factor from the median absolute deviation to the standard deviation of a normal distribution.
MAD_TO_DEVIATION = 1.4826


class Scaling(StrEnum):
    """The scaling of features.

    UNIT: each row to Euclidean length 1.
    ROOT: the signed square root of each feature, then each row to length 1. The root evens out features that
        are mostly small and seldom large (Tukey's ladder of powers; for few examples on frozen features Yang,
        Liu and Xu 2021).
    STANDARD: each feature less its mean, divided by its deviation plus the median deviation of all features.
        Without the median a feature that hardly varies among few examples would dominate (Tusher, Tibshirani
        and Chu 2001). A head stores this scaling in its weights and bias.
    """

    UNIT = "unit"
    ROOT = "root"
    STANDARD = "standard"


def scale_features(features: NDArray[T], scaling: Scaling) -> NDArray[T]:
    """Return features [n, D], each row scaled, as the weights of a head expect them."""
    if scaling is Scaling.STANDARD:
        return features
    return normalized(signed_root(features) if scaling is Scaling.ROOT else features)


def normalized(features: NDArray[T]) -> NDArray[T]:
    """Return rows scaled to Euclidean length 1; a row of zeros is unchanged."""
    # Like `np.linalg.norm`, whose call takes longer than the computation of one row.
    with np.errstate(over="ignore"):
        squares: NDArray[Any] = np.add.reduce(features * features, axis=-1, keepdims=True)
    least, most = _SAFE_SQUARES
    # Cheaper than dividing all rows twice; a list, since the call of a method takes longer for one row.
    sums = squares.ravel().tolist()
    if min(sums, default=least) < least or max(sums, default=most) > most:
        return _normalized_by_largest(features, squares)
    rows: NDArray[T] = features / np.sqrt(squares)
    return rows


def _normalized_by_largest(features: NDArray[T], squares: NDArray[np.floating]) -> NDArray[T]:
    """Return rows as `normalized` does, whose sums of squares [n, 1] may have overflowed or vanished."""
    least, most = _SAFE_SQUARES
    tiny = _LEAST[features.dtype]
    largest = np.maximum(np.maximum.reduce(np.abs(features), axis=-1, keepdims=True), tiny)
    # Other rows are unchanged: the result of a row does not depend on its neighbors.
    largest[(squares >= least) & (squares <= most)] = 1
    rows: NDArray[T] = features / largest
    norms = np.sqrt(np.add.reduce(rows * rows, axis=-1, keepdims=True))
    rows /= np.maximum(norms, tiny)
    return rows


def signed_root(features: NDArray[T]) -> NDArray[T]:
    """Return the signed square root of each number."""
    roots: NDArray[T] = np.copysign(np.sqrt(np.abs(features)), features)
    return roots


def concatenate_views(views: Mapping[str, NDArray[T]], names: Sequence[str]) -> NDArray[T]:
    """Return the named views of n inputs as one matrix [n, D]."""
    return views[names[0]] if len(names) == 1 else np.concatenate([views[name] for name in names], axis=1)


def robust_scale(
    features: NDArray[np.floating], places: Ints | slice = slice(None)
) -> tuple[Float64, Float64]:
    """Return median and deviation of each feature, [D]; the deviation of a constant feature is infinite.

    A single outlier makes a standard deviation so large that all other values would count as equal, so a
    median of the absolute deviations is used if it is smaller. If more than half of the values are equal, as
    often in counts, it is the median of the other values, the lower one of two. `places` are the rows to use.
    """
    count, size = len(features), features.shape[1]
    center, scale = np.empty(size), np.empty(size)
    # As many numbers at a time as a block of rows has.
    width = max(BLOCK * size // max(count, 1), 1)
    for start in range(0, size, width):
        part = slice(start, start + width)
        center[part], scale[part] = _robust_scale(features[:, part][places].astype(np.float64))
    return center, np.where(scale > 0, scale, np.inf)


def _robust_scale(exact: Float64) -> tuple[Float64, Float64]:
    """Return median and deviation of each feature, [D]."""
    center, deviation = np.median(exact, axis=0), exact.std(axis=0)
    apart = np.abs(exact - center)
    robust = MAD_TO_DEVIATION * np.median(apart, axis=0)
    (sparse,) = np.nonzero((robust == 0) & (deviation > 0))
    if len(sparse):
        ascending = np.sort(apart[:, sparse], axis=0)
        equal = (ascending == 0).sum(axis=0)
        robust[sparse] = ascending[(equal + len(exact) - 1) // 2, np.arange(len(sparse))]
    return center, np.minimum(robust, deviation)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Center:
    mean: Float64
    multiplier: Float64

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.multiplier.nbytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RobustScale:
    """Median and deviation of each feature, as `robust_scale` returns them."""

    center: Float64
    scale: Float64

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.center.nbytes + self.scale.nbytes

    @classmethod
    def from_features(
        cls, features: NDArray[np.floating], places: Ints | slice = slice(None)
    ) -> "RobustScale":
        """Compute the scale of the features of some rows."""
        center, scale = robust_scale(features, places)
        return cls(center=center, scale=scale)


class FeatureMatrix:
    """Rows of examples around their mean with a mean length of 1, computed in blocks from float32 features.

    A row is ``(scale_features(features) - mean) * multiplier``, so weights for rows become weights for
    features by a multiplication. Only the features of all examples are held in memory.

    Args:
        views: features [N, D of the view] by view.
        checkpoint: called between blocks; may raise to stop.
        order: the rows to use, in this order; None for all.

    Attributes:
        mean: of the scaled features, [D].
        multiplier: of each feature, [D]; 0 for constant features.
        key: identifies the rows in the cache; None if caching is not worthwhile.
    """

    def __init__(
        self,
        views: Mapping[str, NDArray[np.floating]],
        names: Sequence[str],
        scaling: Scaling,
        *,
        order: Ints | None = None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._names = names
        self._views = [views[name] for name in names]
        self._scaling = scaling
        self._order = np.arange(len(self._views[0])) if order is None else order
        self._checkpoint = checkpoint
        self.size = sum(view.shape[1] for view in self._views)
        self._held: Float64 | None = None
        self.key = feature_key(self._views, "rows", scaling, self._order)
        center = RESULT_CACHE.get(self.key, self._centered)
        self.mean, self.multiplier = center.mean, center.multiplier

    def __len__(self) -> int:
        return len(self._order)

    def block(self, places: slice | Ints) -> Float64:
        """Return the rows of some positions of the order, [n, D]."""
        # All rows are held only if they are one block.
        rows: Float64 = (self._scaled(places) if self._held is None else self._held) - self.mean
        rows *= self.multiplier
        return rows

    def transformed(self, views: Mapping[str, NDArray[np.floating]]) -> Float64:
        """Return the rows [n, D] of other features, by view, as the rows of these features are computed."""
        features = np.concatenate([views[name] for name in self._names], axis=1, dtype=np.float64)
        rows: Float64 = (scale_features(features, self._scaling) - self.mean) * self.multiplier
        return rows

    def blocks(self, places: Ints | None = None) -> Iterator[tuple[Ints, Float64]]:
        """Yield all rows, or those of some positions, in blocks: the positions of each and its rows."""
        places = np.arange(len(self)) if places is None else places
        for start in range(0, len(places), BLOCK):
            self._checkpoint()
            part = places[start : start + BLOCK]
            yield part, self.block(part)

    def _centered(self) -> "_Center":
        if len(self) <= BLOCK:
            self._held = self._scaled(slice(None))
        self.mean = np.zeros(self.size)
        self.multiplier = np.ones(self.size)
        self.mean = self._sum(lambda rows: rows.sum(axis=0)) / len(self)
        if self._scaling is Scaling.STANDARD:
            deviation = np.sqrt(self._sum(lambda rows: np.square(rows).sum(axis=0)) / len(self))
            self.multiplier = _inverse(deviation, np.abs(self.mean))
        length = float(self._sum(lambda rows: np.linalg.norm(rows, axis=1).sum())) / len(self)
        # Features are float32: rows that differ by rounding only are equal, and must not be scaled up.
        largest = 1.0 if self._scaling is Scaling.STANDARD else float(np.linalg.norm(self.mean))
        alike = length <= 2 * np.finfo(np.float32).eps * largest
        self._held = None
        return _Center(mean=self.mean, multiplier=self.multiplier * (0.0 if alike else 1.0 / length))

    def _scaled(self, places: slice | Ints) -> Float64:
        chosen = self._order[places]
        features = np.concatenate([view[chosen] for view in self._views], axis=1, dtype=np.float64)
        return scale_features(features, self._scaling)

    def _sum(self, of: Callable[[Float64], Float64]) -> Float64:
        return np.asarray(sum(of(rows) for _, rows in self.blocks()), np.float64)


def _inverse(deviation: Float64, size: Float64) -> Float64:
    """Return 1 / (deviation + median deviation), 0 for features that differ by float32 rounding only."""
    varies = deviation > 2 * np.finfo(np.float32).eps * size
    if not varies.any():
        return np.zeros_like(deviation)
    return np.where(varies, 1.0 / (deviation + np.median(deviation[varies])), 0.0)
