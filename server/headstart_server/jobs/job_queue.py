"""The queue of jobs: submission, claims and their leases, cancellation and deletion."""

from collections.abc import Callable, Collection, Mapping

import structlog
from sqlalchemy import Connection, delete, select, update

from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.tables import jobs
from headstart_server.errors import DatabaseUnavailable, StorageFull
from headstart_server.jobs import claiming, cleaning, recovery, rows, submitting
from headstart_server.jobs.claiming import Claimant, ClaimResult, ReplicaSettings
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.quotas import Quotas
from headstart_server.jobs.submitting import Submission
from headstart_server.settings.secret import Secret

log = structlog.get_logger(__name__)


class JobQueue:
    """Accepts jobs and hands them to replicas. Each method but `delete` is one transaction.

    Args:
        webhook: URL for jobs without their own; None for no webhook.
        on_taken_over: called for each job that is taken over from a dead process.
    """

    def __init__(
        self,
        database: Database,
        notifier: JobNotifier,
        quotas: Quotas,
        replica: ReplicaSettings,
        *,
        webhook: str | None = None,
        on_taken_over: Callable[[], None] = lambda: None,
        on_claim_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._quotas = quotas
        self._replica = replica
        self._webhook = Secret.of(webhook)
        self._on_taken_over = on_taken_over
        self._on_claim_failed = on_claim_failed

    @property
    def owner(self) -> str:
        """Name of this replica: host name and a UUID of the process."""
        return self._replica.owner

    def submit(self, submission: Submission) -> Job:
        """Accept a job. When this returns, the job is durable and will run to an end.

        Returns:
            The job, or the earlier job if the submission's request ID was accepted before.

        Raises:
            QuotaExceeded or TenantQuotaExceeded: the model or the tenant may not have another version.
            ExamplesNotKept: an archive that it needs may have been removed.
            FeedbackChangedError: the feedback that it trains on has changed.
            DatabaseUnavailable: the database does not answer; the job may still be accepted.
        """
        full = None
        with self._database.write("jobs.submit") as connection:
            # Replicas must not accept the same request, or exceed the limit of the queue, concurrently.
            self._database.lock(connection, Lock.QUEUE)
            earlier = submitting.replayed(
                connection, submission.tenant, submission.request_id, submission.request_hash
            )
            if earlier is not None:
                return earlier
            full = self._quotas.fullness(connection, submission.tenant)
            if full is None:
                self._quotas.check_submission(connection, submission)
                now = self._database.now(connection)
                webhook = self._webhook.reveal() if self._webhook else None
                job = submitting.add(connection, submission, now, webhook)
                self._quotas.check_added(connection, submission)
        if full is not None:
            raise self._quotas.queue_full_error(full)
        self._notifier.publish(job.job_id)
        return job

    def replayed(self, request_id: str, request_hash: str | None = None, tenant: str = "") -> Job | None:
        """Return the job of an accepted request ID, if the hash of the request is the same or unknown."""
        with self._database.snapshot() as connection:
            return submitting.replayed(connection, tenant, request_id, request_hash)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: a queued one ends now, a running one at its next check, an ended one stays."""
        with self._database.write("jobs.cancel") as connection:
            row = rows.row_of(connection, job_id, lock=True)
            if row.state == JobState.QUEUED.value:
                now = self._database.now(connection)
                recovery.end(connection, row, JobState.CANCELLED, now=now, attempt=row.attempt, cancel=1)
            elif row.state == JobState.RUNNING.value:
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(cancel=1))
            job = rows.get(connection, job_id)
        self._notifier.publish(job_id)
        return job

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its events; its version stays."""
        until = 0
        is_deleted = False
        while not is_deleted:
            until += cleaning.EVENTS_AT_ONCE
            with self._database.write("jobs.delete") as connection:
                job = rows.get(connection, job_id, lock=True)
                cleaning.check_deletable(job)
                is_deleted = job.last_event <= until
                if is_deleted:
                    connection.execute(delete(jobs).where(jobs.c.job_id == job_id))
                else:
                    cleaning.remove_events(connection, job_id, until)
        self._notifier.publish(job_id)

    def claim(
        self, held: Collection[str] = (), *, may_take_over: bool = True, used_bytes: int = 0
    ) -> Job | None:
        """Claim the next job to run; return None if no job can start here now.

        Jobs of dead processes come first, then jobs of the highest priority, then the oldest. A job that was
        canceled, or crashed too often while it ran alone, ends here. A job with an unreadable row fails;
        other jobs continue.

        Args:
            held: the jobs that this process runs.
            may_take_over: whether silent owners can be considered dead.
            used_bytes: estimated bytes of the jobs and other work that this process runs.
        """
        claimant = Claimant(
            replica=self._replica,
            limits=self._quotas.queue_limits,
            held=held,
            may_take_over=may_take_over,
            used_bytes=used_bytes,
        )
        try:
            with self._database.read() as connection:
                if not claiming.is_any(connection, claimant, self._database.now(connection)):
                    return None
            return self._claim(claimant)
        except (DatabaseUnavailable, StorageFull):
            raise
        except Exception:
            self._on_claim_failed()
            log.exception("job_claim_failed", remedy="Jobs are now claimed one by one.")
            return self._claim_one_by_one(claimant)

    def renew(self, held: Collection[Job]) -> Mapping[str, bool]:
        """Renew the leases of this process; return whether each job that it still owns was canceled."""
        if not held and not self._database.is_shared:
            with self._database.read() as connection:
                connection.execute(select(1)).scalar()
            return {}
        replica = self._replica
        with self._database.write("jobs.heartbeat", is_heartbeat=True) as connection:
            now = self._database.now(connection)
            if self._database.is_shared:
                claiming.show_presence(connection, replica.owner, replica.slots, now, replica.lease_seconds)
            if not held:
                return {}
            return claiming.renew(connection, held, replica.owner, now + replica.lease_seconds)

    def has_other_replicas(self) -> bool:
        """Return whether other replicas are alive."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            return claiming.has_other_replicas(connection, self.owner, now, self._replica.lease_seconds)

    def is_silent(self, connection: Connection, owner: str) -> bool:
        """Return whether another process was not seen within a lease."""
        now = self._database.now(connection)
        return claiming.is_silent(connection, owner, now, self._replica.lease_seconds)

    def expire_leases(self) -> int:
        """Expire every lease, if no other process can run jobs; return the number of running jobs."""
        with self._database.write("jobs.expire_leases") as connection:
            return claiming.expire(connection)

    def leave(self) -> None:
        """Record that this process claims no more jobs."""
        if self._database.is_shared:
            with self._database.write("replicas.leave") as connection:
                claiming.leave(connection, self.owner)

    def _claim(self, claimant: Claimant, only: str | None = None) -> Job | None:
        with self._database.write("jobs.claim") as connection:
            self._database.lock(connection, Lock.QUEUE)
            found = claiming.claim(connection, claimant, self._database.now(connection), only=only)
        self._note_claim(found)
        return found.job

    def _claim_one_by_one(self, claimant: Claimant) -> Job | None:
        """Claim the first job that can be claimed; fail jobs that cannot."""
        with self._database.read() as connection:
            job_ids = claiming.to_try(connection, claimant, self._database.now(connection))
        for job_id in job_ids:
            try:
                job = self._claim(claimant, job_id)
            except (DatabaseUnavailable, StorageFull):
                raise
            except Exception as error:  # noqa: BLE001 - recorded as the job's end
                self._fail_unclaimable(job_id, f"{type(error).__name__}: {error}")
            else:
                if job is not None:
                    return job
        return None

    def _fail_unclaimable(self, job_id: str, cause: str) -> None:
        try:
            with self._database.write("jobs.claim") as connection:
                self._database.lock(connection, Lock.QUEUE)
                claiming.fail(connection, job_id, cause, self._database.now(connection))
        except (DatabaseUnavailable, StorageFull):
            raise
        except Exception:
            # The job stays in its state. The alert on failed claims notifies an operator.
            log.exception("job_end_write_failed", job_id=job_id)
            return
        self._note_claim(ClaimResult(job=None, failed=[(job_id, cause)]))

    def _note_claim(self, found: ClaimResult) -> None:
        for job_id, cause in found.failed:
            self._on_claim_failed()
            log.error("job_failed", job_id=job_id, reason="INTERNAL", error=cause)
        for lost in found.recovered:
            log.warning(
                "job_taken_over",
                replica=self.owner,
                job_id=lost.job_id,
                crashes=lost.crashes,
                previous_owner=lost.owner,
                has_ended=lost.has_ended,
            )
            self._on_taken_over()
        changed = {job_id for job_id, _ in found.failed} | {lost.job_id for lost in found.recovered}
        for job_id in changed | ({found.job.job_id} if found.job else set()):
            self._notifier.publish(job_id)
