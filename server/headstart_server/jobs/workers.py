"""The threads that run jobs."""

import random
import threading
import time
import uuid
from collections.abc import Callable
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
from headstart_server.jobs.heartbeat import Claim, Heartbeat
from headstart_server.jobs.job import Findings, Job, JobError
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

#: Mean seconds between two claims while no call wakes the pool.
POLL_SECONDS = 0.75
#: Seconds between two tries to record the end of a job while the database is unavailable.
RETRY_SECONDS = 0.25


#: Seconds before a job runs again after the storage failed: the first time, and at most.
FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0
#: Runs of a job whose archive is missing, while other replicas are alive that may find it.
MISSING_TRIES = 3
#: A job fails after this many runs that the storage ended, an hour or more after the first.
MAX_STORAGE_RETRIES = 20


def is_missing(error: ArtifactDamaged) -> bool:
    """Return whether a file is missing, and not only damaged."""
    return isinstance(error.__cause__, FileNotFoundError)


def retry_seconds(retries: int) -> float:
    """Return the seconds before a job runs again whose runs the storage has ended so often before."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(retries, 10), MAX_RETRY_SECONDS)


class Run(Protocol):
    """One attempt at a job."""

    @property
    def findings(self) -> Findings:
        """What was found so far."""

    def execute(self) -> int:
        """Carry it out; returns the number of the version published."""


class InterruptedRunError(Exception):
    """The server stops: the job goes back to the queue."""


class StorageRetryError(Exception):
    """The storage failed: the job goes back to the queue, and its next run begins later."""


class WorkerPool:
    """Claims jobs and runs each in a thread. No job can end a thread of it.

    Args:
        make_run: makes the run of a claimed job; its second argument is the checkpoint that the run must call
            between pieces of work, and that raises to stop it. While the job's claim is in doubt it does not
            return.
        on_end: called with the id of each job that reached its end.
        size: number of threads, and so of jobs that run at once.
        time_limit: seconds after which a run fails.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        job_store: JobStore,
        heartbeat: Heartbeat,
        make_run: Callable[[Job, Callable[[], None]], Run],
        on_end: Callable[[str], None],
        observer: Telemetry,
        *,
        size: int,
        time_limit: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._tracing = tracing
        self._job_store = job_store
        self._heartbeat = heartbeat
        self._make_run = make_run
        self._on_end = on_end
        self._observer = observer
        self._clock = clock
        self._time_limit = time_limit
        self._sleep = sleep
        self._changed = threading.Condition()
        self._claiming = threading.Lock()
        self._wakes = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{place}", daemon=True) for place in range(size)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Wake the pool after a job was queued."""
        with self._changed:
            self._wakes += 1
            self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Claim no more, give running jobs back at their next checkpoint, and wait for the threads.

        Args:
            timeout: maximum seconds to wait. Jobs that still run then return to the queue as well, and the
                fence rejects what their runs write afterwards.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._heartbeat.release_all()

    def _work(self) -> None:
        while not self._stopping:
            with self._changed:
                seen = self._wakes
            if self.step():
                continue
            with self._changed:
                # A wake between the claim and here must not be missed.
                if self._wakes == seen and not self._stopping:
                    self._changed.wait(POLL_SECONDS * random.uniform(0.67, 1.33))  # noqa: S311 - no secret

    def step(self) -> bool:
        """Claim one job and run it to its end; return False if none could be claimed."""
        claim = self._claim()
        if claim is not None:
            self._attempt(claim)
        return claim is not None

    def _claim(self) -> Claim | None:
        # One claim at a time: whether a job may start depends on the jobs in hand.
        with self._claiming:
            if self._heartbeat.runs_alone:
                return None
            called = self._clock()
            try:
                job = self._job_store.queue.claim(
                    self._heartbeat.claimed_ids,
                    may_take_over=self._heartbeat.may_take_over,
                    used_bytes=self._heartbeat.used_bytes,
                )
            except DatabaseUnavailable:
                # The heartbeat logs it.
                return None
            except Exception:
                log.exception("job_claim_failed")
                return None
            if job is None:
                return None
            self._log(job).info("job_claimed", attempt=job.attempt)
            return self._heartbeat.track(job, called)

    def _log(self, job: Job) -> structlog.typing.FilteringBoundLogger:
        bound: structlog.typing.FilteringBoundLogger = log.bind(
            replica=self._job_store.queue.owner, job_id=job.job_id, model=job.spec.model
        )
        return bound

    def _attempt(self, claim: Claim) -> None:
        job = claim.job
        late = self._clock() + self._time_limit

        def checkpoint() -> None:
            while True:
                claim.check()
                if self._clock() >= late:
                    raise JobTimeLimit(
                        f"The job ran for {self._time_limit / 3600:g} hours, as long as this server allows "
                        "(--job-time-limit). Use fewer examples, a smaller backbone, or a time_budget "
                        "of the recipe.",
                        metadata={"limit_seconds": f"{self._time_limit:g}"},
                    )
                if self._stopping:
                    raise InterruptedRunError(job.job_id)
                if not claim.may_have_expired:
                    return
                self._heartbeat.renew_or_wait()

        span = self._tracing.job(job.job_id, job.spec.model, job.attempt, job.trace_context)
        try:
            run = self._make_run(job, checkpoint)
            outcome = self._outcome(job, run)
        except Exception:  # noqa: BLE001 - logged with its stack trace
            # The end could not be written. Its lease ends, and then some replica takes the job over.
            self._log(job).exception("job_end_write_failed")
            outcome = "lost"
        finally:
            self._heartbeat.release(claim)
        span.end(outcome)
        try:
            self._observer.job_ended(outcome)
            if outcome in ("succeeded", "failed", "cancelled"):
                self._on_end(job.job_id)
        except Exception:  # noqa: BLE001 - logged with its stack trace
            # What it left behind goes with the next cleaning.
            self._log(job).exception("job_cleanup_failed")

    def _outcome(self, job: Job, run: Run) -> str:
        try:
            try:
                number = self._number(job, run)
            except HeadstartError as error:
                self._fail(job, run, error.reason, error.message, error.metadata)
                self._log(job).warning("job_failed", reason=error.reason, error=error.message)
                return "failed"
            except (JobCancelledError, JobLostError, InterruptedRunError, StorageRetryError):
                raise
            except Exception:  # noqa: BLE001 - logged with its stack trace
                fault = uuid.uuid4().hex
                self._log(job).exception("job_failed", reason="INTERNAL", fault=fault)
                self._fail(job, run, "INTERNAL", f"A fault of the server; its log has id {fault}.", {})
                return "failed"
            self._log(job).info("job_succeeded", version=number)
            return "succeeded"
        except JobCancelledError:
            self._persist(lambda: self._job_store.runs.finish_cancelled(job))
            self._log(job).info("job_cancelled")
            return "cancelled"
        except (InterruptedRunError, StorageRetryError) as error:
            return self._requeue(job, error)
        except JobLostError:
            self._log(job).warning("job_lost")
            return "lost"

    def _requeue(self, job: Job, error: InterruptedRunError | StorageRetryError) -> str:
        """Put a job back into the queue; after a failure of the storage its next run begins later."""
        if isinstance(error, InterruptedRunError):
            self._persist(lambda: self._job_store.runs.release(job))
            self._log(job).info("job_released")
            return "released"
        seconds = retry_seconds(job.storage_retries)
        self._persist(lambda: self._job_store.runs.postpone(job, seconds))
        self._log(job).warning(
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
            if (
                job.storage_retries < MISSING_TRIES
                and is_missing(error)
                and self._job_store.queue.has_other_replicas()
            ):
                # Another replica may have it: this one cannot be sure that it looks in the right place.
                raise StorageRetryError(job.job_id) from error
            raise
        except LocalStorageUnavailable as error:
            if job.storage_retries >= MAX_STORAGE_RETRIES:
                raise
            raise StorageRetryError(job.job_id) from error
        except (ServiceUnavailable, Draining) as error:
            # No fault of the job: it waits for the database, the bucket or another server in the queue.
            raise InterruptedRunError(job.job_id) from error
        except Exception as error:
            if self._stopping:
                # What the run leans on may be closed beneath it once the grace is over. The job is not to
                # blame, and its next attempt shows whether it fails.
                raise InterruptedRunError(job.job_id) from error
            raise

    def _fail(self, job: Job, run: Run, reason: str, message: str, metadata: dict[str, str]) -> None:
        if reason in (JobTimeLimit.reason, JobMemoryLimit.reason):
            self._observer.job_limited(reason)
        error = JobError(reason=reason, message=message, metadata=metadata)
        self._persist(lambda: self._job_store.runs.fail(job, error, run.findings))

    def _persist(self, write: Callable[[], None]) -> None:
        """Write until the database has answered. The fence knows whether the job is still this run's."""
        while True:
            try:
                write()
                return
            except DatabaseUnavailable:
                self._sleep(RETRY_SECONDS)
