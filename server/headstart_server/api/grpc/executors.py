"""Threads for calls that work for seconds or minutes, apart from those in which others look things up.

Calls that wait for a bucket have separate threads, by kind. The event loop's own threads read only the
database and the local disk, so a slow bucket holds up neither Status nor Watch nor lists.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import TypeVar

T = TypeVar("T")

#: Pieces of long work at once; further ones wait their turn.
THREADS = 8


class Work(Enum):
    """A kind of work that takes long."""

    LONG = "looks at examples, measures versions, draws reports"
    UPLOAD = "opens, accepts and discards the examples of fine-tunes: a bucket may take its time"
    GATHERING = "reads datasets at URIs: it waits most of the time, and may wait for long"
    DATASET = "writes batches of named datasets"
    LOAD = "reads versions for Predict"
    REMOVAL = "deletes and cancels, which may remove artifacts"


_THREADS_OF = {
    Work.LONG: THREADS,
    Work.UPLOAD: 16,
    Work.GATHERING: 4,
    Work.DATASET: 16,
    Work.LOAD: 16,
    Work.REMOVAL: 4,
}


class BoundedExecutor:
    """Runs what takes long: looking at examples, measuring versions, drawing reports.

    In the event loop's own threads some dozen such calls would keep Status, and Predicts that load a version,
    waiting for as long.

    Args:
        threads: pieces of work at once.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "executor")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """What some work gives. Cancelled before its turn, it is never begun."""
        call = partial(contextvars.copy_context().run, work, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class CallThreads:
    """Runs the long work of all calls of a server, each kind in separate threads."""

    def __init__(self) -> None:
        self._executors = {kind: BoundedExecutor(threads) for kind, threads in _THREADS_OF.items()}

    def of(self, kind: Work) -> BoundedExecutor:
        """Return the threads of a kind, for what does no other work."""
        return self._executors[kind]

    async def run(self, kind: Work, work: Callable[..., T], *arguments: object) -> T:
        """As `BoundedExecutor.run`, in the threads of a kind."""
        return await self._executors[kind].run(work, *arguments)
