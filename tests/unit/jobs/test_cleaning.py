"""Cleaning: in parts, and each step whatever becomes of the others."""

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from fakes import JobDriver, ManualClock, Publisher
from headstart_server.database.tables import job_events, jobs, versions
from headstart_server.errors import StorageFull, StorageUnavailable
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
