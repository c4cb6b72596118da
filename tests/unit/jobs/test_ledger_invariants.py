"""Any order of what callers, runs, crashes and restarts do to the ledger."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fakes import Desk, ManualClock, Shelf
from headstart_server.errors import JobQueueFull, ModelNotFound
from headstart_server.jobs.job import TRANSITIONS, Findings, Job, JobError, JobState
from headstart_server.jobs.ledger import MAX_CRASHES, JobCancelledError, JobLostError

ERROR = JobError(reason="INTERNAL", message="no")
#: From the newest backwards: what is going on now is the likeliest to break.
PLACE = st.integers(0, 5)


class LedgerMachine(RuleBasedStateMachine):
    """Keeps every claim that was ever handed out, so that old ones write as well."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.desk = Desk(Shelf(Path(self._folder.name), ManualClock()), max_queued=4)
        self.ids: list[str] = []
        self.claims: list[Job] = []
        self.ended: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.crashes: dict[str, int] = {}

    def teardown(self) -> None:
        self.desk.shelf.close()
        self._folder.cleanup()

    @rule(seconds=st.integers(0, 2))
    def submit(self, seconds: int) -> None:
        self.desk.clock.advance(seconds)
        queued = self.desk.ledger.count()[JobState.QUEUED]
        try:
            self.ids.append(self.desk.submit().job_id)
            assert queued < 4
        except JobQueueFull:
            assert queued >= 4

    @rule()
    def claim(self) -> None:
        job = self.desk.ledger.claim()
        if job is None:
            assert self.desk.ledger.count()[JobState.QUEUED] == 0
        else:
            self.claims.append(job)

    @rule(place=PLACE, write=st.sampled_from(["report", "succeed", "fail"]))
    def write(self, place: int, write: str) -> None:
        if not self.claims:
            return
        job = self.claims[-1 - place % len(self.claims)]
        now = self.desk.ledger.get(job.job_id)
        mine = now.state is JobState.RUNNING and now.attempt == job.attempt
        try:
            if write == "report":
                self.desk.report(job)
            elif write == "succeed":
                self.desk.succeed(job)
            else:
                self.desk.ledger.fail(job, ERROR, Findings())
            assert mine
            assert not now.cancel
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
            self.desk.ledger.give_back(job)
        elif self.desk.ledger.get(job.job_id).cancel:
            self.desk.ledger.end_cancelled(job)

    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        if self.ids:
            job = self.desk.ledger.cancel(self.ids[-1 - place % len(self.ids)])
            if job.cancel:
                self.cancelled.add(job.job_id)

    @rule()
    def crash(self) -> None:
        self.desk.ledger = self.desk.restarted()
        for job in self.desk.ledger.recover():
            self.crashes[job.job_id] = self.crashes.get(job.job_id, 0) + 1
            failed = self.crashes[job.job_id] >= MAX_CRASHES
            if job.job_id not in self.cancelled:
                assert (job.state is JobState.FAILED) == failed
        assert self.desk.ledger.count()[JobState.RUNNING] == 0

    @invariant()
    def every_job_is_known_and_moves_only_where_it_may(self) -> None:
        for job_id in self.ids:
            job, events = self.desk.ledger.get(job_id), self.desk.events(job_id)
            assert [event.number for event in events] == list(range(1, job.last_event + 1))
            states = [event.state for event in events]
            assert states[0] is JobState.QUEUED
            assert states[-1] is job.state
            for one, other in itertools.pairwise(states):
                assert other in TRANSITIONS[one] or one is other is JobState.RUNNING
            assert (job.finished is not None) == job.state.is_terminal

    @invariant()
    def an_end_is_final_and_a_cancel_is_kept(self) -> None:
        for job_id in self.ids:
            job = self.desk.ledger.get(job_id)
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
        registry = self.desk.shelf.registry
        try:
            assert registry.model("pets").version_count == len(succeeded)
        except ModelNotFound:
            assert not succeeded
        versions = {
            version.manifest.job_id: version.number
            for version in registry.versions("pets", before=None, limit=1000)
        }
        assert versions == succeeded


LedgerMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    # Each step is several commits: to shorten a failing order would take minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestAnyOrderOfOperations = LedgerMachine.TestCase
