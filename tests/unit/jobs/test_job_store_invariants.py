"""Any order of what callers, runs, silence and crashes of two processes do to one job_store."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Row, select

from fakes import LEASE, JobDriver, ManualClock, Publisher
from headstart_server.database.tables import jobs
from headstart_server.errors import JobQueueFull, ModelNotFound
from headstart_server.jobs.job import TRANSITIONS, Findings, Job, JobError, JobState
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.recovery import MAX_CRASHES
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.jobs.stored import QueueLimits
from postgres import PostgresServer

ERROR = JobError(reason="INTERNAL", message="no")
#: From the newest backwards: what is going on now is the likeliest to break.
PLACE = st.integers(0, 5)
PROCESS = st.integers(0, 1)


class LedgerMachine(RuleBasedStateMachine):
    """Keeps every claim that was ever handed out, so that old ones write as well.

    Args:
        address: of the database; None for a file.
    """

    def __init__(self, address: str | None = None) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        publisher = Publisher(Path(self._folder.name), ManualClock(), address=address)
        self.driver = JobDriver(publisher, limits=QueueLimits(queued=4))
        self.job_stores: list[JobStore] = [self.driver.restarted(), self.driver.restarted()]
        # What each process believes to be at work on.
        self.held: list[dict[str, Job]] = [{}, {}]
        self.ids: list[str] = []
        self.claims: list[Job] = []
        self.leases: dict[str, float] = {}
        self.ended: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.crashes: dict[str, int] = {}

    def teardown(self) -> None:
        self.driver.publisher.close()
        self._folder.cleanup()

    @rule(priority=st.integers(-1, 1))
    def submit(self, priority: int) -> None:
        queued = self.driver.job_store.reader.count()[JobState.QUEUED]
        try:
            self.ids.append(self.driver.submit(priority=priority, nbytes=len(self.ids) + 1).job_id)
            assert queued < 4
        except JobQueueFull:
            assert queued >= 4

    @rule(seconds=st.sampled_from([0.5, 4.0, LEASE.seconds + 0.5]))
    def time_passes(self, seconds: float) -> None:
        self.driver.clock.advance(seconds)

    @rule(process=PROCESS, may_take_over=st.booleans())
    def claim(self, process: int, may_take_over: bool) -> None:
        before = {job_id: self.driver.job_store.reader.get(job_id) for job_id in self.ids}
        now, held = self.driver.clock(), self.held[process]
        job = self.job_stores[process].queue.claim(held, may_take_over=may_take_over)
        for job_id, was in before.items():
            if (
                was.state is JobState.RUNNING
                and was.attempt < self.driver.job_store.reader.get(job_id).attempt
            ):
                assert self.leases[job_id] < now
                assert job_id not in held
        if job is None:
            # What crashed waits for a process that runs nothing, and others wait behind it.
            suspected = [row for row in self.rows() if row.state == "queued" and row.isolation]
            assert self.driver.job_store.reader.count()[JobState.QUEUED] == 0 or (held and suspected)
            return
        assert not (job.runs_alone and held)
        assert before[job.job_id].state in (JobState.QUEUED, JobState.RUNNING)
        assert job.attempt == before[job.job_id].attempt + 1
        assert job.job_id not in self.cancelled
        assert job.crashes < MAX_CRASHES
        self.claims.append(job)
        held[job.job_id] = job
        self.leases[job.job_id] = now + LEASE.seconds

    def rows(self) -> Sequence[Row[Any]]:
        with self.driver.publisher.database.read() as connection:
            return connection.execute(select(jobs)).all()

    @rule(process=PROCESS)
    def renew(self, process: int) -> None:
        held = self.held[process]
        renewed = self.job_stores[process].queue.renew(list(held.values()))
        for job_id, job in list(held.items()):
            now = self.driver.job_store.reader.get(job_id)
            mine = now.state is JobState.RUNNING and now.attempt == job.attempt
            assert (job_id in renewed) == mine
            if mine:
                assert renewed[job_id] == now.cancel
                self.leases[job_id] = self.driver.clock() + LEASE.seconds
            else:
                del held[job_id]

    @rule(process=PROCESS)
    def crash(self, process: int) -> None:
        self.job_stores[process] = self.driver.restarted()
        self.held[process] = {}

    @rule(place=PLACE, write=st.sampled_from(["report", "succeed", "fail"]))
    def write(self, place: int, write: str) -> None:
        if not self.claims:
            return
        job = self.claims[-1 - place % len(self.claims)]
        now = self.driver.job_store.reader.get(job.job_id)
        mine = now.state is JobState.RUNNING and now.attempt == job.attempt
        # The same attempt may say twice how the job ended.
        said = {"succeed": JobState.SUCCEEDED, "fail": JobState.FAILED}.get(write)
        again = now.attempt == job.attempt and now.state is said
        try:
            if write == "report":
                self.driver.report(job)
            elif write == "succeed":
                self.driver.succeed(job)
            else:
                self.driver.job_store.runs.fail(job, ERROR, Findings())
            assert mine or again
            assert again or not now.cancel
        except JobCancelledError:
            assert mine
            assert now.cancel
        except JobLostError:
            assert not mine

    @rule(place=PLACE, back=st.booleans())
    def hand_over(self, place: int, back: bool) -> None:
        if not self.claims:
            return
        job = self.claims[-1 - place % len(self.claims)]
        if back:
            self.driver.job_store.runs.release(job)
        elif self.driver.job_store.reader.get(job.job_id).cancel:
            self.driver.job_store.runs.finish_cancelled(job)

    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        if self.ids:
            job = self.driver.job_store.queue.cancel(self.ids[-1 - place % len(self.ids)])
            if job.cancel:
                self.cancelled.add(job.job_id)

    @invariant()
    def every_job_is_known_and_moves_only_where_it_may(self) -> None:
        for job_id in self.ids:
            job, events = self.driver.job_store.reader.get(job_id), self.driver.events(job_id)
            assert [event.number for event in events] == list(range(1, job.last_event + 1))
            states = [event.state for event in events]
            assert states[0] is JobState.QUEUED
            assert states[-1] is job.state
            for one, other in itertools.pairwise(states):
                assert other in TRANSITIONS[one]
            assert (job.finished is not None) == job.state.is_terminal
            assert job.crashes >= self.crashes.get(job_id, 0)
            self.crashes[job_id] = job.crashes
            if job.error is not None and job.error.reason == "CRASHED_REPEATEDLY":
                assert job.crashes == MAX_CRASHES

    @invariant()
    def what_is_stored_is_what_a_recount_finds(self) -> None:
        assert self.driver.job_store.quotas.recount_usage() == 0

    @invariant()
    def an_end_is_final_and_a_cancel_is_kept(self) -> None:
        for job_id in self.ids:
            job = self.driver.job_store.reader.get(job_id)
            if job_id in self.ended:
                assert job == self.ended[job_id]
            if job.state.is_terminal:
                self.ended[job_id] = job
            if job_id in self.cancelled:
                assert job.state in (JobState.RUNNING, JobState.CANCELLED)

    @invariant()
    def each_success_has_one_version_and_nothing_else_has(self) -> None:
        succeeded = {
            job_id: job.version for job_id, job in self.ended.items() if job.state is JobState.SUCCEEDED
        }
        registry = self.driver.publisher.registry
        try:
            assert registry.reader.model("pets").version_count == len(succeeded)
        except ModelNotFound:
            assert not succeeded
        versions = {
            version.manifest.job_id: version.number
            for version in registry.reader.versions("pets", limit=1000)
        }
        assert versions == succeeded


def check(make: Callable[[], LedgerMachine], examples: int) -> None:
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            # Each step is several commits: to shorten a failing order would take minutes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )


def test_any_order_of_operations_in_a_file() -> None:
    check(LedgerMachine, 20)


@pytest.mark.timeout(300)
def test_any_order_of_operations_in_postgresql(postgres: PostgresServer) -> None:
    check(lambda: LedgerMachine(postgres.empty_database()), 12)
