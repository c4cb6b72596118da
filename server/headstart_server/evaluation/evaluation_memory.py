"""The memory of evaluations, which have arrays of a number for each example and class."""

import threading
from weakref import WeakKeyDictionary

from headstart_server.errors import JobMemoryLimit

#: Fraction of the memory of jobs that evaluations may use, and the minimum in bytes.
SHARE = 4
LEAST_BYTES = 64 << 20
#: Bytes of an example and a class: output, label, flags and their copies. A test measures them.
_CELL = 28
#: Bytes of each number of a block, of which one is computed at a time, and the numbers of a block.
_BLOCK_CELL, _BLOCK = 40, 1 << 20
#: Bytes of two classes, of which one is predicted instead of the other.
_PAIR = 32
#: Bytes of an example without its numbers.
_EXAMPLE = 1024
_GIB = 1 << 30


def evaluation_budget(job_bytes: int | None) -> int | None:
    """Return the bytes of memory of all evaluations of a process; None if the memory of jobs is unknown."""
    return None if job_bytes is None else max(job_bytes // SHARE, LEAST_BYTES)


def evaluation_bytes(examples: int, classes: int) -> int:
    """Return the estimated peak memory of an evaluation in bytes; `classes` include unknown ones."""
    cells = examples * classes
    return examples * _EXAMPLE + cells * _CELL + min(cells, _BLOCK) * _BLOCK_CELL + classes**2 * _PAIR


class EvaluationMemory:
    """The estimated memory of all evaluations of a process. Safe to use from many threads.

    An evaluation counts until no thread has it any longer, so also while a cancelled one ends its work.

    Args:
        limit: maximum bytes; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def take(self, evaluation: object, examples: int, classes: int) -> None:
        """Count the examples and classes of an evaluation; raise JobMemoryLimit if they do not fit."""
        estimate = evaluation_bytes(examples, classes)
        with self._lock:
            others = sum(nbytes for each, nbytes in self._taken.items() if each is not evaluation)
            if self._limit is None or others + estimate <= self._limit:
                self._taken[evaluation] = estimate
                return
        is_shared = estimate <= self._limit
        raise JobMemoryLimit(
            f"The evaluation would take about {estimate / _GIB:,.2f} GiB of memory for {examples:,} examples "
            f"with {classes:,} classes, including those that the version does not know. This server gives "
            f"{self._limit / _GIB:,.2f} GiB to all evaluations, from --job-memory"
            + (f"; others use {others / _GIB:,.2f} GiB. Try again later, or send" if is_shared else ". Send")
            + " fewer examples or fewer unknown classes.",
            metadata={"limit": str(self._limit), "estimate": str(estimate)},
        )
