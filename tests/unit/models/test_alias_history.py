"""Each move of an alias is recorded with it: who, when, from which version and traffic to which."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from fakes import JobDriver, ManualClock, Publisher
from headstart_server.database.tables import alias_events
from headstart_server.errors import AliasNotFound, EtagMismatch, ModelNotFound
from headstart_server.models import alias_history
from headstart_server.models.alias_history import Cause, Mover
from headstart_server.models.version import TrafficSplit
from postgres import on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def publisher(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, clock, address=address)
    yield publisher
    publisher.close()


def moves(publisher: Publisher, alias: str = "") -> list[tuple[Any, ...]]:
    """Alias, cause, principal and versions of each move, the oldest first."""
    found = publisher.registry.reader.alias_events("pets", alias, limit=100)
    return [
        (each.alias, each.mover.cause, each.mover.principal, each.before, each.after)
        for each in reversed(found)
    ]


def test_moves_of_callers_are_recorded_with_versions_traffic_and_time(
    publisher: Publisher, clock: ManualClock
) -> None:
    for _ in range(3):
        publisher.publish()
    registry = publisher.registry
    registry.set_alias("pets", "stable", 1, principal="ann")
    clock.advance(10.0)
    split = [TrafficSplit(number=3, fraction=0.25)]
    registry.set_alias("pets", "stable", 2, shares=split, principal="bob")
    registry.set_alias("pets", "other", 1)
    # Nothing changes.
    registry.set_alias("pets", "stable", 2, shares=split, principal="eve")
    registry.delete_alias("pets", "stable", principal="ann")
    assert moves(publisher, "stable") == [
        ("stable", Cause.SET, "ann", None, 1),
        ("stable", Cause.SET, "bob", 1, 2),
        ("stable", Cause.SET, "ann", 2, None),
    ]
    assert moves(publisher)[2] == ("other", Cause.SET, "", None, 1)
    removed, moved, first = registry.reader.alias_events("pets", "stable", limit=9)
    assert (first.time, moved.time) == (clock() - 10, clock())
    assert (moved.traffic_before, moved.traffic_after) == ((), tuple(split))
    assert (removed.traffic_before, removed.traffic_after) == (tuple(split), ())
    assert registry.reader.alias_events("pets", before=moved.id, limit=9)[0].id == first.id


def test_a_move_that_fails_is_not_recorded(publisher: Publisher) -> None:
    publisher.publish(alias="stable")
    before = moves(publisher)
    with pytest.raises(EtagMismatch):
        publisher.registry.set_alias("pets", "stable", 1, etag="old")
    with pytest.raises(AliasNotFound):
        publisher.registry.delete_alias("pets", "missing")
    assert moves(publisher) == before == [("stable", Cause.PUBLISHED, "", None, 1)]


def test_deletions_and_expirations_are_recorded_and_a_deleted_model_has_no_history(
    publisher: Publisher, clock: ManualClock
) -> None:
    for _ in range(3):
        publisher.publish()
    registry = publisher.registry
    registry.set_alias("pets", "a", 1)
    registry.set_alias("pets", "b", 2, shares=[TrafficSplit(number=1, fraction=0.5)])
    registry.delete_version("pets", 1, force=True, principal="ann")
    assert moves(publisher)[-2:] == [("a", Cause.DELETED, "ann", 1, None), ("b", Cause.DELETED, "ann", 2, 2)]
    (last, *_) = registry.reader.alias_events("pets", "b", limit=9)
    assert (last.traffic_before, last.traffic_after) == ((TrafficSplit(number=1, fraction=0.5),), ())
    publisher.publish(alias="c", expires=clock() + 5)
    clock.advance(10.0)
    registry.delete_expired()
    assert moves(publisher, "c")[-1] == ("c", Cause.EXPIRED, "", 4, None)
    registry.delete_model("pets", force=True)
    with pytest.raises(ModelNotFound):
        registry.reader.alias_events("pets", limit=9)
    publisher.publish()
    assert moves(publisher) == []


def test_a_job_that_moves_an_alias_is_named(publisher: Publisher) -> None:
    driver = JobDriver(publisher)
    job = driver.running("j", alias="stable")
    driver.succeed(job)
    (event,) = publisher.registry.reader.alias_events("pets", limit=9)
    assert event.mover == Mover(cause=Cause.PUBLISHED, principal=job.principal, job_id="j")


def test_only_the_newest_moves_of_a_model_are_kept(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        publisher.publish()
    publisher.publish("cars", alias="stable")
    monkeypatch.setattr(alias_history, "_PRUNE", alias_history.pruning(3), raising=True)
    for place in range(10):
        publisher.registry.set_alias("pets", "stable", 1 + place % 2)
    assert [after for *_, after in moves(publisher)] == [2, 1, 2]
    with publisher.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(alias_events)).scalar_one() == 4
