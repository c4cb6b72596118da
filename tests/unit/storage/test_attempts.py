"""Attempts on many items: one that fails stops no others, and an outage ends the round soon."""

import pytest

from fakes import ManualClock
from headstart_server.errors import DatabaseUnavailable, LocalStorageUnavailable
from headstart_server.storage.attempts import MAX_FAILING_SECONDS, Attempts, raise_first


class Items:
    """Items of a storage, of which some cannot be read."""

    def __init__(self, clock: ManualClock, bad: set[str], seconds: float = 0.0) -> None:
        self._clock = clock
        self._bad = bad
        self._seconds = seconds
        self.attempted: list[str] = []

    def read(self, name: str) -> None:
        self.attempted.append(name)
        if name in self._bad:
            self._clock.advance(self._seconds)
            raise LocalStorageUnavailable(f"Cannot read {name}.")


def named(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def test_items_that_fail_stop_no_others(clock: ManualClock) -> None:
    items = Items(clock, {"a", "c"})
    errors = Attempts(clock).run(named("a", "b", "c", "d"), items.read)
    assert items.attempted == ["a", "b", "c", "d"]
    assert list(errors) == ["a", "c"]
    with pytest.raises(LocalStorageUnavailable, match="Cannot read a"):
        raise_first(errors)
    raise_first({})


def test_a_round_ends_after_failures_that_took_long(clock: ManualClock) -> None:
    names = [f"{number:04}" for number in range(1000)]
    items = Items(clock, set(names), seconds=MAX_FAILING_SECONDS / 2)
    errors = Attempts(clock).run(named(*names), items.read)
    assert items.attempted == names[:2]
    # The others count as failed: nothing is known of them.
    assert list(errors) == names


def test_items_that_failed_slowly_come_last_in_the_next_round(clock: ManualClock) -> None:
    items = Items(clock, {"a", "b"}, seconds=MAX_FAILING_SECONDS)
    attempts = Attempts(clock)
    for _ in range(3):
        attempts.run(named("a", "b", "c"), items.read)
    assert items.attempted == ["a", "b", "c", "a"]


def test_a_database_that_does_not_answer_ends_the_round(clock: ManualClock) -> None:
    attempted: list[str] = []

    def read(name: str) -> None:
        attempted.append(name)
        raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        Attempts(clock).run(named("a", "b"), read)
    assert attempted == ["a"]
