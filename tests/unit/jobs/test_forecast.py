"""When jobs are likely to start and end; and silence where nothing is known."""

from types import SimpleNamespace
from typing import Any

import pytest

from fakes import LEASE, JobDriver, ManualClock, Publisher
from headstart_server.errors import JobQueueFull
from headstart_server.jobs.forecast import Rates, Times, schedule
from headstart_server.jobs.job import Findings, JobStep, Progress
from headstart_server.jobs.stored import QueueLimits
from headstart_server.learning.heads.recipe import Logistic
from postgres import on_both_databases

NOW = 1000.0
RATES = Rates(example_seconds={"fake": 0.5}, solve_seconds={("fake", "auto"): 1.0})


def row(job_id: str, state: str, examples: int = 8, backbone: str = "fake", **fields: Any) -> Any:
    spec = {"backbone": backbone, "recipe": {"auto": {}}}
    payload = {"spec": spec, "example_count": examples}
    return SimpleNamespace(
        **{"job_id": job_id, "state": state, "payload": payload, "checkpoint": {}, "started": NOW, **fields}
    )


def progress(fraction: float) -> dict[str, Any]:
    return {"progress": {"fraction": fraction}}


def test_jobs_pass_through_the_slots_in_their_order() -> None:
    queue = [row("a", "queued"), row("b", "queued", examples=18), row("c", "queued"), row("d", "queued")]
    times = schedule(queue, RATES, slots=2, now=NOW)
    assert times == {
        "a": Times(start=NOW, finish=NOW + 5),
        "b": Times(start=NOW, finish=NOW + 10),
        "c": Times(start=NOW + 5, finish=NOW + 10),
        "d": Times(start=NOW + 10, finish=NOW + 15),
    }


def test_a_running_job_ends_after_the_rest_of_it() -> None:
    times = schedule(
        [row("a", "running", checkpoint=progress(0.8)), row("b", "queued")], RATES, slots=1, now=NOW
    )
    assert times["a"] == Times(finish=pytest.approx(NOW + 1))
    assert times["b"].start == pytest.approx(NOW + 1)


def test_a_running_job_of_an_unknown_kind_goes_by_its_own_pace_once_it_has_one() -> None:
    fields = {"backbone": "new", "started": NOW - 30}
    begun = row("a", "running", checkpoint=progress(0.05), **fields)
    half_way = row("a", "running", checkpoint=progress(0.5), **fields)
    assert schedule([begun], RATES, slots=1, now=NOW)["a"] == Times()
    assert schedule([half_way], RATES, slots=1, now=NOW)["a"] == Times(finish=NOW + 30)


def test_nothing_is_said_of_what_waits_behind_the_unknown() -> None:
    queue = [row("a", "queued", backbone="new"), row("b", "queued")]
    times = schedule(queue, RATES, slots=1, now=NOW)
    assert times == {"a": Times(start=NOW), "b": Times()}
    concurrent = schedule(queue, RATES, slots=2, now=NOW)
    assert concurrent["b"] == Times(start=NOW, finish=NOW + 5)


def test_slots_of_surplus_running_jobs_are_not_reused() -> None:
    # A replica has just gone, and its jobs run to their lease's end.
    running = [row(job_id, "running", checkpoint=progress(0.0)) for job_id in "abc"]
    times = schedule([*running, row("d", "queued")], RATES, slots=1, now=NOW)
    assert times["d"].start == NOW + 5


def finish(driver: JobDriver, job_id: str, seconds: float, solve: float = 1.0, **spec: Any) -> None:
    """A job of nine examples that has succeeded."""
    job = driver.running(job_id, **spec)
    findings = Findings(step_seconds={"features": seconds, "fit": solve, "backbone": 99.0})
    driver.job_store.runs.report(job, Progress(step=JobStep.FIT, fraction=0.9), findings)
    driver.succeed(job, findings=findings)


@on_both_databases
def test_the_forecast_follows_the_durations_of_jobs(driver: JobDriver, clock: ManualClock) -> None:
    driver.submit("first")
    assert driver.restarted().forecast.of(driver.job_store.reader.get("first")) == Times(start=clock())
    driver.job_store.queue.cancel("first")
    finish(driver, "a", 6.0)
    finish(driver, "b", 12.0)
    driver.submit("c")
    driver.submit("d")
    forecast = driver.restarted().forecast
    assert forecast.of(driver.job_store.reader.get("c")) == Times(
        start=clock(), finish=pytest.approx(clock() + 10)
    )
    assert forecast.of(driver.job_store.reader.get("d")).finish == pytest.approx(clock() + 20)
    assert forecast.of(driver.job_store.reader.get("a")) == Times()
    driver.submit("other-recipe", recipe=Logistic())
    assert driver.restarted().forecast.of(driver.job_store.reader.get("other-recipe")).finish is None


@on_both_databases
def test_a_full_queue_says_when_its_next_job_is_likely_to_start(
    publisher: Publisher, clock: ManualClock
) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=1))
    finish(driver, "a", 30.0)
    driver.running("b")
    driver.submit("c")
    driver.job_store = driver.restarted()
    with pytest.raises(JobQueueFull, match="Try again in 31 s") as caught:
        driver.submit()
    assert caught.value.retry_after == 31.0


def test_a_full_queue_behind_a_job_of_unknown_length_says_a_moment(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=1))
    driver.running("a")
    driver.submit("b")
    with pytest.raises(JobQueueFull, match="Try again in 5 s"):
        driver.submit()


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_the_slots_of_all_living_replicas_count(driver: JobDriver, clock: ManualClock) -> None:
    finish(driver, "a", 8.0)
    for job_id in "bc":
        driver.submit(job_id)
    other = driver.restarted()
    driver.job_store.queue.renew([])
    other.queue.renew([])
    assert driver.restarted().forecast.of(driver.job_store.reader.get("c")).start == clock()
    other.queue.leave()
    assert driver.restarted().forecast.of(driver.job_store.reader.get("c")).start == pytest.approx(
        clock() + 9
    )
    other.queue.renew([])
    clock.advance(LEASE.seconds + 1)
    assert driver.restarted().forecast.of(driver.job_store.reader.get("c")).start == pytest.approx(
        clock() + 9
    )


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_the_slots_of_a_replica_with_rare_heartbeats_count(driver: JobDriver, clock: ManualClock) -> None:
    finish(driver, "a", 8.0)
    for job_id in "bc":
        driver.submit(job_id)
    mine, other = (driver.restarted(lease_seconds=600.0) for _ in range(2))
    other.queue.renew([])
    clock.advance(50.0)
    mine.queue.renew([])
    assert mine.forecast.of(driver.job_store.reader.get("c")).start == clock()
    clock.advance(551.0)
    mine.queue.renew([])
    # Only this replica is left, so "c" waits for "b".
    alone = driver.restarted(lease_seconds=600.0).forecast
    assert alone.of(driver.job_store.reader.get("c")).start == pytest.approx(clock() + 9)
