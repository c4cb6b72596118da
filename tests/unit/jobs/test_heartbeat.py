"""The heart: what a run hears of its job, and when it must stop to ask."""

import threading
from collections.abc import Collection, Mapping

import pytest

from fakes import LEASE, PATIENCE, JobDriver, ManualClock
from headstart_server.errors import DatabaseUnavailable
from headstart_server.jobs.heartbeat import Contact, Heart, Lease
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.ledger import JobCancelledError, JobLostError, Ledger


class FlakyLedger:
    """A ledger whose database can be away."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.is_away = False
        self.beats = 0

    def beat(self, held: Collection[Job]) -> Mapping[str, bool]:
        self.beats += 1
        if self.is_away:
            raise DatabaseUnavailable("gone")
        return self.ledger.beat(held)

    def give_back(self, job: Job) -> None:
        if self.is_away:
            raise DatabaseUnavailable("gone")
        self.ledger.give_back(job)


class Ward:
    """A heart on a clock of its own: that of the machine, not of the database."""

    def __init__(self, driver: JobDriver) -> None:
        self.driver = driver
        self.clock = ManualClock(0.0)
        self.ledger = FlakyLedger(driver.ledger)
        self.heart = Heart(self.ledger, LEASE, clock=self.clock)  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.driver.clock.advance(seconds)


@pytest.fixture
def ward(driver: JobDriver) -> Ward:
    return Ward(driver)


def test_a_hold_is_in_doubt_when_its_lease_has_ended_unless_a_beat_renewed_it(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.advance(LEASE.seconds - 1)
    assert not hold.is_in_doubt
    assert ward.heart.beat()
    ward.advance(LEASE.seconds - 1)
    assert not hold.is_in_doubt
    ward.advance(1)
    assert hold.is_in_doubt
    hold.check()
    assert ward.heart.beat()
    assert not hold.is_in_doubt


def test_the_lease_counts_from_before_the_claim_was_asked_for(ward: Ward) -> None:
    asked = ward.clock()
    job = ward.driver.running("a")
    ward.advance(4)
    hold = ward.heart.hold(job, asked)
    ward.advance(LEASE.seconds - 4)
    assert hold.is_in_doubt


def test_a_job_that_another_process_took_is_lost_at_the_next_beat(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.advance(LEASE.seconds + 1)
    assert ward.driver.restarted().claim() is not None
    assert hold.is_in_doubt
    ward.heart.ask()
    assert not hold.is_in_doubt
    with pytest.raises(JobLostError):
        hold.check()


def test_a_cancel_asked_for_at_another_replica_is_heard_with_a_beat(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.driver.restarted().cancel("a")
    hold.check()
    assert ward.heart.beat()
    with pytest.raises(JobCancelledError):
        hold.check()


def test_a_cancel_asked_for_here_is_heard_at_once_and_by_its_job_alone(ward: Ward) -> None:
    a, b = (ward.heart.hold(ward.driver.running(job_id), ward.clock()) for job_id in "ab")
    ward.heart.cancel("a")
    ward.heart.cancel("unknown")
    with pytest.raises(JobCancelledError):
        a.check()
    b.check()


def test_an_outage_shorter_than_the_lease_changes_nothing(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.ledger.is_away = True
    ward.advance(LEASE.seconds / 2)
    assert not ward.heart.beat()
    hold.check()
    assert not hold.is_in_doubt
    ward.ledger.is_away = False
    assert ward.heart.beat()
    ward.advance(LEASE.seconds - 1)
    assert not hold.is_in_doubt


def test_a_job_that_was_let_go_is_not_renewed(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    assert list(ward.heart.held) == ["a"]
    ward.heart.let_go(hold)
    assert list(ward.heart.held) == []
    ward.advance(LEASE.seconds + 1)
    ward.heart.beat()
    assert ward.driver.claim().attempt == 2


def test_letting_go_of_an_old_hold_leaves_a_new_one_of_the_same_job(ward: Ward) -> None:
    first = ward.driver.running("a")
    old = ward.heart.hold(first, ward.clock())
    ward.driver.ledger.give_back(first)
    ward.heart.hold(ward.driver.claim(), ward.clock())
    ward.heart.let_go(old)
    assert list(ward.heart.held) == ["a"]


def test_what_is_in_hand_can_be_given_back_at_once(ward: Ward) -> None:
    hold = ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.heart.give_all_back()
    assert ward.driver.ledger.get("a").state is JobState.QUEUED
    with pytest.raises(JobLostError):
        hold.check()


def test_giving_back_without_a_database_does_no_harm(ward: Ward) -> None:
    ward.heart.hold(ward.driver.running("a"), ward.clock())
    ward.ledger.is_away = True
    ward.heart.give_all_back()
    assert ward.driver.ledger.get("a").state is JobState.RUNNING


def test_nobody_is_taken_over_before_a_lease_of_steady_contact(ward: Ward) -> None:
    assert not ward.heart.may_take_over
    for _ in range(int(LEASE.seconds)):
        ward.heart.beat()
        assert not ward.heart.may_take_over
        ward.advance(1)
    ward.heart.beat()
    assert ward.heart.may_take_over


def test_after_an_outage_everybody_gets_a_lease_to_come_back(ward: Ward) -> None:
    for _ in range(12):
        ward.heart.beat()
        ward.advance(1)
    ward.heart.beat()
    assert ward.heart.may_take_over
    ward.ledger.is_away = True
    for _ in range(12):
        ward.advance(1)
        ward.heart.beat()
    assert not ward.heart.may_take_over
    ward.ledger.is_away = False
    ward.heart.beat()
    assert not ward.heart.may_take_over
    for _ in range(10):
        ward.advance(1)
        ward.heart.beat()
    assert ward.heart.may_take_over


def test_a_process_that_slept_does_not_take_the_others_for_dead(ward: Ward) -> None:
    for _ in range(12):
        ward.heart.beat()
        ward.advance(1)
    ward.heart.beat()
    # Between its sleep and its next beat.
    ward.advance(30)
    assert not ward.heart.may_take_over
    ward.heart.beat()
    assert not ward.heart.may_take_over


def test_who_is_alone_with_its_database_need_not_wait(driver: JobDriver) -> None:
    assert Heart(driver.ledger, LEASE, is_shared=False).may_take_over


def test_a_short_gap_is_no_outage() -> None:
    clock = ManualClock(0.0)
    contact = Contact(Lease(seconds=10, beat=1), clock)
    contact.made()
    for _ in range(3):
        clock.advance(4.9)
        contact.made()
    assert contact.is_steady


def test_it_beats_by_itself_until_it_is_stopped(driver: JobDriver) -> None:
    beaten = threading.Event()

    class Counting(FlakyLedger):
        def beat(self, held: Collection[Job]) -> Mapping[str, bool]:
            found = super().beat(held)
            if self.beats == 3:
                beaten.set()
            return found

    ledger = Counting(driver.ledger)
    heart = Heart(ledger, Lease(seconds=10.0, beat=0.001))  # type: ignore[arg-type]
    heart.start()
    assert beaten.wait(PATIENCE)
    heart.stop()
    beats = ledger.beats
    heart.stop()
    assert ledger.beats == beats
