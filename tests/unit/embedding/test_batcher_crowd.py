"""Many callers and threads at once: everybody is answered exactly once, also while the batcher closes."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import PATIENCE, Recorder
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, Row, RowFeatures
from headstart_server.embedding.train_budget import TrainBudget
from headstart_server.errors import DeadlineExceeded, Draining


class UnreadableError(Exception):
    """What preparing raises."""


class RuntimeFault(Exception):
    """What running raises."""


@pytest.fixture
def restless() -> Iterator[None]:
    """Python's threads give way to one another as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@dataclass(frozen=True)
class Crowd:
    """Many callers at once."""

    threads: int
    streams: int
    train_turns: int
    pairing: bool
    callers: int
    each: int
    closes_after: int | None


crowds = st.builds(
    Crowd,
    threads=st.integers(1, 6),
    streams=st.integers(1, 3),
    train_turns=st.integers(1, 3),
    pairing=st.booleans(),
    callers=st.integers(1, 6),
    each=st.integers(1, 30),
    closes_after=st.none() | st.integers(0, 60),
)


@given(crowd=crowds, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100)
@pytest.mark.usefixtures("restless")
def test_with_many_threads_and_callers_every_input_ends_exactly_once(crowd: Crowd, seed: int) -> None:
    busy = Busy(crowd, seed)
    busy.batcher.start()
    callers = [threading.Thread(target=busy.call, args=(place,)) for place in range(crowd.callers)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive()
    busy.batcher.close()
    assert not busy.faults
    assert busy.ends.total() == crowd.callers * crowd.each
    assert set(busy.ends.values()) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crowd")]


class Busy:
    """A batcher with threads, and callers that wait for each answer or leave."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self.crowd, self.seed = crowd, seed
        queue = LaneQueue(
            BatchSizes(3, 2),
            TrainBudget(share=0.3, items=crowd.train_turns),
            streams=crowd.streams,
            pairing=crowd.pairing,
        )
        self.batcher = Batcher(self.run, queue, Recorder(), threads=crowd.threads, name="crowd")
        self.running = threading.BoundedSemaphore(crowd.streams)
        self.ends: Counter[tuple[int, int]] = Counter()
        self.left = crowd.closes_after
        self.faults: list[object] = []
        self.lock = threading.Lock()

    def run(self, rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        assert self.running.acquire(blocking=False), "more batches at once than there are streams"
        try:
            if rows[0, 0] % 7 == 6:
                raise RuntimeFault
            return {"last": rows.astype(np.float32)}
        finally:
            self.running.release()

    def call(self, place: int) -> None:
        chance = np.random.default_rng([self.seed, place])
        waiting = [self.submit(place, number, chance) for number in range(self.crowd.each)]
        for value, entry, fate in waiting:
            try:
                answer = entry.future.result(PATIENCE).views["last"].tolist()
                if answer != [value]:
                    self.faults.append((value, answer))
            except (CancelledError, UnreadableError, RuntimeFault, DeadlineExceeded):
                pass
            except Draining:
                if self.crowd.closes_after is None:
                    self.faults.append((value, fate, "drained"))
            except BaseException as error:  # noqa: BLE001 - reported by the test
                self.faults.append((value, fate, error))

    def submit(self, place: int, number: int, chance: np.random.Generator) -> tuple[float, PendingInput, str]:
        value, key = float(place * 1000 + number), (place, number)
        fate = str(chance.choice(["row", "row", "row", "known", "error", "leaves", "late"]))

        def prepare() -> Row | RowFeatures:
            if fate == "error":
                raise UnreadableError
            made = np.array([value], np.float32)
            return RowFeatures(views={"last": made}) if fate == "known" else made

        lane = list(Lane)[chance.integers(2)]
        entry = PendingInput(prepare=prepare, lane=lane, since=0.0, deadline=0.0 if fate == "late" else None)
        entry.future.add_done_callback(lambda _: self.count(key))
        self.batcher.submit(entry)
        if fate == "leaves":
            entry.future.cancel()
        self.close_in_time()
        return value, entry, fate

    def count(self, key: tuple[int, int]) -> None:
        with self.lock:
            self.ends[key] += 1

    def close_in_time(self) -> None:
        with self.lock:
            if self.left is None:
                return
            self.left -= 1
            closes = self.left == 0
        if closes:
            self.batcher.close()
