"""Everybody is answered exactly once, in whatever order inputs come, end, leave, and the batcher closes."""

from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import ManualClock, Recorder
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue, PendingInput, Row, RowFeatures
from headstart_server.embedding.train_budget import TrainBudget
from headstart_server.errors import DeadlineExceeded, Draining

#: Turns that may be under way at once, each inside another: Python's stack has an end.
MAX_OVERLAPPING = 6
#: Inputs of one play: what an input brings along comes when it is prepared and again when it runs.
MAX_INPUTS = 80


class UnreadableError(Exception):
    """What preparing raises."""


class RuntimeFault(Exception):
    """What running raises."""


@dataclass(frozen=True)
class Submit:
    """An input comes: what is made of it, and what else happens while it is prepared and runs."""

    lane: Lane
    made: str
    patience: int | None
    meanwhile: tuple[object, ...]
    run_fails: bool
    length: int


#: What else happens: a step is a turn that another thread takes and ends meanwhile.
plain = st.sampled_from(["step", "step", "cancel", "advance", "close"])


def submits(inner: st.SearchStrategy[object]) -> st.SearchStrategy[Submit]:
    return st.builds(
        Submit,
        lane=st.sampled_from(Lane),
        made=st.sampled_from(["row", "row", "row", "known", "error"]),
        patience=st.none() | st.none() | st.integers(1, 3),
        meanwhile=st.lists(inner, max_size=3).map(tuple),
        run_fails=st.sampled_from([False, False, False, True]),
        length=st.sampled_from([2, 2, 3]),
    )


actions = st.recursive(plain, submits, max_leaves=6)


@dataclass
class Input:
    """An input and what became of it."""

    number: int
    plan: Submit
    entry: PendingInput = field(init=False)
    prepared: int = 0
    ran: int = 0
    ends: int = 0


class Play:
    """A batcher whose threads are the calls of `step`, one inside another where turns overlap."""

    def __init__(self, *, streams: int, train_share: float, pairing: bool) -> None:
        self.clock = ManualClock(0.0)
        self.queue = LaneQueue(
            BatchSizes(3, 2), TrainBudget(share=train_share), streams=streams, pairing=pairing
        )
        self.batcher = Batcher(self.run, self.queue, Recorder(), clock=self.clock)
        self.inputs: list[Input] = []
        self.streams, self.running = streams, 0
        self.overlapping = 0
        self.closed = False

    def act(self, action: object) -> None:
        match action:
            case Submit() if len(self.inputs) < MAX_INPUTS:
                self.submit(action)
            case "step" if self.overlapping < MAX_OVERLAPPING:
                self.overlapping += 1
                self.batcher.step()
                self.overlapping -= 1
            case "cancel":
                for one in self.inputs[::2]:
                    one.entry.future.cancel()
            case "advance":
                self.clock.advance(1)
            case "close" if len(self.inputs) > 5:
                self.close()

    def submit(self, plan: Submit) -> None:
        one = Input(len(self.inputs), plan)
        deadline = None if plan.patience is None else self.clock() + plan.patience
        one.entry = PendingInput(
            prepare=lambda: self.prepare(one), lane=plan.lane, since=self.clock(), deadline=deadline
        )
        self.inputs.append(one)

        def ended(_: object) -> None:
            one.ends += 1

        one.entry.future.add_done_callback(ended)
        self.batcher.submit(one.entry)
        if self.closed:
            assert isinstance(one.entry.future.exception(0), Draining)

    def close(self) -> None:
        self.closed = True
        self.batcher.close()
        assert len(self.queue) == 0

    def prepare(self, one: Input) -> Row | RowFeatures:
        one.prepared += 1
        for action in one.plan.meanwhile:
            self.act(action)
        if one.plan.made == "error":
            raise UnreadableError
        if one.plan.made == "known":
            return RowFeatures(views={"last": np.array([one.number, -1])})
        return np.full(one.plan.length, one.number, np.float32)

    def run(self, rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        members = [self.inputs[int(number)] for number in rows[:, 0]]
        assert {one.plan.length for one in members} == {rows.shape[1]}
        assert len({one.plan.lane for one in members}) == 1
        self.running += 1
        assert self.running <= self.streams
        for one in members:
            one.ran += 1
        for action in members[0].plan.meanwhile:
            self.act(action)
        self.running -= 1
        if any(one.plan.run_fails for one in members):
            raise RuntimeFault
        return {"last": rows[:, :2].astype(np.float32)}

    def check(self, one: Input) -> str:
        """Whether it ended once and as it must; gives how."""
        assert one.entry.future.done()
        assert one.ends == 1
        assert one.prepared <= 1
        assert one.ran <= one.prepared
        try:
            first, second = one.entry.future.result(0).views["last"].tolist()
        except CancelledError:
            # It left in time: a running input can no longer leave.
            assert one.ran == 0
            return "cancelled"
        except DeadlineExceeded:
            assert one.plan.patience is not None
            assert one.ran == 0
            return "expired"
        except UnreadableError:
            assert (one.plan.made, one.ran) == ("error", 0)
            return "unreadable"
        except RuntimeFault:
            assert one.ran == 1
            return "failed"
        except Draining:
            assert self.closed
            assert one.ran == 0
            return "drained"
        assert (first, second) == (one.number, -1 if one.plan.made == "known" else one.number)
        assert one.ran == (one.plan.made == "row")
        return "answered"


@given(
    script=st.lists(submits(actions) | actions, max_size=30),
    streams=st.integers(1, 2),
    train_share=st.sampled_from([0.0, 0.2, 0.6]),
    closes=st.booleans(),
    pairing=st.booleans(),
)
@settings(max_examples=300)
def test_every_input_ends_exactly_once_whatever_happens_meanwhile(
    script: list[object], streams: int, train_share: float, closes: bool, pairing: bool
) -> None:
    play = Play(streams=streams, train_share=train_share, pairing=pairing)
    for action in script:
        play.act(action)
    if closes:
        play.close()
    while play.batcher.step():
        pass
    for one in play.inputs:
        event(play.check(one))
    assert len(play.queue) == 0
