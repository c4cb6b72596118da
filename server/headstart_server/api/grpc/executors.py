"""Separate threads for calls that work for seconds or minutes, by kind of work.

The event loop's default threads read only the database and the local disk. So a slow bucket does not delay
Status, Watch and lists.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Concurrent calls of long work; further ones wait.
THREADS = 8


class Work(Enum):
    """A kind of work that takes long."""

    LONG = "read examples, evaluate versions, create reports"
    UPLOAD = "open, accept and discard the examples of fine-tunes, which may wait for a bucket"
    GATHERING = "read datasets at URIs, which mostly waits, perhaps for long"
    DATASET = "write batches of named datasets"
    LOAD = "read versions for Predict"
    INFLUENCE = "compute influences of training examples, which takes a core and much memory"
    REMOVAL = "delete and cancel, which may remove artifacts"


_THREADS_OF = {
    Work.LONG: THREADS,
    Work.UPLOAD: 16,
    Work.GATHERING: 4,
    Work.DATASET: 16,
    Work.LOAD: 16,
    Work.INFLUENCE: 1,
    Work.REMOVAL: 4,
}


class CallPool(ThreadPoolExecutor):
    """Threads for the work of calls; work that is cancelled before it begins is freed immediately.

    A `ThreadPoolExecutor` keeps cancelled work, and the message of its call, until a thread reaches it in the
    queue. Callers that leave release their calls, so the messages in the queue would have no limit.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Queue some work."""
        work = [partial(fn, *args, **kwargs)]
        future = super().submit(_take, work)
        future.add_done_callback(lambda _: work.clear())
        return future


def _take(work: list[partial[T]]) -> T:
    return work.pop()()


class BoundedExecutor:
    """Run long work, such as evaluating versions and creating reports, in separate threads.

    In the event loop's default threads, some dozen such calls would block Status, and Predicts that load a
    version, until they end.

    Args:
        threads: maximum concurrent calls.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = CallPool(threads, "executor")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Return the result of some work. If cancelled before it begins, the work never runs."""
        call = partial(contextvars.copy_context().run, work, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class CallThreads:
    """Run the long work of all calls of a server, each kind in separate threads."""

    def __init__(self) -> None:
        self._executors = {kind: BoundedExecutor(threads) for kind, threads in _THREADS_OF.items()}

    def of(self, kind: Work) -> BoundedExecutor:
        """Return the threads of a kind, for an object that does no other kind of work."""
        return self._executors[kind]

    async def run(self, kind: Work, work: Callable[..., T], *arguments: object) -> T:
        """Run work as `BoundedExecutor.run` does, in the threads of a kind."""
        return await self._executors[kind].run(work, *arguments)
