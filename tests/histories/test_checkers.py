"""The checkers accept histories that keep the promises, and find each kind of broken promise."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories.checkers import FinalJob, violations
from histories.history import History, Operation, Outcome
from histories.linearizability import Read, Write, first_violation


def history(*operations: Operation) -> History:
    found = History(lambda: 0.0)
    for operation in operations:
        found.add(operation)
    return found


def op(kind: str, called: float, returned: float, **fields: Any) -> Operation:
    return Operation(
        **{"kind": kind, "key": "pets", "server": "a", "called": called, "returned": returned, **fields}
    )


def move(version: int, called: float, returned: float, **fields: Any) -> Operation:
    return op("SetAlias", called, returned, sent={"alias": "stable", "versions": [version]}, **fields)


def read(version: int | None, called: float, returned: float, **fields: Any) -> Operation:
    return op("ReadAlias", called, returned, sent={"alias": "stable"}, result=version, **fields)


def found(*operations: Operation, **final: FinalJob) -> list[str]:
    return list(violations(history(*operations), final))


def test_a_read_on_another_server_may_be_one_second_old() -> None:
    before, after = move(1, 0, 0.1), move(2, 5, 5.1)

    assert found(before, after, read(1, 6.0, 6.05, server="b")) == []
    assert "not linearizable" in found(before, after, read(1, 6.2, 6.25, server="b"))[0]


def test_a_server_knows_at_once_what_it_acknowledged() -> None:
    assert "not linearizable" in found(move(1, 0, 0.1), move(2, 5, 5.1), read(1, 5.2, 5.3))[0]


def test_a_server_that_acknowledges_a_change_knows_what_others_had_changed_when_that_call_began() -> None:
    other = op("SetAlias", 5.0, 5.3, sent={"alias": "beta", "versions": [1]}, server="b")

    assert found(move(1, 0, 0.1), move(2, 5.05, 5.2), other, read(1, 5.4, 5.45, server="b")) == []
    assert found(move(1, 0, 0.1), move(2, 4.5, 4.9), other, read(1, 5.4, 5.45, server="b")) != []


def test_of_two_moves_at_the_same_time_a_server_may_know_either_but_not_what_was_before() -> None:
    first, others = move(2, 5, 5.3), move(3, 5.1, 5.2, server="b")

    assert found(move(1, 0, 0.1), first, others, read(2, 5.4, 5.45)) == []
    assert found(move(1, 0, 0.1), first, others, read(3, 5.4, 5.45)) == []
    assert "not linearizable" in found(move(1, 0, 0.1), first, others, read(1, 5.4, 5.45))[0]


def test_a_disturbed_server_has_its_second_afterwards() -> None:
    recorded = history(move(1, 0, 0.1), move(2, 5, 5.1), read(1, 9.5, 9.6, server="b"))
    times = iter([5.0, 9.0])
    recorded.now = lambda: next(times)
    with recorded.disturbance("b"):
        pass

    assert list(violations(recorded, {})) == []
    recorded.add(read(1, 10.2, 10.3, server="b"))
    assert "not linearizable" in next(violations(recorded, {}))


def test_a_value_from_the_future_is_found() -> None:
    assert "not linearizable" in found(move(1, 0, 0.1), read(2, 1, 1.1), move(2, 5, 5.1))[0]


def test_a_move_of_unknown_outcome_explains_both_values() -> None:
    unknown = move(2, 5, 6, outcome=Outcome.UNKNOWN)

    assert found(move(1, 0, 0.1), unknown, read(1, 9, 9.1)) == []
    assert found(move(1, 0, 0.1), unknown, read(2, 9, 9.1)) == []
    assert found(move(1, 0, 0.1), unknown, read(2, 9, 9.1), read(1, 11, 11.1)) != []


def test_every_version_of_a_traffic_split_may_answer() -> None:
    split = op("SetAlias", 0, 0.1, sent={"alias": "stable", "versions": [1, 2]})

    assert found(split, read(1, 2, 2.1), read(2, 3, 3.1), read(1, 4, 4.1)) == []
    assert found(split, read(3, 2, 2.1)) != []


def test_an_answer_from_a_deleted_version_is_found() -> None:
    deleted = op("DeleteVersion", 1, 1.1, sent={"version": 3})

    assert found(deleted, op("Predict", 1.05, 1.2, result=3)) == []
    assert "deleted" in found(deleted, op("Predict", 1.2, 1.3, result=3))[0]
    assert found(deleted, op("Predict", 2.0, 2.1, result=3, server="b")) == []
    assert "deleted" in found(deleted, op("Predict", 2.2, 2.3, result=3, server="b"))[0]


ENDED = FinalJob(state="succeeded", versions=[1], events=[(1, "queued"), (2, "running"), (3, "succeeded")])
CANCELLED = FinalJob(state="cancelled", versions=[], events=[(1, "queued"), (2, "cancelled")])


def submitted(job_id: str, request_id: str = "r") -> Operation:
    return op("FineTune", 0, 0.1, sent={"request_id": request_id}, result=job_id)


@pytest.mark.parametrize(
    ("operations", "final", "wrong"),
    [
        ([submitted("lost")], {}, "is lost"),
        ([submitted("j"), submitted("k")], {"j": ENDED, "k": ENDED}, "request r made jobs j, k"),
        ([], {"j": FinalJob(state="running", versions=[], events=[])}, "never ended"),
        ([], {"j": FinalJob(state="succeeded", versions=[1, 2], events=[])}, "has 2 versions"),
        ([], {"j": FinalJob(state="cancelled", versions=[1], events=[])}, "has 1 versions"),
        ([op("Status", 1, 2, key="j", result=("failed", 0))], {"j": ENDED}, "it ended as succeeded"),
        ([op("Status", 1, 2, key="j", result=("succeeded", 7))], {"j": ENDED}, "reported version 7"),
        (
            [
                op("Status", 1, 2, key="j", result=("succeeded", 1)),
                op("Status", 4, 5, key="j", result=("running", 0), server="b"),
            ],
            {"j": ENDED},
            "after a had reported its end",
        ),
        (
            [],
            {"j": FinalJob(state="succeeded", versions=[1], events=[(1, "queued"), (3, "succeeded")])},
            "gaps",
        ),
        (
            [],
            {"j": FinalJob(state="failed", versions=[], events=[(1, "succeeded"), (2, "failed")])},
            "ended more than once",
        ),
        (
            [op("Watch", 0, 9, key="j", result=[(1, "queued"), (3, "succeeded")])],
            {"j": ENDED},
            "a watch of job j",
        ),
        ([op("Cancel", 0, 1, key="j", result="running")], {"j": ENDED}, "was cancelled"),
    ],
)
def test_each_kind_of_broken_promise_is_found(
    operations: list[Operation], final: dict[str, FinalJob], wrong: str
) -> None:
    assert wrong in found(*operations, **final)[0]


def test_a_history_that_keeps_the_promises_has_no_violation() -> None:
    kept = [
        submitted("j"),
        submitted("j"),
        submitted("k", "other"),
        op("Cancel", 0, 1, key="k", result="cancelled"),
        op("Cancel", 8, 9, key="j", result="succeeded"),
        op("Status", 1, 2, key="j", result=("running", 0)),
        op("Status", 4, 5, key="j", result=("succeeded", 1)),
        op("Watch", 0, 9, key="j", result=list(ENDED.events)),
        op("Cancel", 0, 1, key="j", outcome=Outcome.FAILED),
    ]

    assert found(*kept, j=ENDED, k=CANCELLED) == []


def runs(seed: int) -> Iterator[Write | Read]:
    """Yield operations on a real register, each at a moment within its call."""
    chance = random.Random(seed)
    state: frozenset[int] = frozenset()
    moment = 0.0
    for number in range(40):
        moment += chance.random()
        start, end = moment - 2 * chance.random(), moment + 2 * chance.random()
        if chance.random() < 0.4:
            is_certain = chance.random() < 0.8
            written = frozenset({number, *chance.choices(range(5), k=chance.randrange(2))})
            if is_certain or chance.random() < 0.5:
                state = written
            yield Write(state=written, start=start, end=end, is_certain=is_certain)
        else:
            value = chance.choice(sorted(state)) if state else None
            yield Read(value=value, start=start, end=end)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_every_history_of_a_real_register_is_linearizable(seed: int) -> None:
    assert first_violation(runs(seed)) is None


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_a_read_of_a_value_that_was_overwritten_before_is_found(seed: int) -> None:
    operations = list(runs(seed))
    late = max(operation.end for operation in operations) + 1
    overwritten = Write(state=frozenset({100}), start=late, end=late + 1)
    last = Write(state=frozenset({101}), start=late + 2, end=late + 3)

    assert (
        first_violation([*operations, overwritten, last, Read(value=101, start=late + 4, end=late + 5)])
        is None
    )
    assert (
        first_violation([*operations, overwritten, last, Read(value=100, start=late + 4, end=late + 5)])
        is not None
    )


def test_hundreds_of_calls_of_unknown_outcome_take_no_time() -> None:
    chance = random.Random(1)
    unknown = [
        Write(state=frozenset({place % 3}), start=place / 10, end=60 + place / 10, is_certain=False)
        for place in range(600)
    ]
    reads = [
        Read(value=chance.choice((0, 0, 0, 1)), start=20 + place / 10, end=21.3 + place / 10)
        for place in range(300)
    ]

    assert first_violation([*unknown, *reads]) is None
    assert first_violation([*unknown, *reads, Read(value=9, start=30, end=31)]) is not None
