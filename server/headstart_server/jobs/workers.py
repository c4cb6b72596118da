"""The threads that run jobs."""

import random
import threading
import time
from collections.abc import Callable

import structlog

from headstart_server.errors import DatabaseUnavailable, JobTimeLimit, StorageFull
from headstart_server.jobs.heartbeat import Claim, Heartbeat
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_runner import InterruptedRunError, JobRunner
from headstart_server.jobs.reservations import Reservations

log = structlog.get_logger(__name__)

#: Mean seconds between two claims while no call wakes the pool.
POLL_SECONDS = 0.75


def time_limit_error(what: str, seconds: float) -> JobTimeLimit:
    """Return the error of work that reached the time limit of jobs."""
    return JobTimeLimit(
        f"{what} reached the time limit of {seconds / 3600:g} hours (--job-time-limit). Use fewer examples, "
        "a smaller backbone, or a time_budget of the recipe.",
        metadata={"limit_seconds": f"{seconds:g}"},
    )


class WorkerPool:
    """Claims jobs and runs each in a thread. A failing job never ends its thread.

    Args:
        on_end: called with the ID of each job that ended.
        size: number of threads, and of concurrent jobs.
        time_limit: seconds after which a run fails.
        reservations: the work other than jobs of this process; None for no other work.
    """

    def __init__(
        self,
        queue: JobQueue,
        heartbeat: Heartbeat,
        runner: JobRunner,
        on_end: Callable[[str], None],
        *,
        size: int,
        time_limit: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        reservations: Reservations | None = None,
    ) -> None:
        self._queue = queue
        self._heartbeat = heartbeat
        self._runner = runner
        self._on_end = on_end
        self._clock = clock
        self._time_limit = time_limit
        self._changed = threading.Condition()
        self._reservations = reservations or Reservations(heartbeat)
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
        """Stop claiming, return running jobs to the queue at their next checkpoint, and wait for the threads.

        Args:
            timeout: maximum seconds to wait. Jobs that still run then also return to the queue, and the fence
                rejects later writes of their runs.
        """
        self._runner.stop()
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
                # A wake since the claim must not be missed.
                if self._wakes == seen and not self._stopping:
                    self._changed.wait(POLL_SECONDS * random.uniform(0.67, 1.33))  # noqa: S311 - no secret

    def step(self) -> bool:
        """Claim one job and run it to its end; return False if none could be claimed."""
        claim = self._claim()
        if claim is not None:
            self._attempt(claim)
        return claim is not None

    def _claim(self) -> Claim | None:
        # One claim at a time, because whether a job may start depends on the claimed jobs.
        with self._reservations.claiming:
            if self._heartbeat.runs_alone or self._reservations.runs_alone:
                return None
            called = self._clock()
            try:
                job = self._queue.claim(
                    self._heartbeat.claimed_ids,
                    may_take_over=self._heartbeat.may_take_over,
                    used_bytes=self._reservations.used_bytes,
                )
            except (DatabaseUnavailable, StorageFull):
                # The heartbeat logs an outage, and the database a full disk.
                return None
            except Exception:
                log.exception("job_claim_failed")
                return None
            if job is None:
                return None
            self._runner.log(job).info("job_claimed", attempt=job.attempt)
            return self._heartbeat.track(job, called)

    def _attempt(self, claim: Claim) -> None:
        job = claim.job
        late = self._clock() + self._time_limit

        def checkpoint() -> None:
            while True:
                claim.check()
                if self._clock() >= late:
                    raise time_limit_error("The job", self._time_limit)
                if self._stopping:
                    raise InterruptedRunError(job.job_id)
                if not claim.may_have_expired:
                    return
                self._heartbeat.renew_or_wait()

        try:
            outcome = self._runner.run(job, checkpoint)
        finally:
            self._heartbeat.release(claim)
        try:
            self._runner.count(outcome)
            if outcome in ("succeeded", "failed", "cancelled"):
                self._on_end(job.job_id)
        except Exception:  # noqa: BLE001 - logged with its stack trace
            # The next cleaning removes its leftovers.
            self._runner.log(job).exception("job_cleanup_failed")
