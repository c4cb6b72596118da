"""Examples that are all but the same, told by their features: they must not stand in two folds."""

from collections.abc import Callable, Sequence

import numpy as np

from headstart_server.learning.rows import Float32, Float64, Ints, Scaling, prepared

#: Squared distance of near-duplicates, as a share of the mean squared distance of two examples of one class.
#: A picture saved again at another size lies within 0.01 to 0.1 of it; of 5,000 different handwritten digits
#: less than 1 in 100 have such a neighbour.
SHARE = 0.05
#: Squared distance that float32's rounding gives to equal rows of length 1.
_ROUNDING = 1e-10
#: Distances that are held at once: 16 MB of them.
_DISTANCES = 1 << 22
#: Above so many different contents, pairs are first looked for in random projections of this size, where
#: squared distances keep within a factor of two (Johnson and Lindenstrauss 1984).
_PROJECT_ABOVE, _PROJECTED, _SLACK = 2000, 128, 2.0


def group_near_duplicates(
    features: Float32,
    labels: Ints,
    groups: Sequence[str],
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> list[str]:
    """Join groups whose examples are near-duplicates of each other, and those they are linked through.

    What is near is measured against how far apart examples of one class are, so tight classes do not fall
    into one group each.

    Args:
        features: [N, D] as the backbone gave them.
        labels: class index of each example, [N].
        groups: the content digest of each example, [N]; sorted, so that nothing depends on their order.
        checkpoint: called between blocks; may raise to stop.

    Returns:
        For each example the first name, in order, of the groups that were joined, [N].
    """
    names, first, members = np.unique(np.array(groups), return_index=True, return_inverse=True)
    rows = prepared(features[first], Scaling.ROOT)
    limit = max(SHARE * _spread(rows, labels[first]), _ROUNDING)
    root = np.arange(len(names))
    search, bound = rows, limit
    if len(rows) > _PROJECT_ABOVE and rows.shape[1] > _PROJECTED:
        directions = np.random.default_rng(0).normal(size=(rows.shape[1], _PROJECTED)) / np.sqrt(_PROJECTED)
        search, bound = rows @ directions.astype(np.float32), _SLACK * limit
    squares = np.square(search).sum(axis=1, keepdims=True)
    ones = np.ones_like(squares)
    # |a|^2 - 2 a b + |b|^2 as one product of matrices.
    left, right = np.hstack([-2 * search, squares, ones]), np.hstack([search, ones, squares])
    size = max(_DISTANCES // len(rows), 1)
    for start in range(0, len(rows), size):
        checkpoint()
        distances = left[start : start + size] @ right[: start + size].T
        for place, near in _neighbours(distances, start, bound):
            others = near[np.square(rows[near] - rows[place]).sum(axis=1) <= limit]
            joined = np.unique(root[np.append(others, place)])
            if len(joined) > 1:
                root[np.isin(root, joined)] = joined[0]
    found: list[str] = names[root[members]].tolist()
    return found


def _neighbours(distances: Float32, start: int, bound: float) -> list[tuple[int, Ints]]:
    """For each row of a block that begins at `start` the others within a squared distance, if there are any."""
    own = np.arange(len(distances))
    distances[own, start + own] = np.inf
    # Products of float32 rows are exact to about 1e-6 of their size: what is equal must not be missed.
    bound = bound + 1e-5
    return [
        (start + offset, np.flatnonzero(distances[offset] <= bound))
        for offset in np.flatnonzero(distances.min(axis=1) <= bound).tolist()
    ]


def _spread(rows: Float32, labels: Ints) -> float:
    """Mean squared distance of two different rows of one class; 0 where no class has two."""
    squared, pairs = 0.0, 0
    for label in np.unique(labels):
        of_class: Float64 = rows[labels == label].astype(np.float64)
        count = len(of_class)
        if count > 1:
            # The sum over ordered pairs is 2 n times the sum of squares around the mean.
            squared += 2 * count * float(np.square(of_class - of_class.mean(axis=0)).sum())
            pairs += count * (count - 1)
    return squared / pairs if pairs else 0.0
