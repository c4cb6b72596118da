"""Following jobs: every event once, a sign of life in the quiet, and an end when the server stops."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from fakes import PATIENCE, JobDriver, ManualClock, Publisher
from headstart_server.api.grpc.job_watcher import JobWatcher
from headstart_server.database.tables import job_events, jobs
from headstart_server.errors import Draining, JobNotFound
from headstart_server.jobs.job import Job, JobEvent, JobState


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[JobDriver]:
    publisher = Publisher(tmp_path, ManualClock())
    yield JobDriver(publisher)
    publisher.close()


def watcher(driver: JobDriver, quiet_seconds: float = PATIENCE) -> JobWatcher:
    return JobWatcher(driver.job_store.reader, driver.notifier, quiet_seconds=quiet_seconds)


async def test_events_come_as_they_happen_and_end_with_the_job(driver: JobDriver) -> None:
    driver.submit("a")
    seen: list[tuple[int, JobState]] = []
    async with aclosing(watcher(driver).events("a", 0)) as events:
        async for event in events:
            assert event is not None
            seen.append((event.number, event.state))
            if event.state is JobState.QUEUED:
                job = await asyncio.to_thread(driver.claim)
            elif event.state is JobState.RUNNING and event.number == 2:
                await asyncio.to_thread(driver.succeed, job)
    assert seen == [(1, JobState.QUEUED), (2, JobState.RUNNING), (3, JobState.SUCCEEDED)]


def with_many_events(driver: JobDriver) -> None:
    """Give an ended job 5000 events."""
    driver.submit("a")
    driver.job_store.queue.cancel("a")
    with driver.publisher.database.write("test") as connection:
        end = connection.execute(select(job_events).where(job_events.c.seq == 2)).mappings().one()
        first = connection.execute(select(job_events).where(job_events.c.seq == 1)).mappings().one()
        connection.execute(delete(job_events).where(job_events.c.seq == 2))
        rows = [{**first, "seq": seq} for seq in range(2, 5000)]
        connection.execute(insert(job_events), [*rows, {**end, "seq": 5000}])
        connection.execute(update(jobs).values(seq=5000))


async def test_many_events_are_read_in_pages_and_each_once(
    driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_many_events(driver)
    read, pages = driver.job_store.reader.events, []

    def page(job_id: str, after: int) -> Sequence[JobEvent]:
        pages.append(found := read(job_id, after))
        return found

    monkeypatch.setattr(driver.job_store.reader, "events", page)
    # It does not wait between the pages: a wait would take as long as the test may.
    found = [event.number async for event in watcher(driver).events("a", 0) if event is not None]
    assert found == list(range(1, 5001))
    assert [len(each) for each in pages] == [1000] * 5


async def test_a_stop_ends_those_who_read_many_events(driver: JobDriver) -> None:
    with_many_events(driver)
    follows = watcher(driver)
    events = follows.events("a", 0)
    await anext(events)
    follows.drain()
    with pytest.raises(Draining):
        async for event in events:
            assert event is not None
            assert event.number <= 1000


async def test_who_resumes_gets_later_events_only(driver: JobDriver) -> None:
    driver.submit("a")
    driver.job_store.queue.cancel("a")
    assert [event.number async for event in watcher(driver).events("a", 1) if event] == [2]
    assert [event async for event in watcher(driver).events("a", 2)] == []


async def test_a_job_that_ends_between_the_readings_is_reported_as_ended(
    driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.submit("a")
    read = driver.job_store.reader.get

    def just_ended(job_id: str) -> Job:
        driver.job_store.queue.cancel(job_id)
        return read(job_id)

    monkeypatch.setattr(driver.job_store.reader, "get", just_ended)
    found = [event async for event in watcher(driver).events("a", 1) if event is not None]
    assert [event.state for event in found] == [JobState.CANCELLED]


async def test_in_the_quiet_there_are_signs_of_life_and_then_events_again(driver: JobDriver) -> None:
    driver.submit("a")
    async with aclosing(watcher(driver, quiet_seconds=0.01).events("a", 1)) as events:
        assert [await anext(events) for _ in range(3)] == [None] * 3
        await asyncio.to_thread(driver.job_store.queue.cancel, "a")
        found = [event async for event in events if event is not None]
    assert [event.state for event in found] == [JobState.CANCELLED]


async def test_a_stop_ends_those_who_wait(driver: JobDriver) -> None:
    driver.submit("a")
    follows = watcher(driver)
    events = follows.events("a", 0)
    await anext(events)
    waiting = asyncio.create_task(anext(events))
    ended = asyncio.create_task(follows.ended("a", PATIENCE))
    await asyncio.sleep(0)
    follows.drain()
    for task in (waiting, ended):
        with pytest.raises(Draining):
            await asyncio.wait_for(task, PATIENCE)


async def test_the_end_of_a_job_is_waited_for_no_longer_than_requested(driver: JobDriver) -> None:
    driver.submit("a")
    assert (await watcher(driver).ended("a", 0.01)).state is JobState.QUEUED
    waiting = asyncio.create_task(watcher(driver).ended("a", PATIENCE))
    await asyncio.to_thread(driver.job_store.queue.cancel, "a")
    assert (await asyncio.wait_for(waiting, PATIENCE)).state is JobState.CANCELLED
    with pytest.raises(JobNotFound):
        await watcher(driver).ended("unknown", 0)


async def test_all_jobs_are_followed_with_an_answer_at_once_and_signs_of_life(driver: JobDriver) -> None:
    driver.submit("a")
    steps = watcher(driver, quiet_seconds=0.01).all_events(
        driver.job_store.reader.position(), model="", scope=None
    )
    async with aclosing(steps):
        first = await anext(steps)
        assert [(event.job_id, event.model, event.number) for event in first.events] == [("a", "pets", 1)]
        assert (await anext(steps)).events == []
        await asyncio.to_thread(driver.submit, "b", model="cars")
        async for step in steps:
            if step.events:
                break
        assert [(event.job_id, event.model) for event in step.events] == [("b", "cars")]


async def test_a_stop_ends_those_who_follow_all_jobs(driver: JobDriver) -> None:
    follows = watcher(driver)
    steps = follows.all_events(driver.job_store.reader.position(), model="", scope=None)
    assert (await anext(steps)).events == []
    waiting = asyncio.create_task(anext(steps))
    await asyncio.sleep(0)
    follows.drain()
    with pytest.raises(Draining):
        await asyncio.wait_for(waiting, PATIENCE)
