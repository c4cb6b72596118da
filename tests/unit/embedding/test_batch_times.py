"""Times of a batch: how long it ran, and how long its slowest row took from its arrival on."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fakes import PATIENCE, ManualClock
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput


class Times:
    """Keeps the times of batches."""

    def __init__(self) -> None:
        self.seen: list[tuple[Lane, int, float, float]] = []

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        self.seen.append((lane, rows, seconds, slowest))

    def inputs_dropped(self, lane: Lane, rows: int, cause: str) -> None:
        raise AssertionError("no row is dropped here")


def test_the_slowest_row_took_its_waiting_its_decoding_and_the_batch():
    clock, seen = ManualClock(100.0), Times()

    def decode() -> NDArray[np.float32]:
        clock.advance(2.0)
        return np.zeros(4, np.float32)

    def run(rows: NDArray[np.generic], cuts: Collection[str] = ()) -> dict[str, NDArray[np.float32]]:
        clock.advance(5.0)
        return {"last": np.zeros((len(rows), 3), np.float32)}

    batcher = Batcher(run, LaneQueue(BatchSizes(4, 2)), seen, clock=clock)
    late = PendingInput(prepare=decode, lane=Lane.PREDICT, since=97.0)
    early = PendingInput(prepare=lambda: np.zeros(4, np.float32), lane=Lane.PREDICT, since=90.0)
    for entry in (early, late):
        batcher.submit(entry)
    batcher.start()
    late.future.result(PATIENCE)
    early.future.result(PATIENCE)
    batcher.close()

    slowest = max(seconds for *_, seconds in seen.seen)
    assert sum(rows for _, rows, *_ in seen.seen) == 2
    assert {seconds for _, _, seconds, _ in seen.seen} == {5.0}
    # The early row waited ten seconds before the first turn; what follows is its decoding and its batch.
    assert slowest >= 10.0 + 5.0
