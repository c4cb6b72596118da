"""Leases: only a silent replica loses its jobs."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from fakes import LEASE, JobDriver, ManualClock, Publisher
from headstart_server.database.tables import jobs
from headstart_server.errors import JobQueueFull
from headstart_server.jobs import claiming
from headstart_server.jobs.job import Findings, Job, JobError, JobState
from headstart_server.jobs.recovery import MAX_CRASHES
from headstart_server.jobs.running import JobLostError
from headstart_server.jobs.stored import QueueLimits
from headstart_server.learning.heads.recipe import Partial
from postgres import on_both_databases

pytestmark = on_both_databases

LONG_AGO = LEASE.seconds + 0.001


def test_a_job_is_taken_over_when_its_lease_has_ended_and_not_before(
    driver: JobDriver, clock: ManualClock
) -> None:
    first = driver.running("a")
    other = driver.restarted()
    clock.advance(LEASE.seconds - 0.001)
    assert other.queue.claim() is None
    clock.advance(0.002)
    second = other.queue.claim()
    assert second is not None
    assert (second.job_id, second.attempt, second.crashes) == ("a", first.attempt + 1, 1)
    assert second.started == first.started
    with pytest.raises(JobLostError):
        driver.report(first)
    assert [event.state for event in driver.events("a")] == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.QUEUED,
        JobState.RUNNING,
    ]


def test_a_beat_keeps_a_job_and_says_which_are_lost_and_which_are_to_cancel(
    driver: JobDriver, clock: ManualClock
) -> None:
    kept, cancelled, lost, ended = (driver.running(job_id) for job_id in "abcd")
    driver.job_store.queue.cancel("b")
    driver.job_store.runs.release(lost)
    driver.job_store.runs.fail(ended, JobError(reason="INTERNAL", message=""), Findings())
    clock.advance(LEASE.seconds - 1)
    assert driver.job_store.queue.renew([kept, cancelled, lost, ended]) == {"a": False, "b": True}
    clock.advance(LEASE.seconds - 1)
    other = driver.restarted()
    claimed = other.queue.claim()
    assert claimed is not None
    assert claimed.job_id == "c"
    assert other.queue.claim() is None


def test_a_beat_of_an_attempt_that_is_over_renews_nothing(driver: JobDriver, clock: ManualClock) -> None:
    first = driver.running("a")
    clock.advance(LONG_AGO)
    second = driver.restarted().queue.claim()
    assert second is not None
    assert driver.job_store.queue.renew([first]) == {}
    # The same process may have it again, by another claim.
    driver.crash()
    third = driver.claim()
    assert driver.job_store.queue.renew([replace(third, attempt=third.attempt - 1)]) == {}
    assert driver.job_store.queue.renew([third]) == {"a": False}


def test_a_replica_that_died_before_the_clock_was_set_back_is_silent(
    driver: JobDriver, clock: ManualClock
) -> None:
    database, dead, alive = driver.publisher.database, "host/dead", "host/alive"

    def beat(owner: str) -> None:
        with database.write("jobs.heartbeat") as connection:
            claiming.show_presence(connection, owner, 1, clock(), LEASE.seconds)

    def is_silent(owner: str) -> bool:
        with database.read() as connection:
            return driver.job_store.queue.is_silent(connection, owner)

    beat(dead)
    beat(alive)
    # A lease may end a little later than one that is taken now.
    clock.advance(-LEASE.seconds)
    assert not is_silent(dead)
    clock.advance(-86_400.0)
    beat(alive)
    assert is_silent(dead)
    assert not is_silent(alive)


def test_leases_from_before_the_clock_was_set_back_end_after_a_lease(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.running("a")
    living = driver.running("b")
    other = driver.restarted()
    clock.advance(-86_400.0)
    assert other.queue.claim() is None
    clock.advance(LEASE.seconds - 1)
    assert driver.job_store.queue.renew([living]) == {"b": False}
    clock.advance(1.001)
    second = other.queue.claim()
    assert second is not None
    assert (second.job_id, second.attempt) == ("a", 2)
    assert other.queue.claim() is None


def test_living_replicas_lose_their_jobs_when_the_clock_is_set_forward_but_nothing_is_done_twice(
    driver: JobDriver, clock: ManualClock
) -> None:
    first = driver.running("a")
    other = driver.restarted()
    clock.advance(86_400.0)
    second = other.queue.claim()
    assert second is not None
    with pytest.raises(JobLostError):
        driver.succeed(first)
    assert driver.succeed(second) == 1


def test_no_job_is_taken_over_while_silence_has_no_meaning(driver: JobDriver, clock: ManualClock) -> None:
    driver.running("a")
    driver.submit("b")
    clock.advance(LONG_AGO)
    claimed = driver.restarted().queue.claim(may_take_over=False)
    assert claimed is not None
    assert claimed.job_id == "b"


def test_what_this_process_is_at_work_on_it_does_not_take_from_itself(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.running("a")
    clock.advance(LONG_AGO)
    assert driver.job_store.queue.claim({"a"}) is None


def test_a_claim_whose_answer_was_lost_is_claimed_again_and_is_no_crash(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.running("a")
    assert driver.job_store.queue.claim() is None
    clock.advance(LONG_AGO)
    job = driver.job_store.queue.claim(may_take_over=False)
    assert job is not None
    assert (job.attempt, job.crashes) == (2, 0)


def test_the_dead_go_first_then_priority_then_age(driver: JobDriver, clock: ManualClock) -> None:
    driver.running("dead", priority=-10)
    clock.advance(LONG_AGO)
    for job_id, priority in (("old", 0), ("low", -1), ("high", 5), ("young", 0)):
        driver.submit(job_id, priority=priority)
        clock.advance(1)
    other = driver.restarted()
    claimed = [
        other.queue.claim({"dead", "high", "old", "young", "low"}) or other.queue.claim() for _ in range(5)
    ]
    assert [job.job_id for job in claimed if job] == ["high", "old", "young", "low", "dead"]


def test_the_dead_are_taken_before_what_waits(driver: JobDriver, clock: ManualClock) -> None:
    driver.running("dead", priority=-10)
    clock.advance(LONG_AGO)
    driver.submit("high", priority=10)
    job = driver.restarted().queue.claim()
    assert job is not None
    assert job.job_id == "dead"


def test_the_position_in_the_queue_counts_priorities(driver: JobDriver) -> None:
    driver.submit("a")
    driver.submit("b", priority=1)
    assert [driver.job_store.reader.get(job_id).queue_position for job_id in "ab"] == [1, 0]


def test_a_job_that_ends_its_process_each_time_fails_and_lets_the_next_one_run(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.submit("a")
    clock.advance(1)
    driver.submit("b")
    for _ in range(MAX_CRASHES):
        assert driver.claim().job_id == "a"
        driver.crash()
    assert driver.claim().job_id == "b"
    job = driver.job_store.reader.get("a")
    assert (job.state, job.finished) == (JobState.FAILED, clock())
    assert job.error is not None
    assert job.error.reason == "CRASHED_REPEATEDLY"
    assert job.error.message.startswith("The server's process ended 3 times while it ran this job alone.")
    assert job.error.metadata == {"crashes": "3"}


def test_a_crash_of_a_process_with_several_jobs_is_nobodys_and_each_runs_alone_next(
    driver: JobDriver, clock: ManualClock
) -> None:
    for job_id in "abc":
        driver.submit(job_id)
        clock.advance(1)
    first, second = driver.claim(), driver.claim()
    assert not first.runs_alone
    clock.advance(LONG_AGO)
    other = driver.restarted()
    alone = other.queue.claim()
    assert alone is not None
    assert (alone.job_id, alone.crashes, alone.runs_alone) == ("a", 0, True)
    assert driver.job_store.reader.get("b").state is JobState.QUEUED
    # Next to it nothing starts here, and elsewhere only what shares its process with nothing either.
    assert other.queue.claim({"a"}) is None
    third = driver.restarted()
    also = third.queue.claim()
    assert also is not None
    assert (also.job_id, also.crashes, also.runs_alone) == ("b", 0, True)
    assert second.job_id == "b"
    shared = driver.restarted().queue.claim()
    assert shared is not None
    assert (shared.job_id, shared.runs_alone) == ("c", False)


def test_a_neighbor_whose_lease_ends_later_is_not_taken_for_the_only_job(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.running("a")
    clock.advance(LEASE.seconds / 2)
    driver.running("b")
    clock.advance(LEASE.seconds / 2 + 1)
    first = driver.restarted().queue.claim()
    assert first is not None
    assert (first.job_id, first.crashes) == ("a", 0)
    clock.advance(LEASE.seconds / 2)
    second = driver.restarted().queue.claim()
    assert second is not None
    assert (second.job_id, second.crashes, second.runs_alone) == ("b", 0, True)


def test_a_suspected_job_runs_before_others_and_waits_for_a_process_that_runs_nothing(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.running("a")
    clock.advance(LONG_AGO)
    other = driver.restarted()
    assert other.queue.claim({"z"}) is None
    assert driver.job_store.reader.get("a").state is JobState.QUEUED
    driver.submit("b", priority=10)
    # What starts now would keep the suspected job waiting.
    assert other.queue.claim({"z"}) is None
    job = other.queue.claim()
    assert job is not None
    assert (job.job_id, job.crashes) == ("a", 1)


def test_a_job_that_was_given_back_while_it_ran_alone_runs_alone_again(driver: JobDriver) -> None:
    driver.running("a")
    driver.crash()
    job = driver.claim()
    driver.job_store.runs.release(job)
    assert not driver.job_store.reader.get("a").runs_alone
    assert driver.claim().runs_alone


def test_being_given_back_is_no_crash(driver: JobDriver) -> None:
    driver.submit("a")
    for _ in range(2 * MAX_CRASHES):
        driver.job_store.runs.release(driver.claim())
    driver.claim()
    driver.crash()
    assert driver.claim().crashes == 1


def test_who_lost_its_job_to_a_failure_by_crashes_cannot_write_it(driver: JobDriver) -> None:
    driver.submit("a")
    claims: list[Job] = []
    for _ in range(MAX_CRASHES):
        claims.append(driver.claim())
        driver.crash()
    assert driver.job_store.queue.claim() is None
    with pytest.raises(JobLostError):
        driver.job_store.runs.fail(claims[-1], JobError(reason="INTERNAL", message=""), Findings())
    with pytest.raises(JobLostError):
        driver.succeed(claims[-1])


def test_jobs_of_a_headstart_that_knew_no_leases_are_taken_over(driver: JobDriver) -> None:
    driver.running("a")
    with driver.publisher.database.write() as connection:
        connection.execute(update(jobs).values(lease_until=None, owner="old/1"))
    assert driver.claim().attempt == 2


# Answers that were lost


def test_a_success_that_is_recorded_twice_counts_once(driver: JobDriver) -> None:
    job = driver.running("a", alias="stable")
    assert driver.succeed(job) == 1
    events = driver.events("a")
    assert driver.succeed(job) == 1
    assert driver.events("a") == events
    assert driver.publisher.registry.reader.model("pets").version_count == 1


def test_a_failure_that_is_recorded_twice_counts_once(driver: JobDriver) -> None:
    job, error = driver.running("a"), JobError(reason="INTERNAL", message="")
    driver.job_store.runs.fail(job, error, Findings())
    events = driver.events("a")
    driver.job_store.runs.fail(job, error, Findings())
    assert driver.events("a") == events


def test_where_a_fitted_head_lies_is_known_to_the_next_attempt(driver: JobDriver) -> None:
    job = driver.running("a")
    driver.report(job, staged="a.1.fit")
    driver.crash()
    assert driver.claim().staged == "a.1.fit"


# Limits


def test_no_more_jobs_run_than_may_over_all_replicas(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(running=2))
    first, _ = driver.running("a"), driver.running("b")
    driver.submit("c")
    assert driver.restarted().queue.claim() is None
    driver.succeed(first)
    assert driver.claim().job_id == "c"


def test_a_dead_job_is_taken_over_though_no_further_one_may_run(
    publisher: Publisher, clock: ManualClock
) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(running=1))
    driver.running("a")
    driver.submit("b")
    clock.advance(LONG_AGO)
    job = driver.restarted().queue.claim()
    assert job is not None
    assert job.job_id == "a"


def test_a_tenant_at_its_limit_lets_others_go_first(publisher: Publisher, clock: ManualClock) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(running_per_tenant=1))
    for job_id, tenant in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        driver.submit(job_id, tenant=tenant, priority=10 if tenant == "a" else 0)
        clock.advance(1)
    first = driver.claim()
    assert first.job_id == "a1"
    assert driver.claim().job_id == "b1"
    assert driver.job_store.queue.claim() is None
    driver.succeed(first)
    assert driver.claim().job_id == "a2"


def test_a_tenant_fills_its_part_of_the_queue_only(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=3, queued_per_tenant=2))
    driver.submit(tenant="a")
    driver.submit(tenant="a")
    with pytest.raises(JobQueueFull, match="The job queue of the tenant is full: 2 of at most 2 are queued"):
        driver.submit(tenant="a")
    driver.submit(tenant="b")
    with pytest.raises(JobQueueFull, match="The job queue is full: 3 of at most 3 are queued"):
        driver.submit(tenant="c")


def test_each_tenant_has_its_own_request_ids(driver: JobDriver) -> None:
    jobs_of = [driver.submit(request_id="r", tenant=tenant).job_id for tenant in ("a", "b", "a")]
    assert jobs_of == ["job-1", "job-2", "job-1"]


# Cleaning


def test_one_replica_at_a_time_cleans(driver: JobDriver, clock: ManualClock) -> None:
    other = driver.restarted()
    assert driver.job_store.cleaner.take_cleaning_turn("rows", 30)
    assert not other.cleaner.take_cleaning_turn("rows", 30)
    assert other.cleaner.take_cleaning_turn("files", 30)
    clock.advance(31)
    assert other.cleaner.take_cleaning_turn("rows", 30)
    assert not driver.job_store.cleaner.take_cleaning_turn("rows", 30)


def test_cleaning_goes_on_after_the_clock_was_ahead(driver: JobDriver, clock: ManualClock) -> None:
    clock.advance(86_400)
    assert driver.job_store.cleaner.take_cleaning_turn("rows", 30)
    clock.advance(-86_400)
    assert driver.job_store.cleaner.take_cleaning_turn("rows", 30)
    assert not driver.job_store.cleaner.take_cleaning_turn("rows", 30)


def test_a_replica_leaves_jobs_to_those_that_know_their_backbones(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.submit("a", backbone="leaves")
    driver.submit("b", backbone="features:7")
    driver.submit("c", backbone="auto")
    driver.submit("d", backbone="features")
    driver.submit("e", backbone="fake")
    without = driver.restarted(backbones=["fake", "other"])
    claimed = [without.queue.claim() for _ in range(4)]
    assert [job and job.job_id for job in claimed] == ["b", "c", "e", None]
    having = driver.restarted(backbones=["leaves"])
    first = having.queue.claim()
    assert first is not None
    assert first.job_id == "a"
    # A dead replica's job goes to another that knows its backbone; one that is to end needs none.
    clock.advance(LONG_AGO)
    driver.job_store.queue.cancel("a")
    while without.queue.claim() is not None:
        pass
    assert driver.job_store.reader.get("a").state is JobState.CANCELLED
    assert driver.job_store.reader.get("d").state is JobState.QUEUED


def test_a_replica_without_keras_leaves_jobs_that_train_networks_to_others(driver: JobDriver) -> None:
    driver.submit("a", recipe=Partial())
    driver.submit("b")
    slim = driver.restarted(trains_networks=False)
    claimed = [slim.queue.claim() for _ in range(2)]
    assert [job and job.job_id for job in claimed] == ["b", None]
    driver.job_store.queue.cancel("a")
    assert driver.job_store.reader.get("a").state is JobState.CANCELLED


def test_a_server_that_is_alone_claims_every_job(driver: JobDriver) -> None:
    driver.submit("a", backbone="leaves")
    assert driver.claim().job_id == "a"
