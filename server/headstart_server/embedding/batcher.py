"""Threads per backbone that decode inputs and run batches; Predicts precede training."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Views
from headstart_server.embedding.queue import Lane, LaneQueue, PendingInput, Row, RowFeatures, WorkItem
from headstart_server.embedding.row_heads import RowHead, head_outputs
from headstart_server.errors import DeadlineExceeded, Draining


class Run(Protocol):
    """Callable that runs the network on one batch."""

    def __call__(self, rows: NDArray[np.generic], cuts: Collection[str] = (), /) -> Views:
        """Return views of rows [n, ...], and their activations at the given cuts."""


class BatchObserver(Protocol):
    """Receives statistics of batches."""

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        """Record a batch; `slowest` is the latency of its slowest row, from arrival to end."""

    def inputs_dropped(self, lane: Lane, count: int, reason: str) -> None:
        """Count inputs that left the queue before they ran."""


class Batcher:
    """Prepares and runs the inputs of concurrent callers together.

    It adds no delay unless the queue is configured to wait: a batch contains the rows that are ready when the
    device, or one of its streams, is free. On a CPU there is one more thread than cores, so that decoding and
    network hardly contend. If the device works in parallel with the CPU, there are more threads, and the next
    batch is prepared while one runs.

    Args:
        run: the network; called for as many batches concurrently as the queue allows.
        queue: holds the inputs and chooses the next work item.
        observer: receives batch statistics.
        train_run: the network for batches of the train lane; None for the same.
        threads: number of threads.
        clock: monotonic seconds; deadlines use it.
        name: prefix of thread names.
    """

    def __init__(
        self,
        run: Run,
        queue: LaneQueue,
        observer: BatchObserver,
        *,
        train_run: Run | None = None,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        name: str = "batcher",
    ) -> None:
        self._runs = {Lane.PREDICT: run, Lane.TRAIN: train_run or run}
        self._queue = queue
        self._observer = observer
        self.clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._idle = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{place}", daemon=True)
            for place in range(threads)
        ]

    def start(self) -> None:
        """Start the threads, all or none; raise RuntimeError if the process cannot start another thread."""
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Finish running items, fail waiting inputs with `Draining`, and end the threads."""
        with self._changed:
            self._closed = True
            left = self._queue.drain()
            self._changed.notify_all()
        for entry in left:
            _fail(entry, _draining())
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def submit(self, entry: PendingInput) -> "Future[RowFeatures]":
        """Queue one input and return its future, which fails with `Draining` if the batcher is closed.

        Cancelling the future removes the input from the queue.
        """
        with self._changed:
            closed = self._closed
            if not closed:
                self._queue.add(entry)
                self._wake()
        if closed:
            _fail(entry, _draining())
        return entry.future

    def run_now(self, rows: Sequence[Row], heads: Sequence[RowHead], *, decoded: float) -> list[RowFeatures]:
        """Run Predict rows of an immediate backbone in the caller's thread, next to other batches."""
        started = self.clock()
        views = self._runs[Lane.PREDICT](rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows))
        outputs = head_outputs(views, [heads] * len(rows))
        seconds = self.clock() - started
        self._observer.batch_ran(Lane.PREDICT, len(rows), seconds, decoded + seconds)
        return [
            RowFeatures(
                views={name: matrix[place] for name, matrix in views.items()},
                decoded=decoded / len(rows),
                ran=seconds,
                batch_rows=len(rows),
                outputs=predicted,
            )
            for place, predicted in enumerate(outputs)
        ]

    def waiting(self, lane: Lane) -> int:
        """Return the number of inputs that wait in a lane."""
        return self._queue.waiting(lane)

    def step(self) -> bool:
        """Process one work item in the caller's thread, and return whether there was one."""
        with self._changed:
            item = self._take()
        return self._carry_out(item)

    def _serve(self) -> None:
        # No variable holds the item, because a waiting thread must not keep its last batch in memory.
        while self._carry_out(self._next_turn()):
            pass

    def _next_turn(self) -> WorkItem | None:
        """Wait for the next work item; return None when the batcher is closed."""
        with self._changed:
            while (item := self._take()) is None and not self._closed:
                self._idle += 1
                self._changed.wait(self._queue.delay(self.clock()))
                self._idle -= 1
            return item

    def _take(self) -> WorkItem | None:
        item = self._queue.next_item(self.clock())
        if item is not None:
            self._wake()
        return item

    def _wake(self) -> None:
        """Wake a thread if there is work.

        Called whenever an input was added or an item was taken. A thread that ends an item takes the next one
        itself. So a thread that leaves work behind wakes another, and no thread sleeps while work is
        possible.
        """
        if self._idle and self._queue.has_work(self.clock()):
            self._changed.notify()

    def _carry_out(self, item: WorkItem | None) -> bool:
        """Process an item and report its end to the queue; return False without an item."""
        if item is None:
            return False
        prepared, seconds = self._do(item)
        with self._changed:
            self._queue.finish(item, seconds)
            closed = self._closed
            if prepared is not None and not closed:
                self._queue.add(prepared)
        if prepared is not None and closed:
            _fail(prepared, _draining())
        return True

    def _do(self, item: WorkItem) -> tuple[PendingInput | None, float]:
        """Process an item; return the input whose row is now ready, if any, and the seconds spent."""
        started = self.clock()
        self._drop(item)
        prepared = None
        if item.prepare is not None and self._prepare(item.prepare, started):
            prepared = item.prepare
        if item.batch:
            self._execute(item.lane, item.batch, started)
        return prepared, self.clock() - started

    def _drop(self, item: WorkItem) -> None:
        for cause, count in (("expired", len(item.expired)), ("abandoned", item.abandoned)):
            if count:
                self._observer.inputs_dropped(item.lane, count, cause)
        for entry in item.expired:
            entry.future.set_exception(
                DeadlineExceeded("The deadline passed while the input waited for the backbone.")
            )

    def _prepare(self, entry: PendingInput, started: float) -> bool:
        """Decode an input; return False if its future is completed instead."""
        try:
            prepared = entry.prepare()
        except Exception as error:  # noqa: BLE001 - passed to this caller
            _fail(entry, error)
            return False
        if isinstance(prepared, RowFeatures):
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_result(prepared)
            return False
        now = self.clock()
        if isinstance(prepared, tuple):
            prepared, entry.truncation = prepared
        entry.row = prepared
        entry.queued, entry.decoded, entry.since = started - entry.since, now - started, now
        return True

    def _execute(self, lane: Lane, batch: tuple[PendingInput, ...], started: float) -> None:
        # Inputs with and without cuts share one pass.
        cuts = frozenset().union(*(entry.cuts for entry in batch))
        try:
            run = self._runs[lane]
            views = run(_stacked(batch), cuts) if cuts else run(_stacked(batch))
            seconds = self.clock() - started
            # Copied, so that a cached row does not keep its whole batch in memory.
            answers = [
                {
                    name: matrix[place].copy()
                    for name, matrix in views.items()
                    if name not in cuts or name in entry.cuts
                }
                for place, entry in enumerate(batch)
            ]
            outputs = head_outputs(views, [entry.heads for entry in batch])
        except Exception as error:  # noqa: BLE001 - passed to these callers
            for entry in batch:
                entry.future.set_exception(error)
            return
        before = max(entry.queued + entry.decoded + started - entry.since for entry in batch)
        self._observer.batch_ran(lane, len(batch), seconds, before + seconds)
        for entry, vectors, predicted in zip(batch, answers, outputs, strict=True):
            entry.future.set_result(
                RowFeatures(
                    views=vectors,
                    decoded=entry.decoded,
                    queued=entry.queued + started - entry.since,
                    ran=seconds,
                    batch_rows=len(batch),
                    outputs=predicted,
                    truncation=entry.truncation,
                )
            )


def _stacked(batch: tuple[PendingInput, ...]) -> NDArray[np.generic]:
    rows = [entry.row for entry in batch if entry.row is not None]
    return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)


def _fail(entry: PendingInput, error: BaseException) -> None:
    if entry.future.set_running_or_notify_cancel():
        entry.future.set_exception(error)


def _draining() -> Draining:
    return Draining("The server is stopping. Try again at another replica.")
