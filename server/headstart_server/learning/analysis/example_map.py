"""Maps of examples: their features in two dimensions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headstart_server.learning.features.feature_matrix import (
    BLOCK,
    Float32,
    Float64,
    Ints,
    concatenate_views,
    normalized,
)
from headstart_server.learning.features.result_cache import RESULT_CACHE, feature_key

#: Maximum examples that the axes are computed from; more hardly change them.
_SAMPLE = 4096
#: Number of iterated directions, and of rounds; the error falls geometrically with the rounds.
_DIRECTIONS, _ROUNDS = 8, 12


def map_examples(
    views: Mapping[str, Float32],
    names: Sequence[str],
    digests: Sequence[str],
    checkpoint: Callable[[], None] = lambda: None,
) -> Float32:
    """Return the positions of N examples, [N, 2], at most 1 from the center along each axis.

    The axes are the first two principal components of the features, whose rows are scaled to length 1. Equal
    features have equal positions, and the same examples in any order the same map. `views` has features
    [N, D of the view] by view, `names` the views to use. The order of the content digests samples many
    examples. `checkpoint` is called between blocks and may raise to stop.
    """
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)
    key = feature_key([views[name] for name in names], "map", order)
    positions: Float32 = RESULT_CACHE.get(key, lambda: _positions(views, names, order, checkpoint))
    return positions


def _positions(
    views: Mapping[str, Float32], names: Sequence[str], order: Ints, checkpoint: Callable[[], None]
) -> Float32:
    sample = _rows(views, names, order[:_SAMPLE])
    center = sample.mean(axis=0)
    axes = _principal_axes(sample - center, checkpoint)
    parts = []
    for start in range(0, len(order), BLOCK):
        checkpoint()
        parts.append((_rows(views, names, slice(start, start + BLOCK)) - center) @ axes)
    positions: Float64 = np.concatenate(parts)
    reach = np.abs(positions).max(initial=0.0)
    scaled: Float32 = (positions / (reach or 1.0)).astype(np.float32)
    return scaled


def _rows(views: Mapping[str, Float32], names: Sequence[str], part: "np.ndarray | slice") -> Float64:
    chosen = {name: views[name][part] for name in names}
    rows: Float64 = normalized(concatenate_views(chosen, names).astype(np.float64))
    return rows


def _principal_axes(rows: Float64, checkpoint: Callable[[], None]) -> Float64:
    """Return the first two principal components, [D, 2], by subspace iteration.

    The largest component of each is positive, as its sign is arbitrary.
    """
    size = rows.shape[1]
    start = np.random.default_rng(0).standard_normal((size, min(_DIRECTIONS, size)))
    basis, _ = np.linalg.qr(start)
    for _ in range(_ROUNDS):
        checkpoint()
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    _, _, directions = np.linalg.svd(rows @ basis, full_matrices=False)
    axes: Float64 = np.zeros((size, 2))
    found = basis @ directions[:2].T
    axes[:, : found.shape[1]] = found
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    axes *= np.where(signs == 0, 1.0, signs)
    return axes
