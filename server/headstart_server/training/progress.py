"""Reports of a run's progress: its steps, their progress, and the findings so far."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from headstart_server.errors import DatabaseUnavailable, StorageUnavailable
from headstart_server.jobs.job import Findings, Job, JobStep, Progress
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing

#: Seconds between two progress events of one step: each is a commit, which waits for the disk.
REPORT_SECONDS = 0.5
#: Seconds between two tries while the database or the bucket is unavailable.
RETRY_SECONDS = 0.25
#: The completed fraction of a job when each step begins.
_BEGINS = {JobStep.FEATURES: 0.0, JobStep.FIT: 0.85, JobStep.EVALUATE: 0.95, JobStep.PUBLISH: 0.97}
#: The same for a job that selects its backbone: the selection computes the features.
_BEGINS_CHOOSING = {**_BEGINS, JobStep.SELECT_BACKBONE: 0.0, JobStep.FEATURES: 0.75}
_FOLLOWING = {
    JobStep.SELECT_BACKBONE: JobStep.FEATURES,
    JobStep.FEATURES: JobStep.FIT,
    JobStep.FIT: JobStep.EVALUATE,
}

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressTools:
    """The objects that the reporters of all jobs share."""

    runs: JobRuns
    observer: Telemetry  # receives finished steps
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep  # waits for a number of seconds
    tracing: Tracing = NO_TRACING


class ProgressReporter:
    """Reports the progress of one attempt at a job to the job store and an observer. Used by one thread.

    Args:
        checkpoint: called between pieces of work; raises to stop.

    Attributes:
        findings: the findings so far, which are stored when the job ends in any way.
        staged: name of the stored fit; None without one.
    """

    def __init__(self, job: Job, tools: ProgressTools, checkpoint: Callable[[], None]) -> None:
        self.job = job
        self.checkpoint = checkpoint
        self.clock = tools.clock
        self.findings = Findings()
        self.staged = job.staged
        self._tools = tools
        self._last_report = float("-inf")
        self._begins = _BEGINS_CHOOSING if job.spec.selects_backbone else _BEGINS

    @contextmanager
    def step(self, step: JobStep) -> Iterator[None]:
        """Run a step of the job in the block, and record its time."""
        self.checkpoint()
        started = self.clock()
        with self._tools.tracing.step(step.value):
            yield
        seconds = self.clock() - started
        self.add_seconds(step.value, seconds)
        self._tools.observer.step_finished(step.value, seconds)

    def seconds(self, step: JobStep) -> float:
        """Return the seconds of a finished step; 0 before its end."""
        return self.findings.step_seconds.get(step.value, 0.0)

    def seconds_so_far(self) -> float:
        """Return the seconds of all finished steps."""
        return sum(map(self.seconds, JobStep))

    def add_seconds(self, name: str, seconds: float) -> None:
        """Add to the seconds of a step or a part of one."""
        times = dict(self.findings.step_seconds)
        times[name] = times.get(name, 0.0) + seconds
        self.findings = replace(self.findings, step_seconds=times)

    def report(
        self,
        step: JobStep,
        done: int,
        total: int,
        metrics: Metrics | None = None,
        *,
        message: str = "",
        part: float | None = None,
        force: bool = False,
        choosing: dict[str, Any] | None = None,
    ) -> None:
        """Store the progress of the job, unless it was stored a moment ago.

        Args:
            total: number of the step's items; 0 if they cannot be counted.
            metrics: metrics of the head, once known.
            part: the completed fraction of the step; None for `done / total`.
            choosing: the checkpoint of the backbone selection; None keeps the stored one.

        Raises:
            JobCancelledError: the job's cancellation was requested.
            JobLostError: the job belongs to another attempt.
        """
        now = self.clock()
        if not force and now - self._last_report < REPORT_SECONDS:
            return
        self._last_report = now
        progress = self.progress(step, done, total, metrics, message=message, part=part)
        # Without the database the work continues, as long as the claim is certain.
        with suppress(DatabaseUnavailable):
            self._tools.runs.report(self.job, progress, self.findings, staged=self.staged, choosing=choosing)

    def progress(
        self,
        step: JobStep,
        done: int,
        total: int,
        metrics: Metrics | None = None,
        *,
        message: str = "",
        part: float | None = None,
    ) -> Progress:
        """Return the progress of the job; the arguments are those of `report`."""
        begin, end = self._begins[step], self._begins[_FOLLOWING.get(step, step)]
        if part is None:
            part = done / total if total else 0.0
        return Progress(
            step=step,
            fraction=1.0 if step is JobStep.PUBLISH else begin + part * (end - begin),
            done=done,
            total=total,
            loss=metrics.log_loss if metrics else None,
            accuracy=metrics.accuracy if metrics else None,
            message=message,
        )

    def retry_until_available(self, call: Callable[[], Answer]) -> Answer:
        """Repeat a call until the bucket answers, while this run owns the job: the job is not at fault."""
        while True:
            try:
                return call()
            except StorageUnavailable:
                self.pause()
                self.checkpoint()

    def pause(self) -> None:
        """Wait before the next try."""
        self._tools.sleep(RETRY_SECONDS)
