"""The training examples nearest to an input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart_server.learning.analysis.references import sample_by_digest
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import BLOCK, Float32
from headstart_server.learning.features.result_cache import RESULT_CACHE, feature_key
from headstart_server.learning.features.similarity import QuantizedRows, similarity_rows

#: Maximum number of examples of an index, which must fit into memory.
MAX_INDEXED = 50_000
#: Approximate bytes of an example's ID and label, in addition to its features.
_EXAMPLE_BYTES = 400
#: Inputs compared at a time.
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighborExample:
    """An example of an index."""

    index: int  # position in the list of the version's examples
    id: str  # the caller's ID; may be empty
    target: Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A training example near an input."""

    example: NeighborExample
    distance: float  # 1 less the cosine of the angle between them, 0 to 2; accurate to about 0.0003


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NeighborIndex:
    """The features of training examples for nearest-neighbor search."""

    views: tuple[str, ...]  # the backbone's views that inputs are compared by
    rows: QuantizedRows  # quantized features of the examples, [N, D]
    examples: Sequence[NeighborExample]  # the examples, in the order of the version's list, [N]

    @property
    def nbytes(self) -> int:
        """Bytes in memory, estimated for names and labels."""
        return self.rows.nbytes + sum(_EXAMPLE_BYTES + len(example.id) for example in self.examples)

    @property
    def work(self) -> int:
        """Multiplications for one input."""
        return self.rows.values.size

    def nearest(self, views: Mapping[str, Float32], count: int) -> list[tuple[Neighbor, ...]]:
        """Return the `count` nearest examples of each of n inputs, from features [n, D of the view] by view.

        The nearest comes first, and of equals the first in the list.
        """
        found: list[tuple[Neighbor, ...]] = []
        for start in range(0, len(views[self.views[0]]), _AT_ONCE):
            rows = similarity_rows(views, self.views, slice(start, start + _AT_ONCE))
            found.extend(self._neighbors(far, count) for far in self.rows.distances(rows))
        return found

    def _neighbors(self, distances: Float32, count: int) -> tuple[Neighbor, ...]:
        order = np.argsort(distances, kind="stable")[:count]
        return tuple(
            Neighbor(example=self.examples[place], distance=float(distances[place]))
            for place in order.tolist()
        )


def index_neighbors(
    views: Mapping[str, Float32],
    names: Sequence[str],
    examples: Sequence[NeighborExample],
    digests: Sequence[str],
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> NeighborIndex:
    """Return an index of training examples in the order of the version's list, [N].

    `views` has features [N, D of the view] by view, `names` the views to compare by. The content digests
    sample more than `MAX_INDEXED` examples. `checkpoint` is called between blocks and may raise to stop.
    """
    chosen = sample_by_digest(digests, MAX_INDEXED)

    def blocks() -> Iterator[Float32]:
        for start in range(0, len(chosen), BLOCK):
            checkpoint()
            yield similarity_rows(views, names, chosen[start : start + BLOCK])

    key = feature_key([views[name] for name in names], "neighbors", chosen)
    return NeighborIndex(
        views=tuple(names),
        rows=RESULT_CACHE.get(key, lambda: QuantizedRows.from_blocks(blocks())),
        examples=tuple(examples[place] for place in chosen.tolist()),
    )
