"""Renews the claims of this process, and receives the cancels that other replicas recorded."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from headstart_server.errors import DatabaseUnavailable, StorageFull
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.running import JobCancelledError, JobLostError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Durations of leases and renewals."""

    # seconds of silence after which a job is taken over. A busy process can be late by a second, and a
    # restarting database by several
    seconds: float = 10.0
    interval: float = 1.0  # seconds between two renewals, which also fetch cancels from other replicas


class DatabaseContact:
    """Time for which this process has been in contact with the database without a gap.

    After an outage longer than a lease, or a pause of this process, all owners look dead, but most only need
    a moment to renew their leases. Therefore no job is taken over before the contact has lasted for a lease.
    """

    def __init__(self, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._gap = max(lease.seconds / 2, lease.interval)
        self._last = self._since = float("-inf")

    def record(self) -> None:
        """Record an answer of the database."""
        now = self._clock()
        if now - self._last > self._gap:
            self._since = now
        self._last = now

    @property
    def is_steady(self) -> bool:
        """Whether a silent owner is dead, rather than this process disconnected."""
        now = self._clock()
        return now - self._last <= self._gap and now - self._since >= self._lease.seconds


log = structlog.get_logger(__name__)

#: Seconds between two attempts to reach the database, for a job that cannot continue without it.
RETRY_SECONDS = 0.5


class Claim:
    """A job that this process has claimed. Its run reads flags here instead of querying the database.

    Args:
        until: when the claim ends unless it is renewed, on the clock.
    """

    def __init__(self, job: Job, until: float, clock: Callable[[], float]) -> None:
        self.job = job
        self._until = until
        self._clock = clock
        self._cancelled = False
        self._lost = False

    def check(self) -> None:
        """Raise JobCancelledError if the job was canceled, and JobLostError if another attempt has it."""
        if self._lost:
            raise JobLostError(self.job.job_id)
        if self._cancelled:
            raise JobCancelledError(self.job.job_id)

    @property
    def may_have_expired(self) -> bool:
        """Whether the lease may have expired, so that another replica may run the job."""
        return not self._lost and self._clock() >= self._until

    def renew(self, until: float) -> None:
        """Record a renewal by the database."""
        self._until = max(self._until, until)

    def cancel(self) -> None:
        """Mark the job as canceled."""
        self._cancelled = True

    def lose(self) -> None:
        """Mark the job as lost to another attempt."""
        self._lost = True


class Heartbeat:
    """Renews the claims of this process in one statement, in a separate thread.

    Args:
        is_shared: whether there may be other replicas, which may be alive although they look dead.
        wait: waits for the given seconds; None waits until the heartbeat is stopped, at most as long.
    """

    def __init__(
        self,
        queue: JobQueue,
        runs: JobRuns,
        lease: Lease,
        *,
        is_shared: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._lease = lease
        self._is_shared = is_shared
        self._clock = clock
        self._contact = DatabaseContact(lease, clock)
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def claimed_ids(self) -> Collection[str]:
        """The IDs of the claimed jobs."""
        with self._lock:
            return list(self._claims)

    @property
    def runs_alone(self) -> bool:
        """Whether a claimed job must run alone."""
        with self._lock:
            return any(claim.job.runs_alone for claim in self._claims.values())

    @property
    def used_bytes(self) -> int:
        """Estimated bytes of the claimed jobs."""
        with self._lock:
            return sum(claim.job.memory_bytes for claim in self._claims.values())

    @property
    def may_take_over(self) -> bool:
        """Whether a silent owner can be considered dead."""
        return not self._is_shared or self._contact.is_steady

    def is_dead(self, connection: Connection, owner: str) -> bool:
        """Return whether another process is known to be dead."""
        return self.may_take_over and self._queue.is_silent(connection, owner)

    def track(self, job: Job, claimed: float) -> Claim:
        """Renew the claim of a job from now on; `claimed` is the clock before the claim."""
        claim = Claim(job, claimed + self._lease.seconds, self._clock)
        with self._lock:
            self._claims[job.job_id] = claim
        return claim

    def release(self, claim: Claim) -> None:
        """Stop renewing a claim."""
        with self._lock:
            if self._claims.get(claim.job.job_id) is claim:
                del self._claims[claim.job.job_id]

    def cancel(self, job_id: str) -> None:
        """Cancel the run of a job in this process without waiting for the next renewal."""
        with self._lock:
            claim = self._claims.get(job_id)
        if claim is not None:
            claim.cancel()

    def release_all(self) -> None:
        """Return the claimed jobs to the queue. The fence rejects later writes of their runs."""
        with self._lock:
            claims = list(self._claims.values())
        for claim in claims:
            try:
                self._runs.release(claim.job)
            except (DatabaseUnavailable, StorageFull):
                # The lease of the job will end, and another replica will take it over.
                log.warning("job_release_failed", job_id=claim.job.job_id)
            claim.lose()

    def renew_or_wait(self) -> None:
        """Renew all claims once, for a run whose claim may have expired; wait a little after a failure."""
        if not self.renew():
            self._wait(RETRY_SECONDS)

    def renew(self) -> bool:
        """Renew all claims; return False if that failed."""
        with self._lock:
            sent = dict(self._claims)
        # Read before the call: the database counts the lease from a later moment.
        until = self._clock() + self._lease.seconds
        try:
            renewed = self._queue.renew([claim.job for claim in sent.values()])
        except Exception as error:  # noqa: BLE001 - logged, and tried again at the next interval
            self._note_failure(error)
            return False
        self._is_failing = False
        self._contact.record()
        for job_id, claim in sent.items():
            if job_id not in renewed:
                claim.lose()
                continue
            claim.renew(until)
            if renewed[job_id]:
                claim.cancel()
        return True

    def _note_failure(self, error: Exception) -> None:
        # The circuit breaker logs outages.
        if not isinstance(error, DatabaseUnavailable) and not self._is_failing:
            log.exception("heartbeat_failed")
        self._is_failing = True

    def _run(self) -> None:
        while not self._stopped.wait(self._lease.interval):
            self.renew()
