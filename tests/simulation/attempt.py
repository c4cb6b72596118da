"""Attempts at jobs whose examples are never read."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from fakes import make_manifest
from headstart_server.errors import DatabaseUnavailable, StorageUnavailable
from headstart_server.jobs.job import Findings, Job, JobStep
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.training.progress import ProgressReporter

if TYPE_CHECKING:
    from simulation.replica import Replica


class Attempt:
    """An attempt at a job; `execute` runs it."""

    def __init__(self, replica: "Replica", job: Job, checkpoint: Callable[[], None]) -> None:
        self._replica = replica
        self._job = job
        self._checkpoint = checkpoint
        self._progress = ProgressReporter(job, replica.progress_tools(), checkpoint)

    @property
    def findings(self) -> Findings:
        """The findings so far."""
        return self._progress.findings


class SimulatedRun(Attempt):
    """An attempt that takes the time its plan says and publishes a version, as a fine-tune does."""

    def execute(self) -> int:
        seconds = self._replica.world.seconds_of(self._job)
        for step in (JobStep.FEATURES, JobStep.FIT):
            with self._progress.step(step):
                self._progress.report(step, 0, 2, force=True)
                for _ in range(2):
                    self._replica.world.scheduler.sleep(seconds / 4)
                    self._checkpoint()
        if self._replica.world.is_storage_away(self._job):
            raise StorageUnavailable("The bucket does not answer.")
        artifact = f"{self._job.job_id}.{self._job.attempt}"
        with self._progress.step(JobStep.PUBLISH):
            self._progress.retry_until_available(
                lambda: self._replica.folder.write(artifact, {"head": b"h", "manifest": b"m"})
            )
        try:
            return self._publish(artifact)
        except (JobCancelledError, JobLostError):
            with suppress(StorageUnavailable):
                self._replica.folder.remove(artifact)
            raise

    def _publish(self, artifact: str) -> int:
        job = self._job
        manifest = make_manifest(job.spec.model, job.job_id)
        while True:
            try:
                return self._replica.job_store.runs.succeed(
                    job,
                    self._progress.progress(JobStep.PUBLISH, 1, 1),
                    self.findings,
                    artifact=artifact,
                    size_bytes=2,
                    manifest=manifest,
                )
            except DatabaseUnavailable:
                self._replica.world.scheduler.sleep(0.25)
                with suppress(JobCancelledError, JobLostError):
                    self._checkpoint()
