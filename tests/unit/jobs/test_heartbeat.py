"""The heartbeat: renewals, cancels and lost claims."""

import threading
from collections.abc import Collection, Mapping

import pytest

from fakes import LEASE, PATIENCE, JobDriver, ManualClock
from headstart_server.errors import DatabaseUnavailable, HeadstartError, StorageFull
from headstart_server.jobs.heartbeat import DatabaseContact, Heartbeat, Lease
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.running import JobCancelledError, JobLostError


class FlakyJobStore:
    """A job store whose database can be unavailable."""

    def __init__(self, job_store: JobStore) -> None:
        self.job_store = job_store
        self.queue = self.runs = self
        self.is_away = False
        self.error: HeadstartError = DatabaseUnavailable("gone")
        self.beats = 0

    def renew(self, held: Collection[Job]) -> Mapping[str, bool]:
        self.beats += 1
        if self.is_away:
            raise DatabaseUnavailable("gone")
        return self.job_store.queue.renew(held)

    def release(self, job: Job) -> None:
        if self.is_away:
            raise self.error
        self.job_store.runs.release(job)


class Ward:
    """A heartbeat on the clock of the machine, not of the database."""

    def __init__(self, driver: JobDriver) -> None:
        self.driver = driver
        self.clock = ManualClock(0.0)
        self.job_store = FlakyJobStore(driver.job_store)
        self.heartbeat = Heartbeat(self.job_store.queue, self.job_store.runs, LEASE, clock=self.clock)  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.driver.clock.advance(seconds)


@pytest.fixture
def ward(driver: JobDriver) -> Ward:
    return Ward(driver)


def test_a_claim_may_have_expired_after_its_lease_unless_it_was_renewed(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    ward.advance(LEASE.seconds - 1)
    assert not claim.may_have_expired
    assert ward.heartbeat.renew()
    ward.advance(LEASE.seconds - 1)
    assert not claim.may_have_expired
    ward.advance(1)
    assert claim.may_have_expired
    claim.check()
    assert ward.heartbeat.renew()
    assert not claim.may_have_expired


def test_the_lease_counts_from_before_the_claim(ward: Ward) -> None:
    called = ward.clock()
    job = ward.driver.running("a")
    ward.advance(4)
    claim = ward.heartbeat.track(job, called)
    ward.advance(LEASE.seconds - 4)
    assert claim.may_have_expired


def test_a_job_that_another_process_took_is_lost_at_the_next_beat(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    ward.advance(LEASE.seconds + 1)
    assert ward.driver.restarted().queue.claim() is not None
    assert claim.may_have_expired
    ward.heartbeat.renew_or_wait()
    assert not claim.may_have_expired
    with pytest.raises(JobLostError):
        claim.check()


def test_a_cancel_at_another_replica_arrives_with_a_renewal(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    ward.driver.restarted().queue.cancel("a")
    claim.check()
    assert ward.heartbeat.renew()
    with pytest.raises(JobCancelledError):
        claim.check()


def test_a_cancel_here_reaches_its_job_immediately_and_no_other(ward: Ward) -> None:
    a, b = (ward.heartbeat.track(ward.driver.running(job_id), ward.clock()) for job_id in "ab")
    ward.heartbeat.cancel("a")
    ward.heartbeat.cancel("unknown")
    with pytest.raises(JobCancelledError):
        a.check()
    b.check()


def test_an_outage_shorter_than_the_lease_changes_nothing(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    ward.job_store.is_away = True
    ward.advance(LEASE.seconds / 2)
    assert not ward.heartbeat.renew()
    claim.check()
    assert not claim.may_have_expired
    ward.job_store.is_away = False
    assert ward.heartbeat.renew()
    ward.advance(LEASE.seconds - 1)
    assert not claim.may_have_expired


def test_a_job_that_was_let_go_is_not_renewed(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    assert list(ward.heartbeat.claimed_ids) == ["a"]
    ward.heartbeat.release(claim)
    assert list(ward.heartbeat.claimed_ids) == []
    ward.advance(LEASE.seconds + 1)
    ward.heartbeat.renew()
    assert ward.driver.claim().attempt == 2


def test_letting_go_of_an_old_hold_leaves_a_new_one_of_the_same_job(ward: Ward) -> None:
    first = ward.driver.running("a")
    old = ward.heartbeat.track(first, ward.clock())
    ward.driver.job_store.runs.release(first)
    ward.heartbeat.track(ward.driver.claim(), ward.clock())
    ward.heartbeat.release(old)
    assert list(ward.heartbeat.claimed_ids) == ["a"]


def test_what_is_in_hand_can_be_given_back_at_once(ward: Ward) -> None:
    claim = ward.heartbeat.track(ward.driver.running("a"), ward.clock())
    ward.heartbeat.release_all()
    assert ward.driver.job_store.reader.get("a").state is JobState.QUEUED
    with pytest.raises(JobLostError):
        claim.check()


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), StorageFull()])
def test_giving_back_without_a_database_does_no_harm(ward: Ward, error: HeadstartError) -> None:
    claims = [ward.heartbeat.track(ward.driver.running(name), ward.clock()) for name in ("a", "b")]
    ward.job_store.is_away, ward.job_store.error = True, error
    ward.heartbeat.release_all()
    assert ward.driver.job_store.reader.get("a").state is JobState.RUNNING
    for claim in claims:
        with pytest.raises(JobLostError):
            claim.check()


def test_no_job_is_taken_over_before_a_lease_of_steady_contact(ward: Ward) -> None:
    assert not ward.heartbeat.may_take_over
    for _ in range(int(LEASE.seconds)):
        ward.heartbeat.renew()
        assert not ward.heartbeat.may_take_over
        ward.advance(1)
    ward.heartbeat.renew()
    assert ward.heartbeat.may_take_over


def test_after_an_outage_everybody_gets_a_lease_to_come_back(ward: Ward) -> None:
    for _ in range(12):
        ward.heartbeat.renew()
        ward.advance(1)
    ward.heartbeat.renew()
    assert ward.heartbeat.may_take_over
    ward.job_store.is_away = True
    for _ in range(12):
        ward.advance(1)
        ward.heartbeat.renew()
    assert not ward.heartbeat.may_take_over
    ward.job_store.is_away = False
    ward.heartbeat.renew()
    assert not ward.heartbeat.may_take_over
    for _ in range(10):
        ward.advance(1)
        ward.heartbeat.renew()
    assert ward.heartbeat.may_take_over


def test_a_process_that_slept_does_not_take_the_others_for_dead(ward: Ward) -> None:
    for _ in range(12):
        ward.heartbeat.renew()
        ward.advance(1)
    ward.heartbeat.renew()
    # Between its sleep and its next beat.
    ward.advance(30)
    assert not ward.heartbeat.may_take_over
    ward.heartbeat.renew()
    assert not ward.heartbeat.may_take_over


def test_who_is_alone_with_its_database_need_not_wait(driver: JobDriver) -> None:
    assert Heartbeat(driver.job_store.queue, driver.job_store.runs, LEASE, is_shared=False).may_take_over


def test_a_short_gap_is_no_outage() -> None:
    clock = ManualClock(0.0)
    contact = DatabaseContact(Lease(seconds=10, interval=1), clock)
    contact.record()
    for _ in range(3):
        clock.advance(4.9)
        contact.record()
    assert contact.is_steady


def test_it_beats_by_itself_until_it_is_stopped(driver: JobDriver) -> None:
    beaten = threading.Event()

    class Counting(FlakyJobStore):
        def renew(self, held: Collection[Job]) -> Mapping[str, bool]:
            found = super().renew(held)
            if self.beats == 3:
                beaten.set()
            return found

    job_store = Counting(driver.job_store)
    heartbeat = Heartbeat(job_store.queue, job_store.runs, Lease(seconds=10.0, interval=0.001))  # type: ignore[arg-type]
    heartbeat.start()
    assert beaten.wait(PATIENCE)
    heartbeat.stop()
    beats = job_store.beats
    heartbeat.stop()
    assert job_store.beats == beats
