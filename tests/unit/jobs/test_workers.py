"""Workers: every run ends in the job store, and no run ends a worker."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import pytest
import structlog

from fakes import LEASE, PATIENCE, JobDriver, ManualClock, Publisher, Recorder, with_parts
from headstart_server.errors import (
    ArtifactDamaged,
    DatabaseUnavailable,
    Draining,
    LocalStorageUnavailable,
    TooFewClasses,
)
from headstart_server.jobs.claiming import show_presence
from headstart_server.jobs.heartbeat import Heartbeat
from headstart_server.jobs.job import Findings, Job, JobError, JobState
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_runner import MISSING_TRIES, JobRunner
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.reservations import Reservations
from headstart_server.jobs.running import ExampleErasedError, JobCancelledError, JobLostError
from headstart_server.jobs.workers import WorkerPool

Checkpoint = Callable[[], None]


class FakeRun:
    """Runs the work of its factory, once for each attempt."""

    def __init__(self, job: Job, checkpoint: Checkpoint, work: Callable[[Job, Checkpoint], int]) -> None:
        self.findings = Findings(excluded_count=7)
        self._work = lambda: work(job, checkpoint)

    def execute(self) -> int:
        return self._work()


class Shop:
    """A pool of workers, with ways to wait for what it does."""

    def __init__(
        self,
        driver: JobDriver,
        job_store: JobStore | None = None,
        *,
        size: int = 1,
        clock: Callable[[], float] = time.monotonic,
        time_limit: float = float("inf"),
    ) -> None:
        self.driver = driver
        self.limited: list[str] = []
        self.seen = Recorder()
        self.ended: list[str] = []
        self.work: Callable[[Job, Checkpoint], int] = lambda job, _: driver.succeed(job)
        self.on_end: Callable[[str], None] = self.ended.append
        self._ended = threading.Condition()
        job_store = job_store or driver.job_store
        self.heartbeat = Heartbeat(job_store.queue, job_store.runs, LEASE, is_shared=False, clock=clock)
        self.reservations = Reservations(self.heartbeat, 100)
        self.pool = WorkerPool(
            job_store.queue,
            self.heartbeat,
            JobRunner(
                job_store.queue,
                job_store.runs,
                lambda job, checkpoint: FakeRun(job, checkpoint, self.work),
                self,
            ),
            self.on_end,
            size=size,
            clock=clock,
            time_limit=time_limit,
            reservations=self.reservations,
        )

    def job_limited(self, reason: str) -> None:
        self.limited.append(reason)

    def job_ended(self, outcome: str) -> None:
        with self._ended:
            self.seen.job_ended(outcome)
            self._ended.notify_all()

    def outcomes(self, count: int) -> list[str]:
        """How runs ended, once so many have."""
        with self._ended:
            assert self._ended.wait_for(lambda: len(self.seen.outcomes) >= count, PATIENCE)
        return self.seen.outcomes

    def submit(self, job_id: str = "") -> Job:
        job = self.driver.submit(job_id)
        self.pool.wake()
        return job

    def stop(self) -> None:
        self.pool.stop(PATIENCE)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def shop(driver: JobDriver) -> Iterator[Shop]:
    shop = Shop(driver)
    shop.pool.start()
    yield shop
    shop.stop()


def in_checkpoints(entered: threading.Event) -> Callable[[Job, Checkpoint], int]:
    """Work that goes on until a checkpoint stops it."""

    def work(job: Job, checkpoint: Checkpoint) -> int:
        entered.set()
        pause = threading.Event()
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            checkpoint()
            pause.wait(0.001)
        raise AssertionError("it was not stopped")

    return work


def test_a_run_that_ends_well_is_cleared_away(shop: Shop) -> None:
    shop.submit("a")
    assert shop.outcomes(1) == ["succeeded"]
    shop.stop()
    assert shop.ended == ["a"]
    assert shop.driver.job_store.reader.get("a").version == 1


def test_jobs_wait_for_a_free_worker_and_are_all_run(shop: Shop) -> None:
    for _ in range(5):
        shop.submit()
    assert shop.outcomes(5) == ["succeeded"] * 5
    assert shop.driver.job_store.reader.count()[JobState.SUCCEEDED] == 5


def test_several_workers_run_jobs_concurrently(driver: JobDriver) -> None:
    shop = Shop(driver, size=3)
    together = threading.Barrier(3)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        together.wait(PATIENCE)
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    for _ in range(3):
        shop.submit()
    assert shop.outcomes(3) == ["succeeded"] * 3
    shop.stop()


def test_a_job_that_cannot_succeed_fails_with_its_reason_and_findings(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        raise TooFewClasses("one class", metadata={"class": "cat"})

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["failed"]
    job = shop.driver.job_store.reader.get("a")
    assert job.error is not None
    assert (job.error.reason, job.error.message) == ("TOO_FEW_CLASSES", "one class")
    assert job.error.metadata == {"class": "cat"}
    assert job.findings.excluded_count == 7
    shop.stop()
    assert shop.ended == ["a"]


def test_a_server_error_has_the_id_of_its_log_entry_and_the_worker_goes_on(
    shop: Shop, logs: list[dict[str, object]]
) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        raise ZeroDivisionError("secret")

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["failed"]
    error = shop.driver.job_store.reader.get("a").error
    assert error is not None
    assert error.reason == "INTERNAL"
    assert "secret" not in error.message
    (logged,) = [event for event in logs if event["event"] == "job_failed"]
    assert error.message == f"A fault of the server; its log has id {logged['fault']}."
    shop.work = lambda job, _: shop.driver.succeed(job)
    shop.submit("b")
    assert shop.outcomes(2) == ["failed", "succeeded"]


def test_a_cancelled_run_ends_at_its_next_checkpoint(shop: Shop) -> None:
    entered = threading.Event()
    shop.work = in_checkpoints(entered)
    shop.submit("a")
    assert entered.wait(PATIENCE)
    shop.driver.job_store.queue.cancel("a")
    shop.heartbeat.cancel("a")
    assert shop.outcomes(1) == ["cancelled"]
    assert shop.driver.job_store.reader.get("a").state is JobState.CANCELLED
    shop.stop()
    assert shop.ended == ["a"]


def test_a_cancel_that_the_job_store_reports_first_ends_it_too(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        shop.driver.job_store.queue.cancel(job.job_id)
        return shop.driver.succeed(job)

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["cancelled"]
    assert shop.driver.job_store.reader.get("a").state is JobState.CANCELLED


def test_a_failure_after_a_cancel_ends_as_cancelled(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        shop.driver.job_store.queue.cancel(job.job_id)
        raise TooFewClasses("one class")

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["cancelled"]
    assert shop.driver.job_store.reader.get("a").error is None


def test_the_cancel_of_another_job_changes_nothing(shop: Shop) -> None:
    shop.heartbeat.cancel("other")

    def work(job: Job, checkpoint: Checkpoint) -> int:
        checkpoint()
        return shop.driver.succeed(job)

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["succeeded"]


def test_stopping_gives_running_jobs_back_and_claims_no_more(shop: Shop) -> None:
    entered = threading.Event()
    shop.work = in_checkpoints(entered)
    shop.submit("a")
    shop.submit("b")
    assert entered.wait(PATIENCE)
    shop.stop()
    assert shop.outcomes(1) == ["released"]
    assert [shop.driver.job_store.reader.get(job_id).state for job_id in "ab"] == [JobState.QUEUED] * 2
    # Its dataset is still needed.
    assert shop.ended == []


@pytest.mark.parametrize("error", [Draining("stopping"), RuntimeError("cannot schedule new futures")])
def test_what_breaks_because_the_server_stops_is_not_the_jobs_fault(shop: Shop, error: Exception) -> None:
    entered, may_fail = threading.Event(), threading.Event()

    def work(job: Job, checkpoint: Checkpoint) -> int:
        entered.set()
        assert may_fail.wait(PATIENCE)
        raise error

    shop.work = work
    shop.submit("a")
    assert entered.wait(PATIENCE)
    shop.pool.stop(0.0)
    may_fail.set()
    assert shop.outcomes(1) == ["released"]
    shop.stop()
    assert shop.driver.job_store.reader.get("a").state is JobState.QUEUED


def test_a_stop_does_not_wait_longer_than_its_timeout(driver: JobDriver) -> None:
    shop = Shop(driver, size=4)
    entered, may_end = threading.Barrier(5), threading.Event()

    def work(job: Job, checkpoint: Checkpoint) -> int:
        entered.wait(PATIENCE)
        assert may_end.wait(PATIENCE)
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    for _ in range(4):
        shop.submit()
    entered.wait(PATIENCE)
    began = time.monotonic()
    shop.pool.stop(0.2)
    assert time.monotonic() - began < PATIENCE / 4
    # They may be run elsewhere by now: what they still write counts for nothing.
    assert driver.job_store.reader.count()[JobState.QUEUED] == 4
    may_end.set()
    shop.stop()
    assert shop.outcomes(4) == ["lost"] * 4
    assert driver.job_store.reader.count()[JobState.QUEUED] == 4


def test_a_stop_before_the_start_and_twice_does_no_harm(driver: JobDriver) -> None:
    shop = Shop(driver)
    shop.stop()
    shop.pool.start()
    shop.stop()
    assert shop.seen.outcomes == []


def test_a_run_that_lost_its_job_leaves_it_alone(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        raise JobLostError(job.job_id)

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["lost"]
    shop.stop()
    assert shop.driver.job_store.reader.get("a").state is JobState.RUNNING
    assert shop.ended == []


def test_a_job_whose_example_was_erased_runs_again(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        if job.attempt == 1:
            raise ExampleErasedError
        return shop.driver.succeed(job)

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(2) == ["released", "succeeded"]
    shop.stop()
    assert shop.driver.job_store.reader.get("a").state is JobState.SUCCEEDED


class BrokenQueue(JobQueue):
    """Fails some claims, as with a full disk."""

    claims_to_fail = 0

    def claim(self, *args: object, **options: object) -> Job | None:
        if self.claims_to_fail:
            self.claims_to_fail -= 1
            raise OSError("disk full")
        return super().claim(*args, **options)


class BrokenRuns(JobRuns):
    """Fails some ends, as with a full disk."""

    ends_to_fail = 0

    def fail(self, *args: object) -> None:
        if self.ends_to_fail:
            self.ends_to_fail -= 1
            raise OSError("disk full")
        super().fail(*args)


@pytest.fixture
def broken(driver: JobDriver) -> JobStore:
    return with_parts(driver.restarted(), queue=BrokenQueue, runs=BrokenRuns)


def test_a_claim_that_fails_does_not_end_the_worker(
    driver: JobDriver, broken: JobStore, logs: list[dict[str, object]]
) -> None:
    broken.queue.claims_to_fail = 1
    shop = Shop(driver, broken)
    shop.driver.submit("a")
    shop.pool.start()
    shop.pool.wake()
    assert shop.outcomes(1) == ["succeeded"]
    assert [event["event"] for event in logs].count("job_claim_failed") == 1
    shop.stop()


def test_an_end_that_cannot_be_written_leaves_the_job_to_the_next_start(
    driver: JobDriver, broken: JobStore
) -> None:
    broken.runs.ends_to_fail = 1
    shop = Shop(driver, broken)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        if job.job_id == "a":
            raise TooFewClasses("one class")
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    shop.submit("a")
    shop.submit("b")
    assert shop.outcomes(2) == ["lost", "succeeded"]
    shop.stop()
    assert shop.ended == ["b"]
    driver.crash()
    assert driver.claim().job_id == "a"


def test_a_run_that_cannot_be_made_does_not_end_the_worker(driver: JobDriver) -> None:
    shop = Shop(driver)
    made: list[str] = []

    def make_run(job: Job, checkpoint: Checkpoint) -> FakeRun:
        made.append(job.job_id)
        if job.job_id == "a":
            raise RuntimeError("no")
        return FakeRun(job, checkpoint, lambda job, _: driver.succeed(job))

    pool = WorkerPool(
        driver.job_store.queue,
        shop.heartbeat,
        JobRunner(driver.job_store.queue, driver.job_store.runs, make_run, shop),
        shop.ended.append,
        size=1,
    )
    pool.start()
    for job_id in "ab":
        driver.submit(job_id)
        pool.wake()
    assert shop.outcomes(2) == ["lost", "succeeded"]
    pool.stop(PATIENCE)
    assert made == ["a", "b"]


def test_leftovers_that_cannot_be_removed_do_not_end_the_worker(shop: Shop) -> None:
    def on_end(job_id: str) -> None:
        raise OSError("not permitted")

    shop.on_end = on_end
    shop.submit("a")
    shop.submit("b")
    assert shop.outcomes(2) == ["succeeded", "succeeded"]


def test_a_cancel_inside_the_run_is_believed_without_the_ledger_having_it(shop: Shop) -> None:
    def work(job: Job, checkpoint: Checkpoint) -> int:
        raise JobCancelledError(job.job_id)

    shop.work = work
    shop.submit("a")
    assert shop.outcomes(1) == ["cancelled"]
    assert shop.driver.job_store.reader.get("a").state is JobState.CANCELLED


def test_a_job_that_comes_between_a_look_into_the_queue_and_the_wait_is_not_slept_through(
    publisher: Publisher, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart_server.jobs.workers.POLL_SECONDS", 2 * PATIENCE)

    class LateQueue(JobQueue):
        looked = False

        def claim(self, *args: object, **options: object) -> Job | None:
            job = super().claim(*args, **options)
            if not self.looked:
                self.looked = True
                shop.submit("a")
            return job

    job_store = with_parts(driver.restarted(), queue=LateQueue)
    shop = Shop(driver, job_store)
    shop.pool.start()
    assert shop.outcomes(1) == ["succeeded"]
    shop.stop()


class UnavailableRuns(JobRuns):
    """Loses the database for some failures, before or after they are written."""

    ends_without_answer = 0

    def fail(self, *args: object) -> None:
        if self.ends_without_answer:
            self.ends_without_answer -= 1
            if not self.ends_without_answer:
                super().fail(*args)
            raise DatabaseUnavailable("gone")
        super().fail(*args)


class UnavailableQueue(JobQueue):
    """Loses the database for some renewals."""

    beats_to_fail = 0

    def renew(self, held: Collection[Job]) -> Mapping[str, bool]:
        if self.beats_to_fail:
            self.beats_to_fail -= 1
            raise DatabaseUnavailable("gone")
        return super().renew(held)


@pytest.fixture
def away(driver: JobDriver, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    monkeypatch.setattr("headstart_server.jobs.job_runner.RETRY_SECONDS", 0.001)
    monkeypatch.setattr("headstart_server.jobs.heartbeat.RETRY_SECONDS", 0.001)
    return with_parts(driver.restarted(), queue=UnavailableQueue, runs=UnavailableRuns)


def test_an_end_is_written_when_the_database_is_back_and_once_only(driver: JobDriver, away: JobStore) -> None:
    # The last of these is written, and its answer is lost.
    away.runs.ends_without_answer = 3
    shop = Shop(driver, away)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        raise TooFewClasses("one class")

    shop.work = work
    shop.pool.start()
    shop.submit("a")
    assert shop.outcomes(1) == ["failed"]
    shop.stop()
    states = [event.state for event in driver.events("a")]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.FAILED]


def test_a_run_that_cannot_reach_the_database_goes_back_to_the_queue_and_is_not_blamed(
    driver: JobDriver, away: JobStore
) -> None:
    shop = Shop(driver, away)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        if job.attempt == 1:
            raise DatabaseUnavailable("gone")
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    shop.submit("a")
    assert shop.outcomes(2) == ["released", "succeeded"]
    shop.stop()


def test_a_run_whose_claim_is_in_doubt_waits_until_the_database_has_spoken(
    driver: JobDriver, away: JobStore
) -> None:
    away.queue.beats_to_fail = 3
    clock = ManualClock(0.0)
    shop = Shop(driver, away, clock=clock)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        checkpoint()
        assert away.queue.beats_to_fail == 3
        clock.advance(LEASE.seconds)
        checkpoint()
        assert away.queue.beats_to_fail == 0
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    shop.submit("a")
    assert shop.outcomes(1) == ["succeeded"]
    shop.stop()


def test_a_run_that_wakes_up_as_a_zombie_hears_that_its_job_is_lost(
    driver: JobDriver, away: JobStore
) -> None:
    clock = ManualClock(0.0)
    shop = Shop(driver, away, clock=clock)
    taken: list[Job] = []

    def work(job: Job, checkpoint: Checkpoint) -> int:
        # It sleeps for longer than its lease, and another replica takes its job over meanwhile.
        clock.advance(LEASE.seconds + 1)
        driver.clock.advance(LEASE.seconds + 1)
        taken.append(driver.claim())
        checkpoint()
        raise AssertionError("it went on")

    shop.work = work
    shop.pool.start()
    shop.submit("a")
    assert shop.outcomes(1) == ["lost"]
    shop.stop()
    assert driver.succeed(taken[0]) == 1


def test_a_cancel_that_another_replica_took_stops_the_run_with_a_beat(shop: Shop) -> None:
    entered = threading.Event()
    shop.work = in_checkpoints(entered)
    shop.submit("a")
    assert entered.wait(PATIENCE)
    shop.driver.restarted().queue.cancel("a")
    assert shop.heartbeat.renew()
    assert shop.outcomes(1) == ["cancelled"]


def test_a_job_that_the_storage_stops_goes_back_to_the_queue_and_waits_longer_each_time(
    driver: JobDriver, logs: list[dict[str, object]]
) -> None:
    shop = Shop(driver)

    def work(job: Job, _: Checkpoint) -> int:
        if job.storage_retries < 2:
            raise LocalStorageUnavailable("The storage of the server failed: Too many open files (EMFILE).")
        return driver.succeed(job)

    shop.work = work
    shop.pool.start()
    try:
        shop.submit("a")
        assert shop.outcomes(1) == ["postponed"]
        job = driver.job_store.reader.get("a")
        assert (job.state, job.error, job.storage_retries) == (JobState.QUEUED, None, 1)
        assert driver.job_store.queue.claim() is None
        driver.clock.advance(5.1)
        shop.pool.wake()
        assert shop.outcomes(2) == ["postponed"] * 2
        driver.clock.advance(5.1)
        assert driver.job_store.queue.claim() is None
        driver.clock.advance(5)
        shop.pool.wake()
        assert shop.outcomes(3)[-1] == "succeeded"
    finally:
        shop.stop()
    postpone = [event for event in logs if event["event"] == "job_postponed"]
    assert [event["retry_seconds"] for event in postpone] == [5.0, 10.0]
    assert "EMFILE" in str(postpone[0]["error"])


def test_the_log_names_the_replica_at_the_claim_and_the_end_of_a_job(
    shop: Shop, logs: list[dict[str, object]]
) -> None:
    job = shop.submit()
    assert shop.outcomes(1) == ["succeeded"]
    shop.stop()
    named = [(event["event"], event["replica"]) for event in logs if event.get("job_id") == job.job_id]
    owner = shop.driver.job_store.queue.owner
    assert named == [("job_claimed", owner), ("job_succeeded", owner)]


@pytest.mark.parametrize("others", [False, True])
def test_a_job_whose_archive_is_missing_fails_once_no_replica_has_found_it(
    driver: JobDriver, others: bool
) -> None:
    shop = Shop(driver)
    tries = 0

    def work(job: Job, _: Checkpoint) -> int:
        nonlocal tries
        tries += 1
        error = ArtifactDamaged("The stored examples of job a are damaged or missing.")
        raise error from FileNotFoundError()

    shop.work = work
    if others:
        with driver.publisher.database.write() as connection:
            show_presence(connection, "host/other", 1, driver.clock() + 3600, LEASE.seconds)
    shop.pool.start()
    expected = (["postponed"] * MISSING_TRIES if others else []) + ["failed"]
    try:
        shop.submit("a")
        for count in range(1, len(expected) + 1):
            assert shop.outcomes(count) == expected[:count]
            driver.clock.advance(60)
            shop.pool.wake()
    finally:
        shop.stop()
    job = driver.job_store.reader.get("a")
    assert job.error is not None
    assert (job.state, job.error.reason) == (JobState.FAILED, "ARTIFACT_DAMAGED")
    assert tries == len(expected)


def test_a_job_whose_archive_is_missing_waits_while_the_database_does_not_answer(
    driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(driver)

    def fail() -> bool:
        raise DatabaseUnavailable("gone")

    def work(job: Job, _: Checkpoint) -> int:
        raise ArtifactDamaged("The stored examples of job a are missing.") from FileNotFoundError()

    monkeypatch.setattr(driver.job_store.queue, "has_other_replicas", fail)
    shop.work = work
    shop.pool.start()
    try:
        shop.submit("a")
        assert shop.outcomes(1) == ["postponed"]
    finally:
        shop.stop()
    assert driver.job_store.reader.get("a").state is JobState.QUEUED


def test_a_run_that_takes_too_long_fails_at_its_next_checkpoint(driver: JobDriver) -> None:
    clock = ManualClock(0.0)
    shop = Shop(driver, clock=clock, time_limit=7200.0)

    def work(job: Job, checkpoint: Checkpoint) -> int:
        clock.advance(7199)
        shop.heartbeat.renew()
        checkpoint()
        clock.advance(1)
        checkpoint()
        raise AssertionError("it went on")

    error = error_of_failed(driver, shop, work)
    assert error.reason == "JOB_TIME_LIMIT"
    assert error.message.startswith("The job reached the time limit of 2 hours (--job-time-limit)")
    assert shop.limited == ["JOB_TIME_LIMIT"]


def test_a_run_without_memory_fails_with_its_estimate(driver: JobDriver) -> None:
    shop = Shop(driver)

    def work(job: Job, _: Checkpoint) -> int:
        raise MemoryError

    error = error_of_failed(driver, shop, work)
    assert error.reason == "JOB_MEMORY_LIMIT"
    assert shop.limited == ["JOB_MEMORY_LIMIT"]


def error_of_failed(driver: JobDriver, shop: Shop, work: Callable[[Job, Checkpoint], int]) -> JobError:
    """Run one job that fails, and return its error."""
    shop.work = work
    shop.pool.start()
    try:
        shop.submit("a")
        assert shop.outcomes(1) == ["failed"]
    finally:
        shop.stop()
    error = driver.job_store.reader.get("a").error
    assert error is not None
    return error


def test_a_job_waits_for_the_memory_of_other_work(driver: JobDriver) -> None:
    shop = Shop(driver, driver.restarted(memory_bytes=100), size=0)
    driver.submit("large", memory_bytes=60)
    with shop.reservations.reserve(50, lambda: None):
        assert not shop.pool.step()
    with shop.reservations.reserve(1, lambda: None, alone=True):
        assert not shop.pool.step()
    with shop.reservations.reserve(40, lambda: None):
        assert shop.pool.step()
    assert shop.ended == ["large"]
