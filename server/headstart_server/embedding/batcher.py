"""Threads for each backbone that run whatever waits, in batches, serving before training."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Views
from headstart_server.embedding.queue import Batch, Entry, Lane, RowFeatures, RowQueue
from headstart_server.errors import DeadlineExceeded, Draining


class BatchObserver(Protocol):
    """Who is told of every batch."""

    def batch_ran(self, lane: Lane, rows: int, seconds: float) -> None:
        """A batch of some rows ran for some seconds."""

    def rows_dropped(self, lane: Lane, rows: int, cause: str) -> None:
        """Rows left the queue unrun, for `expired` or `abandoned`."""


class Batcher:
    """Runs rows of concurrent callers together.

    It adds no delay: a batch is what waits when the device, or one of its streams, is free.

    Args:
        run: the backbone, from rows [n, ...] to views [n, D]; called from a thread for each stream.
        queue: holds the rows and decides whose turn it is.
        observer: is told of batches and drops.
        streams: batches that run at once.
        clock: seconds that only go up; deadlines are on it.
        name: of the threads.
    """

    def __init__(
        self,
        run: Callable[[NDArray[np.generic]], Views],
        queue: RowQueue,
        observer: BatchObserver,
        *,
        streams: int = 1,
        clock: Callable[[], float] = time.monotonic,
        name: str = "batcher",
    ) -> None:
        self._run = run
        self._queue = queue
        self._observer = observer
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{place}", daemon=True)
            for place in range(streams)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish the batches that run, fail what waits with `Draining`, and end the threads."""
        with self._changed:
            self._closed = True
            left = self._queue.drain()
            self._changed.notify_all()
        for entry in left:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(Draining("The server is stopping. Try again at another replica."))
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def submit(
        self, row: NDArray[np.generic], lane: Lane, deadline: float | None = None
    ) -> "Future[RowFeatures]":
        """Queue one row.

        Args:
            row: what `Backbone.decode` made.
            lane: its priority.
            deadline: when the caller stops waiting, on the batcher's clock; None for never.

        Returns:
            Its features to come. Cancelling the future takes the row out when its batch forms.

        Raises:
            Draining: the batcher is closed.
        """
        entry = Entry(row=row, lane=lane, queued_at=self._clock(), deadline=deadline)
        with self._changed:
            if self._closed:
                raise Draining("The server is stopping. Try again at another replica.")
            self._queue.put(entry)
            self._changed.notify()
        return entry.future

    def waiting(self, lane: Lane) -> int:
        """Number of rows that wait in a lane."""
        return self._queue.waiting(lane)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._queue.take(self._clock())
            self.execute(batch)

    def execute(self, batch: Batch) -> None:
        """Run a batch and answer each of its entries exactly once."""
        for cause, count in (("expired", len(batch.expired)), ("abandoned", batch.abandoned)):
            if count:
                self._observer.rows_dropped(batch.lane, count, cause)
        for entry in batch.expired:
            entry.future.set_exception(
                DeadlineExceeded("The deadline passed while the input waited for the backbone.")
            )
        if not batch.entries:
            return
        started = self._clock()
        try:
            views = self._run(np.stack([entry.row for entry in batch.entries]))
            seconds = self._clock() - started
            # Copied, so that a cached row does not keep its whole batch in memory.
            answers = [
                {name: matrix[place].copy() for name, matrix in views.items()}
                for place in range(len(batch.entries))
            ]
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises belongs to these callers
            for entry in batch.entries:
                entry.future.set_exception(error)
            return
        self._observer.batch_ran(batch.lane, len(batch.entries), seconds)
        for entry, vectors in zip(batch.entries, answers, strict=True):
            entry.future.set_result(
                RowFeatures(
                    views=vectors,
                    queued=started - entry.queued_at,
                    ran=seconds,
                    batch_rows=len(batch.entries),
                )
            )
