"""Threads for calls that work for seconds or minutes, apart from those in which others look things up.

Calls that wait for a bucket have separate threads, by kind. The event loop's own threads read only the
database and the local disk, so a slow bucket holds up neither Status nor Watch nor lists.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

#: Pieces of long work at once; further ones wait their turn.
THREADS = 8
#: Uploads and other calls that write artifacts, or read whole datasets of them, at once.
UPLOAD_THREADS = 16
#: Versions that are read for Predict at once.
LOAD_THREADS = 16
#: Deletions and cancels at once, each of which may remove artifacts.
REMOVAL_THREADS = 4


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
