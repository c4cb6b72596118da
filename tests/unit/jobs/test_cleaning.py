"""Cleaning: in parts, and each step whatever becomes of the others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import pairwise

import pytest
from sqlalchemy import event, func, insert, select, update
from structlog.testing import capture_logs

from fakes import JobDriver, ManualClock, Publisher
from headstart_server.database.tables import job_events, jobs, versions
from headstart_server.errors import JobNotFound, StorageFull, StorageUnavailable
from headstart_server.jobs import cleaning
from headstart_server.jobs.job import JobState
from headstart_server.jobs.job_counts import JobCounts
from headstart_server.models import registry as registry_module
from postgres import on_both_databases

pytestmark = on_both_databases


def count(publisher: Publisher, table: object) -> int:
    with publisher.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.mark.usefixtures("address")
def test_a_step_that_fails_does_not_keep_the_others_from_being_done() -> None:
    done: list[str] = []

    def fails(error: Exception) -> None:
        raise error

    with capture_logs() as logs:
        cleaning.run_steps(
            {
                "away": lambda: fails(StorageUnavailable("The bucket does not answer.")),
                "full": lambda: fails(StorageFull()),
                "broken": lambda: fails(RuntimeError("no")),
                "none": None,
                "last": lambda: done.append("last") or 3,
            }
        )
    assert done == ["last"]
    assert [(entry["event"], entry["step"]) for entry in logs] == [
        ("cleanup_postponed", "away"),
        ("cleanup_postponed", "full"),
        ("cleanup_failed", "broken"),
        ("cleanup_finished", "last"),
    ]


def test_old_jobs_go_in_parts_with_all_that_is_theirs(
    driver: JobDriver, publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "_AT_ONCE", 2)
    for place in range(5):
        driver.submit(f"job-{place}")
        driver.job_store.queue.cancel(f"job-{place}")
    clock.advance(100)
    driver.submit("new")
    assert driver.job_store.cleaner.forget(50) == 5
    assert count(publisher, jobs) == count(publisher, job_events) == 1


def test_old_jobs_with_many_events_go_in_short_transactions(
    driver: JobDriver, publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "EVENTS_AT_ONCE", 10)
    for place in range(20):
        driver.submit(f"job-{place}")
        driver.job_store.queue.cancel(f"job-{place}")
        add_events(publisher, f"job-{place}", (25, 40, 4)[place % 3])
    left = [count(publisher, job_events)]
    clock.advance(100)
    with removals(publisher, left):
        driver.job_store.queue.delete("job-0")
        assert driver.job_store.cleaner.forget(50) == 19
    assert count(publisher, jobs) == left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) == 10


def test_a_job_whose_events_are_being_removed_still_shows_its_end(
    driver: JobDriver, publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "EVENTS_AT_ONCE", 10)
    driver.submit("a")
    driver.job_store.queue.cancel("a")
    add_events(publisher, "a", 25)
    clock.advance(100)
    seen: list[int] = []

    def look(*_: object) -> None:
        with suppress(JobNotFound):
            events = driver.job_store.reader.events("a", 0)
            seen.append(len(events))
            assert events[-1].state is JobState.CANCELLED

    with after_commits(publisher, look):
        driver.job_store.cleaner.forget(50)
    assert seen == [15, 5]


def add_events(publisher: Publisher, job_id: str, number: int) -> None:
    """Give an ended job more events, up to a number of them."""
    with publisher.database.write("test") as connection:
        query = select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.seq.desc())
        last = connection.execute(query).mappings().fetchall()[0]
        more = [{**last, "seq": seq} for seq in range(last["seq"] + 1, number + 1)]
        connection.execute(insert(job_events), more)
        connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(seq=number))


def removals(publisher: Publisher, left: list[int]) -> AbstractContextManager[None]:
    """Append the number of events that are left to a list after each transaction."""
    return after_commits(publisher, lambda *_: left.append(count(publisher, job_events)))


@contextmanager
def after_commits(publisher: Publisher, look: Callable[..., None]) -> Iterator[None]:
    def executed(_: object, __: object, statement: str, *rest: object) -> None:
        if statement == "COMMIT":
            look()

    engine = publisher.database._backend.engine
    event.listen(engine, "after_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", executed)


def test_expired_versions_go_in_parts(
    publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_EXPIRED_AT_ONCE", 2)
    for place in range(5):
        publisher.publish(f"model-{place % 2}", expires=clock() + 10)
    publisher.publish()
    clock.advance(11)
    assert publisher.registry.delete_expired() == 5
    assert count(publisher, versions) == 1


def test_jobs_are_counted_without_counting_those_that_ended_long_ago(
    driver: JobDriver, publisher: Publisher
) -> None:
    counts = JobCounts(publisher.database)
    driver.submit("one")
    assert counts() == {state.value: float(state is JobState.QUEUED) for state in JobState}
    driver.succeed(driver.claim())
    driver.submit("two")
    driver.submit("three")
    driver.job_store.queue.cancel("two")
    for _ in range(2):
        found = {state: number for state, number in counts().items() if number}
        assert found == {"succeeded": 1.0, "cancelled": 1.0, "queued": 1.0}
        driver.clock.advance(1)
        counts.refresh()
