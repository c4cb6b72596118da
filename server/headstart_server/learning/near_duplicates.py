"""Examples that are all but the same, told by their features: they must not stand in two folds."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from headstart_server.learning.rows import BLOCK, Float32, Ints, Scaling, prepared

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
    order: Ints | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> list[str]:
    """Join groups whose examples are near-duplicates of each other, and those they are linked through.

    What is near is measured against how far apart examples of one class are, so tight classes do not fall
    into one group each.

    Args:
        features: [N, D] as the backbone gave them.
        labels: class index of each example, [N].
        groups: the content digest of each example, [N]; sorted, so that nothing depends on their order.
        order: the row of `features` that belongs to each label and group, [N]; None for the same one.
        checkpoint: called between blocks; may raise to stop.

    Returns:
        For each example the first name, in order, of the groups that were joined, [N].
    """
    names, first, members = np.unique(np.array(groups), return_index=True, return_inverse=True)
    contents = _Contents(features, first if order is None else order[first], checkpoint)
    limit = max(SHARE * contents.spread(labels[first]), _ROUNDING)
    search, slack = contents.searched()
    squares = np.square(search).sum(axis=1, keepdims=True)
    ones = np.ones_like(squares)
    # |a|^2 - 2 a b + |b|^2 as one product of matrices.
    left, right = np.hstack([-2 * search, squares, ones]), np.hstack([search, ones, squares])
    root = np.arange(len(names))
    size = max(_DISTANCES // len(names), 1)
    for start in range(0, len(names), size):
        checkpoint()
        distances = left[start : start + size] @ right[: start + size].T
        for place, near in _neighbours(distances, start, slack * limit):
            apart = np.square(contents.rows(near) - contents.rows(np.array([place]))).sum(axis=1)
            joined = np.unique(root[np.append(near[apart <= limit], place)])
            if len(joined) > 1:
                root[np.isin(root, joined)] = joined[0]
    found: list[str] = names[root[members]].tolist()
    return found


class _Contents:
    """The different contents as rows of length 1, made from their features when they are needed."""

    def __init__(self, features: Float32, places: Ints, checkpoint: Callable[[], None]) -> None:
        self._features = features
        self._places = places
        self._checkpoint = checkpoint

    def rows(self, chosen: slice | Ints) -> Float32:
        return prepared(self._features[self._places[chosen]], Scaling.ROOT)

    def spread(self, labels: Ints) -> float:
        """Mean squared distance of two different rows of one class; 0 where no class has two."""
        counts = np.bincount(labels)
        sums, squares = np.zeros((len(counts), self._features.shape[1])), np.zeros(len(counts))
        for block in self._blocks():
            rows = self.rows(block).astype(np.float64)
            np.add.at(sums, labels[block], rows)
            np.add.at(squares, labels[block], np.square(rows).sum(axis=1))
        # Over ordered pairs of a class the squared distances sum up to 2 n sum |a|^2 - 2 |sum a|^2.
        total = 2 * float(counts @ squares - np.square(sums).sum())
        pairs = int((counts * (counts - 1)).sum())
        return max(total, 0.0) / pairs if pairs else 0.0

    def searched(self) -> tuple[Float32, float]:
        """The rows that pairs are looked for in, [N, d], and by how much squared distances are overrated."""
        count, size = len(self._places), self._features.shape[1]
        if count <= _PROJECT_ABOVE or size <= _PROJECTED:
            return self.rows(slice(None)), 1.0
        directions = np.random.default_rng(0).normal(size=(size, _PROJECTED)) / np.sqrt(_PROJECTED)
        to = directions.astype(np.float32)
        return np.concatenate([self.rows(block) @ to for block in self._blocks()]), _SLACK

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self._places), BLOCK):
            self._checkpoint()
            yield slice(start, start + BLOCK)


def _neighbours(distances: Float32, start: int, bound: float) -> list[tuple[int, Ints]]:
    """For each row of a block from `start` on the others within a squared distance, where there are any."""
    own = np.arange(len(distances))
    distances[own, start + own] = np.inf
    # Products of float32 rows are exact to about 1e-6 of their size: what is equal must not be missed.
    bound = bound + 1e-5
    return [
        (start + offset, np.flatnonzero(distances[offset] <= bound))
        for offset in np.flatnonzero(distances.min(axis=1) <= bound).tolist()
    ]
