"""Runs claimed jobs and records how they end."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from headstart_server.errors import (
    ArtifactDamaged,
    DatabaseUnavailable,
    Draining,
    HeadstartError,
    JobMemoryLimit,
    JobTimeLimit,
    LocalStorageUnavailable,
    ServiceUnavailable,
)
from headstart_server.jobs.job import Findings, Job, JobError
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.running import ExampleErasedError, JobCancelledError, JobLostError
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

#: Seconds between two attempts to record the end of a job while the database is unavailable.
RETRY_SECONDS = 0.25
#: Minimum and maximum seconds before a job runs again after the storage failed.
FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0
#: Maximum retries of a job whose archive is missing, while other replicas, which may find it, are alive.
MISSING_TRIES = 3
#: A job fails after this many storage failures, an hour or more after the first.
MAX_STORAGE_RETRIES = 20


def is_missing(error: ArtifactDamaged) -> bool:
    """Return whether a file is missing, and not only damaged."""
    return isinstance(error.__cause__, FileNotFoundError)


def retry_seconds(retries: int) -> float:
    """Return the seconds before the next run of a job after `retries` storage failures."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(retries, 10), MAX_RETRY_SECONDS)


class Run(Protocol):
    """One attempt at a job."""

    @property
    def findings(self) -> Findings:
        """The findings so far."""

    def execute(self) -> int:
        """Execute the run; return the number of the published version."""


class InterruptedRunError(Exception):
    """The server stops, or an example was erased: the job goes back to the queue."""


class StorageRetryError(Exception):
    """The storage failed: the job goes back to the queue, and its next run begins later."""


class JobRunner:
    """Runs claimed jobs, one in each thread, and records how they end.

    Args:
        make_run: creates the run of a claimed job. Its second argument is the checkpoint, which the run must
            call between pieces of work. The checkpoint raises to stop the run, and blocks while the claim may
            have expired.
        observer: counts ends.
        sleep: waits for the given seconds.
    """

    def __init__(
        self,
        queue: JobQueue,
        runs: JobRuns,
        make_run: Callable[[Job, Callable[[], None]], Run],
        observer: Telemetry,
        *,
        sleep: Callable[[float], None] = time.sleep,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._make_run = make_run
        self._observer = observer
        self._sleep = sleep
        self._tracing = tracing
        self._stopping = False

    def stop(self) -> None:
        """Requeue jobs that fail from now on, because the server may already close objects that they use."""
        self._stopping = True

    def log(self, job: Job) -> structlog.typing.FilteringBoundLogger:
        """Return the log of a job's run."""
        bound: structlog.typing.FilteringBoundLogger = log.bind(
            replica=self._queue.owner, job_id=job.job_id, model=job.spec.model
        )
        return bound

    def count(self, outcome: str) -> None:
        """Count the end of a run."""
        self._observer.job_ended(outcome)

    def run(self, job: Job, checkpoint: Callable[[], None]) -> str:
        """Run a job to its end, and return how it ended."""
        span = self._tracing.job(job.job_id, job.spec.model, job.attempt, job.trace_context)
        try:
            outcome = self._outcome(job, self._make_run(job, checkpoint))
        except Exception:  # noqa: BLE001 - logged with its stack trace
            # The end could not be written. When the lease ends, a replica takes the job over.
            self.log(job).exception("job_end_write_failed")
            outcome = "lost"
        span.end(outcome)
        return outcome

    def _outcome(self, job: Job, run: Run) -> str:
        try:
            try:
                number = self._number(job, run)
            except HeadstartError as error:
                self._fail(job, run, error.reason, error.message, error.metadata)
                self.log(job).warning("job_failed", reason=error.reason, error=error.message)
                return "failed"
            except (JobCancelledError, JobLostError, InterruptedRunError, StorageRetryError):
                raise
            except Exception:  # noqa: BLE001 - logged with its stack trace
                fault = uuid.uuid4().hex
                self.log(job).exception("job_failed", reason="INTERNAL", fault=fault)
                self._fail(job, run, "INTERNAL", f"A fault of the server; its log has id {fault}.", {})
                return "failed"
            self.log(job).info("job_succeeded", version=number)
            return "succeeded"
        except JobCancelledError:
            self._persist(lambda: self._runs.finish_cancelled(job))
            self.log(job).info("job_cancelled")
            return "cancelled"
        except (InterruptedRunError, StorageRetryError) as error:
            return self._requeue(job, error)
        except JobLostError:
            self.log(job).warning("job_lost")
            return "lost"

    def _requeue(self, job: Job, error: InterruptedRunError | StorageRetryError) -> str:
        """Put a job back into the queue; after a failure of the storage its next run begins later."""
        if isinstance(error, InterruptedRunError):
            self._persist(lambda: self._runs.release(job))
            self.log(job).info("job_released")
            return "released"
        seconds = retry_seconds(job.storage_retries)
        self._persist(lambda: self._runs.postpone(job, seconds))
        self.log(job).warning(
            "job_postponed",
            retry_seconds=seconds,
            error=str(error.__cause__),
        )
        return "postponed"

    def _number(self, job: Job, run: Run) -> int:
        try:
            return run.execute()
        except (JobCancelledError, JobLostError):
            raise
        except MemoryError as error:
            raise JobMemoryLimit(
                f"The job ran out of memory; it was estimated to take {job.memory_bytes / 2**20:,.0f} MiB. "
                "Use fewer examples, or a backbone with fewer features.",
                metadata={"estimate": str(job.memory_bytes)},
            ) from error
        except ArtifactDamaged as error:
            if job.storage_retries >= MISSING_TRIES or not is_missing(error):
                raise
            with suppress(DatabaseUnavailable):
                if not self._queue.has_other_replicas():
                    raise
            # Another replica may find the archive, if this one is configured with the wrong storage.
            raise StorageRetryError(job.job_id) from error
        except LocalStorageUnavailable as error:
            if job.storage_retries >= MAX_STORAGE_RETRIES:
                raise
            raise StorageRetryError(job.job_id) from error
        except (ServiceUnavailable, Draining) as error:
            # The job is not at fault. It waits in the queue for the database, the bucket or another server.
            raise InterruptedRunError(job.job_id) from error
        except ExampleErasedError as error:
            # The next attempt leaves the example out.
            raise InterruptedRunError(job.job_id) from error
        except Exception as error:
            if self._stopping:
                # After the grace period, objects that the run uses may be closed. The job is not at fault,
                # and its next attempt will show whether it fails.
                raise InterruptedRunError(job.job_id) from error
            raise

    def _fail(self, job: Job, run: Run, reason: str, message: str, metadata: dict[str, str]) -> None:
        if reason in (JobTimeLimit.reason, JobMemoryLimit.reason):
            self._observer.job_limited(reason)
        error = JobError(reason=reason, message=message, metadata=metadata)
        self._persist(lambda: self._runs.fail(job, error, run.findings))

    def _persist(self, write: Callable[[], None]) -> None:
        """Repeat a write until the database answers. The fence rejects it if the run lost the job."""
        while True:
            try:
                write()
                return
            except DatabaseUnavailable:
                self._sleep(RETRY_SECONDS)
