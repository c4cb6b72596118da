"""Threads for each backbone that decode and run whatever waits, in batches, serving before training."""

import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Views
from headstart_server.embedding.queue import Lane, LaneQueue, PendingInput, RowFeatures, WorkItem
from headstart_server.errors import DeadlineExceeded, Draining


class Run(Protocol):
    """A backbone's pass."""

    def __call__(self, rows: NDArray[np.generic], cuts: Collection[str] = (), /) -> Views:
        """Views of rows [n, ...], and their activations at some cuts."""


class BatchObserver(Protocol):
    """Who is told of every batch."""

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        """A batch of some rows ran for some seconds; its slowest row took `slowest` from arrival to end."""

    def rows_dropped(self, lane: Lane, rows: int, cause: str) -> None:
        """Rows left the queue unrun, for `expired` or `abandoned`."""


class Batcher:
    """Prepares and runs the inputs of concurrent callers together.

    It adds no delay unless the queue is told to: a batch is what waits when the device, or one of its
    streams, is free. Its threads do either kind of work. On a CPU there is one more than
    cores, so that decoding and network hardly contend; where the device works beside the CPU there are more,
    and the next batch is prepared while one runs.

    Args:
        run: the backbone, from rows [n, ...] to views [n, D] and to cuts that some of them ask for; called
            for as many batches at once as the queue allows.
        queue: holds the inputs and decides what is done next.
        observer: is told of batches and drops.
        threads: how many work.
        clock: seconds that only go up; deadlines are on it.
        name: of the threads.
    """

    def __init__(
        self,
        run: Run,
        queue: LaneQueue,
        observer: BatchObserver,
        *,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        name: str = "batcher",
    ) -> None:
        self._run = run
        self._queue = queue
        self._observer = observer
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._idle = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{place}", daemon=True)
            for place in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what is being done, fail what waits with `Draining`, and end the threads."""
        with self._changed:
            self._closed = True
            left = self._queue.drain()
            self._changed.notify_all()
        for entry in left:
            _fail(entry, _draining())
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def submit(self, entry: PendingInput) -> None:
        """Queue one input. Its future is answered, with `Draining` if the batcher is closed.

        Cancelling the future takes the input out when its turn comes.
        """
        with self._changed:
            closed = self._closed
            if not closed:
                self._queue.add(entry)
                self._wake()
        if closed:
            _fail(entry, _draining())

    def waiting(self, lane: Lane) -> int:
        """Number of inputs that wait in a lane."""
        return self._queue.waiting(lane)

    def step(self) -> bool:
        """Do one turn in the caller's thread.

        Returns:
            Whether there was one.
        """
        with self._changed:
            item = self._take()
        return self._carry_out(item)

    def _serve(self) -> None:
        # Without a name for the turn: a thread that waits must not keep its last batch in memory.
        while self._carry_out(self._next_turn()):
            pass

    def _next_turn(self) -> WorkItem | None:
        """The next turn, once there is one; None when the batcher is closed."""
        with self._changed:
            while (item := self._take()) is None and not self._closed:
                self._idle += 1
                self._changed.wait(self._queue.delay(self._clock()))
                self._idle -= 1
            return item

    def _take(self) -> WorkItem | None:
        item = self._queue.next_item(self._clock())
        if item is not None:
            self._wake()
        return item

    def _wake(self) -> None:
        """Wake a thread if it finds something to do.

        Called whenever an entry was added or a turn was taken; a thread that ends a turn looks for its next
        one itself. So who leaves more to do behind wakes another, that one the next, and none sleeps while
        something can be done.
        """
        if self._idle and self._queue.has_work():
            self._changed.notify()

    def _carry_out(self, item: WorkItem | None) -> bool:
        """Do a turn and give it back; False if there is none."""
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
        """Do a turn; the entry whose row may run now, if any, and the seconds it took."""
        started = self._clock()
        self._drop(item)
        prepared = None
        if item.prepare is not None and self._prepare(item.prepare, started):
            prepared = item.prepare
        if item.batch:
            self._execute(item.lane, item.batch, started)
        return prepared, self._clock() - started

    def _drop(self, item: WorkItem) -> None:
        for cause, count in (("expired", len(item.expired)), ("abandoned", item.abandoned)):
            if count:
                self._observer.rows_dropped(item.lane, count, cause)
        for entry in item.expired:
            entry.future.set_exception(
                DeadlineExceeded("The deadline passed while the input waited for the backbone.")
            )

    def _prepare(self, entry: PendingInput, started: float) -> bool:
        """Get an entry's row; False if the entry is answered instead."""
        try:
            prepared = entry.prepare()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this caller
            _fail(entry, error)
            return False
        if isinstance(prepared, RowFeatures):
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_result(prepared)
            return False
        now = self._clock()
        entry.row = prepared
        entry.queued, entry.decoded, entry.since = started - entry.since, now - started, now
        return True

    def _execute(self, lane: Lane, batch: tuple[PendingInput, ...], started: float) -> None:
        # One pass for all: who asks for no cut shares it with who does.
        cuts = frozenset().union(*(entry.cuts for entry in batch))
        try:
            views = self._run(_stacked(batch), cuts) if cuts else self._run(_stacked(batch))
            seconds = self._clock() - started
            # Copied, so that a cached row does not keep its whole batch in memory.
            answers = [
                {
                    name: matrix[place].copy()
                    for name, matrix in views.items()
                    if name not in cuts or name in entry.cuts
                }
                for place, entry in enumerate(batch)
            ]
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises belongs to these callers
            for entry in batch:
                entry.future.set_exception(error)
            return
        before = max(entry.queued + entry.decoded + started - entry.since for entry in batch)
        self._observer.batch_ran(lane, len(batch), seconds, before + seconds)
        for entry, vectors in zip(batch, answers, strict=True):
            entry.future.set_result(
                RowFeatures(
                    views=vectors,
                    decoded=entry.decoded,
                    queued=entry.queued + started - entry.since,
                    ran=seconds,
                    batch_rows=len(batch),
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
