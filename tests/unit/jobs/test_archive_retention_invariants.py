"""Any order of what callers, runs, crashes and sweeps do: no needed archive goes, and none stays for ever."""

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fakes import FakeArchives, JobDriver, ManualClock, Publisher
from headstart_server.errors import ExamplesNotKept, JobNotFound
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import Findings, Job, JobError, JobState
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.jobs.stored import QueueLimits

ERROR = JobError(reason="INTERNAL", message="no")
PLACE = st.integers(0, 5)


class ArchivesMachine(RuleBasedStateMachine):
    """Uploads are kept apart from their acceptance, so that everything can happen between the two."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.driver = JobDriver(
            Publisher(Path(self._folder.name), ManualClock()), limits=QueueLimits(queued=1000)
        )
        self.files = FakeArchives()
        self.archives = ArchiveRetention(self.driver.publisher.database, self.files, max_bytes=1 << 40)
        self.count = 0
        #: Of each upload the archives that its parent had when it came.
        self.uploads: dict[str, set[str]] = {}
        #: Of each job that was accepted the archives of its dataset.
        self.datasets: dict[str, set[str]] = {}
        self.claims: list[Job] = []

    def teardown(self) -> None:
        self.driver.publisher.close()
        self._folder.cleanup()

    def living(self) -> set[str]:
        versions = self.driver.publisher.registry.reader.versions("pets", limit=1000)
        published = {version.manifest.job_id for version in versions}
        return {
            job
            for job in self.datasets
            if job in published or job in self.driver.job_store.reader.unfinished()
        }

    @rule(place=PLACE, with_parent=st.booleans())
    def begin_upload(self, place: int, with_parent: bool) -> None:
        self.count += 1
        job_id = f"upload-{self.count}"
        versions = self.driver.publisher.registry.reader.versions("pets", limit=1000)
        parent = set()
        if with_parent and versions:
            parent = self.datasets[versions[place % len(versions)].manifest.job_id]
        self.uploads[job_id] = parent | {job_id}
        self.files.files[job_id] = 1

    @rule(place=PLACE, leaves=st.booleans())
    def end_upload(self, place: int, leaves: bool) -> None:
        if not self.uploads:
            return
        job_id = list(self.uploads)[place % len(self.uploads)]
        wanted = self.uploads.pop(job_id)
        needed = set().union(*(self.datasets[job] for job in self.living()))
        try:
            if leaves:
                raise ExamplesNotKept("The caller left.")
            self.driver.submit(job_id, archives=wanted, nbytes=len(self.datasets) + 1)
            assert wanted - {job_id} <= needed
            self.datasets[job_id] = wanted
        except ExamplesNotKept:
            assert leaves or not wanted - {job_id} <= needed
            self.files.remove(job_id)

    @rule()
    def claim(self) -> None:
        job = self.driver.job_store.queue.claim()
        if job is not None:
            self.claims.append(job)

    @rule(place=PLACE, how=st.sampled_from(["succeed", "succeed", "fail", "give back"]))
    def end(self, place: int, how: str) -> None:
        if not self.claims:
            return
        job = self.claims.pop(place % len(self.claims))
        try:
            if how == "succeed":
                self.driver.succeed(job)
            elif how == "fail":
                self.driver.job_store.runs.fail(job, ERROR, Findings())
            else:
                self.driver.job_store.runs.release(job)
        except JobCancelledError:
            # What its worker does then.
            self.driver.job_store.runs.finish_cancelled(job)
        except (JobLostError, JobNotFound):
            pass

    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        if self.datasets:
            # It may be erased by now.
            with suppress(JobNotFound):
                self.driver.job_store.queue.cancel(list(self.datasets)[place % len(self.datasets)])

    @rule(place=PLACE)
    def delete_version(self, place: int) -> None:
        versions = self.driver.publisher.registry.reader.versions("pets", limit=1000)
        if versions:
            number = versions[place % len(versions)].number
            self.driver.publisher.registry.delete_version("pets", number, force=True)

    @rule()
    def forget(self) -> None:
        self.driver.clock.advance(1)
        self.driver.job_store.cleaner.forget(self.driver.clock())

    @rule()
    def sweep(self) -> None:
        self.archives.sweep()
        needed = set().union(*(self.datasets[job] for job in self.living()))
        assert set(self.files.files) == needed | set(self.uploads)

    @rule()
    def crash(self) -> None:
        # Uploads end with the process; what they wrote goes at the start.
        self.uploads.clear()
        self.driver.crash()
        self.archives.recover()
        needed = set().union(*(self.datasets[job] for job in self.living()))
        assert set(self.files.files) == needed

    @invariant()
    def what_is_stored_is_what_a_recount_finds(self) -> None:
        assert self.driver.job_store.quotas.recount_usage() == 0

    @invariant()
    def what_is_needed_is_there(self) -> None:
        for job in self.living():
            assert self.datasets[job] <= set(self.files.files)

    @invariant()
    def running_jobs_are_those_of_claims_or_lost(self) -> None:
        running = self.driver.job_store.reader.count()[JobState.RUNNING]
        assert running <= len(self.claims)


ArchivesMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    # Each step is several commits: to shorten a failing order would take minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestAnyOrderOfOperations = ArchivesMachine.TestCase
