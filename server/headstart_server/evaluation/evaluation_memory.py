"""The memory of evaluations, which have arrays of a number for each example and class."""

from headstart_server.learning.features.memory_share import MemoryShare, gib

#: Bytes of an example and a class: output, label, flags and their copies. A test measures them.
_CELL = 28
#: Bytes of each number of a block, of which one is computed at a time, and the numbers of a block.
_BLOCK_CELL, _BLOCK = 40, 1 << 20
#: Bytes of two classes, of which one is predicted instead of the other.
_PAIR = 32
#: Bytes of an example without its numbers.
_EXAMPLE = 1024


def evaluation_bytes(examples: int, classes: int) -> int:
    """Return the estimated peak memory of an evaluation in bytes; `classes` include unknown ones."""
    cells = examples * classes
    return examples * _EXAMPLE + cells * _CELL + min(cells, _BLOCK) * _BLOCK_CELL + classes**2 * _PAIR


class EvaluationMemory:
    """The estimated memory of all evaluations of a process. Safe to use from many threads.

    Args:
        limit: maximum bytes; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._share = MemoryShare(limit)

    def take(self, evaluation: object, examples: int, classes: int) -> None:
        """Count the examples and classes of an evaluation; raise JobMemoryLimit if they do not fit."""
        estimate = evaluation_bytes(examples, classes)
        excess = self._share.take(evaluation, estimate)
        if excess is not None:
            raise excess.error(
                f"The evaluation would take about {gib(estimate)} of memory for {examples:,} examples with "
                f"{classes:,} classes, including those that the version does not know.",
                owners="all evaluations",
                remedy="fewer examples or fewer unknown classes",
            )
