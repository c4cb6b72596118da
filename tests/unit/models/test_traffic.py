"""Traffic is counted by each replica, written in batches, and summed over replicas and buckets."""

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select

from changed_rows import changed_rows
from fakes import PATIENCE, ManualClock, Publisher
from headstart_server.database.tables import traffic as table
from headstart_server.errors import DatabaseUnavailable, ModelNotFound
from headstart_server.models import traffic
from headstart_server.models.traffic import BUCKET_SECONDS, KEPT_SECONDS, Counts, Traffic
from postgres import on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_250.0)


@pytest.fixture
def publisher(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, clock, address=address)
    publisher.publish("pets")
    yield publisher
    publisher.close()


def row_count(publisher: Publisher) -> int:
    with publisher.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_requests_over_time_have_no_gaps(publisher: Publisher, clock: ManualClock) -> None:
    counted = Traffic(publisher.database, "one")
    for number in (1, 2):
        counted.answered("pets", number, inputs=1, unknowns=0, seconds=0.01)
    counted.write()
    clock.advance(3 * BUCKET_SECONDS)
    counted.failed("pets", 1)
    counted.write()
    window = publisher.registry.reader.traffic_window("pets", 4 * BUCKET_SECONDS)
    assert [each.requests for each in window.intervals] == [0, 2, 0, 0, 1]
    assert [each.errors for each in window.intervals] == [0, 0, 0, 0, 1]
    assert window.intervals[0].start == window.start
    assert [
        each.requests
        for each in publisher.registry.reader.traffic_window("pets", 4 * BUCKET_SECONDS, number=2).intervals
    ][1] == 1


@pytest.mark.parametrize("seconds", [1.0, 3600.0, 86_400.0, float(KEPT_SECONDS)])
def test_a_window_has_few_intervals_that_cover_it(publisher: Publisher, seconds: float) -> None:
    counted = Traffic(publisher.database, "one")
    counted.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
    counted.write()
    window = publisher.registry.reader.traffic_window("pets", seconds)
    starts = [each.start for each in window.intervals]
    assert 1 <= len(starts) <= 49
    lengths = (
        {after - before for before, after in pairwise([*starts, starts[-1] + starts[1] - starts[0]])}
        if len(starts) > 1
        else {BUCKET_SECONDS}
    )
    assert len(lengths) == 1
    assert 0 <= window.end - starts[-1] <= lengths.pop()
    assert sum(each.requests for each in window.intervals) == 1


def test_requests_of_all_replicas_are_summed_by_version(publisher: Publisher) -> None:
    one, two = Traffic(publisher.database, "one"), Traffic(publisher.database, "two")
    one.answered("pets", 1, inputs=3, unknowns=1, seconds=0.01)
    one.failed("pets", 1)
    one.answered("cars", 1, inputs=9, unknowns=0, seconds=0.01)
    one.write()
    one.answered("pets", 1, inputs=2, unknowns=0, seconds=0.02)
    two.answered("pets", 1, inputs=1, unknowns=1, seconds=0.04)
    two.answered("pets", 2, inputs=1, unknowns=0, seconds=0.04)
    one.write()
    two.write()
    two.write()
    versions = publisher.registry.reader.traffic_window("pets", 3600.0).versions
    assert set(versions) == {1, 2}
    counts = versions[1]
    assert (counts.requests, counts.errors, counts.inputs, counts.unknowns) == (4, 1, 6, 2)
    assert sum(counts.latencies.values()) == 3
    assert set(publisher.registry.reader.traffic_window("pets", 3600.0, number=2).versions) == {2}
    assert row_count(publisher) == 4
    with pytest.raises(ModelNotFound):
        publisher.registry.reader.traffic_window("cars", 3600.0)


def test_a_window_has_the_buckets_that_it_touches(publisher: Publisher, clock: ManualClock) -> None:
    replica = Traffic(publisher.database, "one")
    for _ in range(3):
        replica.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
        replica.write()
        clock.advance(BUCKET_SECONDS)
    assert row_count(publisher) == 3
    window = publisher.registry.reader.traffic_window("pets", 2 * BUCKET_SECONDS)
    assert window.versions[1].requests == 2
    assert (window.start, window.end) == (clock() - clock() % BUCKET_SECONDS - 2 * BUCKET_SECONDS, clock())
    assert publisher.registry.reader.traffic_window("pets", 1.0).versions == {}
    clock.advance(KEPT_SECONDS - 2 * BUCKET_SECONDS)
    assert replica.clean() == 2
    assert replica.clean() == 0
    assert publisher.registry.reader.traffic_window("pets", KEPT_SECONDS).versions[1].requests == 1


def test_a_cleaning_removes_many_expired_rows_bucket_by_bucket(
    publisher: Publisher, clock: ManualClock
) -> None:
    replica = Traffic(publisher.database, "one")
    for _ in range(5):
        for number in (1, 2):
            replica.answered("pets", number, inputs=1, unknowns=0, seconds=0.01)
        replica.write()
        clock.advance(BUCKET_SECONDS)
    clock.advance(KEPT_SECONDS)
    with changed_rows("DELETE") as changed:
        assert replica.clean() == 10
    assert changed == [2] * 5


def test_a_write_that_fails_or_whose_commit_is_in_doubt_counts_once(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Traffic(publisher.database, "one")
    replica.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
    replica.write()
    replica.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
    write = publisher.database.write

    class Lost:
        """A transaction that is committed, and whose commit is not answered."""

        def __init__(self, name: str) -> None:
            self.inner = write(name)

        def __enter__(self) -> object:
            return self.inner.__enter__()

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)
            raise DatabaseUnavailable("The answer was lost.")

    with monkeypatch.context() as patched:
        patched.setattr(publisher.database, "write", Lost)
        with pytest.raises(DatabaseUnavailable):
            replica.write()
    replica.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
    replica.write()
    assert publisher.registry.reader.traffic_window("pets", 60.0).versions[1].requests == 3


def test_no_request_is_lost_between_threads(publisher: Publisher) -> None:
    replica = Traffic(publisher.database, "one")
    over = threading.Event()

    def count() -> None:
        for _ in range(500):
            replica.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)

    def write() -> None:
        while not over.is_set():
            replica.write()

    writers = [threading.Thread(target=write) for _ in range(2)]
    counters = [threading.Thread(target=count) for _ in range(4)]
    for thread in (*writers, *counters):
        thread.start()
    for thread in counters:
        thread.join(PATIENCE)
    over.set()
    for thread in writers:
        thread.join(PATIENCE)
    replica.write()
    assert publisher.registry.reader.traffic_window("pets", 60.0).versions[1].requests == 2000
    assert row_count(publisher) <= 2


def test_versions_of_several_writes_count_once_for_the_limit(publisher: Publisher) -> None:
    counted = Traffic(publisher.database, "one")
    for count in (120, 140, 201):
        for number in range(count):
            counted.answered("pets", number, inputs=1, unknowns=0, seconds=0.01)
        counted.write()
    found = publisher.registry.reader.traffic_window("pets", BUCKET_SECONDS).versions
    # Version 200 is one too many.
    assert sorted(found) == list(range(200))
    assert sum(each.requests for each in found.values()) == 120 + 140 + 200


def test_only_so_many_versions_are_counted_in_a_bucket(
    publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MAX_VERSIONS", 3)
    replica = Traffic(publisher.database, "one")
    for number in range(1, 6):
        replica.answered("pets", number, inputs=1, unknowns=0, seconds=0.01)
    replica.write()
    for number in range(4, 9):
        replica.answered("pets", number, inputs=1, unknowns=0, seconds=0.01)
    replica.write()
    assert row_count(publisher) == 3
    clock.advance(BUCKET_SECONDS)
    replica.answered("pets", 9, inputs=1, unknowns=0, seconds=0.01)
    replica.write()
    assert set(publisher.registry.reader.traffic_window("pets", 3600.0).versions) == {1, 2, 3, 9}


def test_drift_is_averaged_over_replicas_by_their_samples(publisher: Publisher) -> None:
    one, two = Traffic(publisher.database, "one"), Traffic(publisher.database, "two")
    one.drifted("pets", 1, 10, {})
    one.drifted("pets", 1, 20, {"feature_drift": 1.0})
    two.drifted("pets", 1, 10, {"feature_drift": 5.0, "confidence_drift": -0.1})
    one.write()
    two.write()
    counts = publisher.registry.reader.traffic_window("pets", 60.0).versions[1]
    assert counts.samples == 40
    assert counts.drift == {"feature_drift": pytest.approx(2.0), "confidence_drift": pytest.approx(-0.1)}


def test_quantiles_are_within_a_tenth(publisher: Publisher) -> None:
    replica = Traffic(publisher.database, "one")
    seconds = [0.001 * place for place in range(1, 1001)]
    for each in seconds:
        replica.answered("pets", 1, inputs=1, unknowns=0, seconds=each)
    replica.write()
    counts = publisher.registry.reader.traffic_window("pets", 60.0).versions[1]
    for quantile in (0.5, 0.9, 0.99):
        assert counts.latency(quantile) == pytest.approx(quantile, rel=0.1)
    assert Counts().latency(0.5) is None
    for extreme in (0.0, 1e-9, 1e9):
        replica.answered("pets", 2, inputs=1, unknowns=0, seconds=extreme)
    replica.write()
    assert sum(publisher.registry.reader.traffic_window("pets", 60.0).versions[2].latencies.values()) == 3
