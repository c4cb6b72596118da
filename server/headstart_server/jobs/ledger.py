"""The durable ledger of jobs: what was accepted, who runs it, and how it ended.

Every write of a run is fenced by the attempt of its claim and by the absence of a cancel, so that a run that
lost its job, or whose job was cancelled, can change nothing.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from sqlalchemy import delete, select, update

from headstart_server.auth.permissions import Scope
from headstart_server.auth.tenants import tenant_of
from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.tables import jobs
from headstart_server.errors import DatabaseUnavailable, JobQueueFull, TenantQuotaExceeded
from headstart_server.jobs import (
    claiming,
    cleaning,
    job_queries,
    quotas,
    rows,
    running,
    stored,
    submitting,
    usage_report,
    watching,
)
from headstart_server.jobs.claiming import Claimant, ClaimResult
from headstart_server.jobs.forecast import Forecast
from headstart_server.jobs.job import Findings, Job, JobError, JobEvent, JobState, Progress
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.limits import QueueLimits, TenantLimits
from headstart_server.jobs.recovery import MAX_CRASHES
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.jobs.stored import Stored
from headstart_server.jobs.submitting import QueueFullness, Submission
from headstart_server.jobs.usage_report import Usage
from headstart_server.jobs.watching import Position, Watched
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import usage
from headstart_server.models.registry import Registry
from headstart_server.models.version import Manifest
from headstart_server.settings.secret import Secret

__all__ = ["MAX_CRASHES", "JobCancelledError", "JobLostError", "Ledger", "Submission"]

log = structlog.get_logger(__name__)

#: Seconds after which to try again when the queue is full and nothing is known of its pace, and at most.
QUEUE_RETRY_SECONDS = 5.0
MAX_QUEUE_RETRY_SECONDS = 60.0


class Ledger:
    """Keeps jobs and their events. Each method is one transaction; several replicas may share the database.

    Args:
        database: holds the rows.
        registry: takes the version in the transaction that ends its job.
        notifier: is told of each job that changed, after the commit.
        owner: host name and a uuid of this process.
        limits: of the queue.
        slots: jobs that this process runs at once.
        lease_seconds: for how long a claim holds without being renewed.
        on_taken_over: called for each job that is taken from a process that died.
        on_claim_failed: called for each claim, and each row of one, that fails.
        memory_bytes: most bytes of the jobs of this process together, by their estimates; None for no limit.
        webhook: URL that is told of the ends of jobs that name none; None for none.
        backbones: names of those whose jobs this process claims, as in `Claimant`; None for all.
        trains_networks: whether this process claims jobs with the recipe `partial`.
        tenant_limits: gives how much a tenant may store; None for any amount.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        notifier: JobNotifier,
        *,
        owner: str,
        limits: QueueLimits | None = None,
        slots: int = 1,
        lease_seconds: float = 10.0,
        on_taken_over: Callable[[], None] = lambda: None,
        on_claim_failed: Callable[[], None] = lambda: None,
        memory_bytes: int | None = None,
        webhook: str | None = None,
        backbones: Collection[str] | None = None,
        trains_networks: bool = True,
        tenant_limits: Callable[[str], TenantLimits] | None = None,
    ) -> None:
        self._tenant_limits = tenant_limits or (lambda _: TenantLimits())
        self._database = database
        self._registry = registry
        self._notifier = notifier
        #: This replica: host name and a uuid of the process.
        self.owner = owner
        self._limits = limits or QueueLimits()
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._on_taken_over = on_taken_over
        self._on_claim_failed = on_claim_failed
        self._memory_bytes = memory_bytes
        self._webhook = Secret.of(webhook)
        self._backbones = backbones
        self._trains_networks = trains_networks
        self.forecast = Forecast(database, slots=slots, most=self._limits.running)

    # Accepting

    def submit(self, submission: Submission) -> Job:
        """Accept a job. Once this returns it is on disk and will run to one end.

        Returns:
            The job; another one than the submission's if its request id was accepted before.

        Raises:
            RequestIdReused: the request id was accepted before with other content.
            JobQueueFull: too many jobs are queued.
            QuotaExceeded or TenantQuotaExceeded: the model or the tenant may have no further version.
            ExamplesNotKept: an archive that it needs may be gone.
            DatabaseUnavailable: the database does not answer; the job may be accepted all the same.
        """
        full = None
        with self._database.write("jobs.submit") as connection:
            # Of two replicas that are sent the same request, or the last place in the queue, one is first.
            self._database.lock(connection, Lock.QUEUE)
            earlier = submitting.replayed(
                connection, submission.tenant, submission.request_id, submission.request_hash
            )
            if earlier is not None:
                return earlier
            full = submitting.fullness(connection, self._limits, submission.tenant)
            if full is None:
                model, tenant = submission.spec.model, submission.tenant
                quotas.check_versions(connection, self._limits.versions_per_model, model)
                quotas.check_aliases(connection, model, submission.spec.alias)
                limits = self._tenant_limits(tenant)
                stored.check_room(connection, limits, tenant, model, more_bytes=submission.nbytes)
                now = self._database.now(connection)
                job = submitting.add(
                    connection, submission, now, self._webhook.reveal() if self._webhook else None
                )
        if full is not None:
            raise self._queue_full(full)
        self._notifier.publish(job.job_id)
        return job

    def replayed(self, request_id: str, request_hash: str | None = None, tenant: str = "") -> Job | None:
        """The job of a request id that was accepted before; None if it was not.

        Args:
            request_id: the caller's id.
            request_hash: digest of all that the caller sent; None if that is not known yet.
            tenant: who asks.

        Raises:
            RequestIdReused: it was accepted with other content.
        """
        with self._database.snapshot() as connection:
            return submitting.replayed(connection, tenant, request_id, request_hash)

    def check_room(self, tenant: str = "") -> None:
        """Check that a job would be accepted now.

        Raises:
            JobQueueFull: too many jobs are queued.
        """
        with self._database.read() as connection:
            full = submitting.fullness(connection, self._limits, tenant)
        if full is not None:
            raise self._queue_full(full)

    def room_for(self, tenant: str, model: str, *, previews: bool = False) -> int | None:
        """Check that a tenant may store more.

        Args:
            tenant: the tenant.
            model: the model that it is for.
            previews: whether nothing shall stay of it: then there is as much room as for all.

        Returns:
            The bytes that there is room for; None for any number.

        Raises:
            TenantQuotaExceeded: it may not.
        """
        limits = self._tenant_limits(tenant)
        if limits == TenantLimits():
            return None
        if previews:
            return limits.stored_bytes or None
        with self._database.snapshot() as connection:
            return stored.check_room(connection, limits, tenant, model)

    def refusal(self, tenant: str, model: str, more_bytes: int) -> TenantQuotaExceeded:
        """Why a tenant may not store so many bytes more."""
        with self._database.snapshot() as connection:
            there = stored.stored(connection, tenant)
            return stored.over_bytes(connection, self._tenant_limits(tenant), there, model, more_bytes)

    def usage_of(self, tenant: str) -> Usage:
        """Return what a tenant stores and runs, and how much it may."""
        limits = self._tenant_limits(tenant)
        with self._database.snapshot() as connection:
            return usage_report.usage_of(connection, tenant, limits, self._limits)

    def usage(self) -> Mapping[str, Stored]:
        """What each tenant stores that stores something."""
        with self._database.snapshot() as connection:
            return stored.by_tenant(connection)

    def _queue_full(self, full: QueueFullness) -> JobQueueFull:
        seconds = self.forecast.seconds_to_next_start()
        if seconds is None:
            seconds = QUEUE_RETRY_SECONDS
        seconds = float(min(max(1, math.ceil(seconds)), MAX_QUEUE_RETRY_SECONDS))
        whose = "The job queue" if full.whose is None else "The job queue of the tenant"
        return JobQueueFull(
            f"{whose} is full: {full.queued} of at most {full.limit} are queued. Try again in "
            f"{seconds:.0f} s.",
            metadata={
                "limit": str(full.limit),
                "queued": str(full.queued),
                "queue_position": str(full.queued),
            },
            retry_after=seconds,
        )

    # Running

    def claim(
        self, held: Collection[str] = (), *, may_take_over: bool = True, used_bytes: int = 0
    ) -> Job | None:
        """Take the next job to run, or None if no job can start here now.

        Jobs whose process died come first, then those of the highest priority, then the oldest. A job that
        was asked to cancel, or crashed too often while it ran alone, ends here; one whose row cannot be
        claimed fails, and the others go on.

        Args:
            held: the jobs that this process is at work on.
            may_take_over: whether the silence of other owners means that they are dead.
            used_bytes: estimated bytes of the jobs that this process is at work on.
        """
        claimant = Claimant(
            owner=self.owner,
            lease_seconds=self._lease_seconds,
            limits=self._limits,
            held=held,
            may_take_over=may_take_over,
            backbones=self._backbones,
            trains_networks=self._trains_networks,
            memory_bytes=self._memory_bytes,
            used_bytes=used_bytes,
        )
        try:
            with self._database.read() as connection:
                if not claiming.is_any(connection, claimant, self._database.now(connection)):
                    return None
            return self._claim(claimant)
        except DatabaseUnavailable:
            raise
        except Exception:
            self._on_claim_failed()
            log.exception("job_claim_failed", remedy="Jobs are now claimed one by one.")
            return self._claim_one_by_one(claimant)

    def _claim(self, claimant: Claimant, only: str | None = None) -> Job | None:
        with self._database.write("jobs.claim") as connection:
            self._database.lock(connection, Lock.QUEUE)
            found = claiming.claim(connection, claimant, self._database.now(connection), only=only)
        self._note_claim(found)
        return found.job

    def _claim_one_by_one(self, claimant: Claimant) -> Job | None:
        """Claim the first job that can be claimed, and fail those that cannot."""
        with self._database.read() as connection:
            job_ids = claiming.to_try(connection, claimant, self._database.now(connection))
        for job_id in job_ids:
            try:
                job = self._claim(claimant, job_id)
            except DatabaseUnavailable:
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
        except DatabaseUnavailable:
            raise
        except Exception:
            # It stays where it is. The alert on failed claims calls for a person.
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

    def renew(self, held: Collection[Job]) -> Mapping[str, bool]:
        """Renew the leases of the jobs that this process is at work on, and tell others that it is there.

        Returns:
            For each job that is still its own, whether it was asked to cancel.
        """
        if not held and not self._database.is_shared:
            with self._database.read() as connection:
                connection.execute(select(1)).scalar()
            return {}
        with self._database.write("jobs.heartbeat", is_heartbeat=True) as connection:
            now = self._database.now(connection)
            if self._database.is_shared:
                claiming.show_presence(connection, self.owner, self._slots, now, self._lease_seconds)
            if not held:
                return {}
            return claiming.renew(connection, held, self.owner, now + self._lease_seconds)

    def has_other_replicas(self) -> bool:
        """Return whether other replicas are alive."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            return claiming.has_other_replicas(connection, self.owner, now, self._lease_seconds)

    def expire_leases(self) -> int:
        """Let every running job be taken over at once; only where no other process can be at work on one.

        Returns:
            The number of running jobs.
        """
        with self._database.write("jobs.expire_leases") as connection:
            return claiming.expire(connection)

    def leave(self) -> None:
        """Tell the other replicas that this process claims nothing any more."""
        if self._database.is_shared:
            with self._database.write("replicas.leave") as connection:
                claiming.leave(connection, self.owner)

    def report(
        self,
        job: Job,
        progress: Progress,
        findings: Findings,
        *,
        staged: str | None = None,
        choosing: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down how far a running job is, as its newest event.

        Args:
            job: the job as it was claimed.
            progress: how far it is.
            findings: what it found.
            staged: name of the version's files, once they are written: an attempt after this one need only
                publish them.
            choosing: what it found of backbones so far, for the next attempt; None for what was written last.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
            DatabaseUnavailable: the database does not answer.
        """
        values: dict[str, Any] = {"checkpoint": rows.checkpoint(progress, findings, staged)}
        if choosing is not None:
            values["choosing"] = choosing
        with self._database.write("jobs.report") as connection:
            now = self._database.now(connection)
            running.write(connection, job, JobState.RUNNING, progress, now=now, **values)
        self._notifier.publish(job.job_id)

    def succeed(
        self,
        job: Job,
        progress: Progress,
        findings: Findings,
        *,
        artifact: str,
        size_bytes: int,
        manifest: Manifest,
        promotion: Promotion | None = None,
    ) -> int:
        """End a job and publish its version, in one transaction. Safe to repeat after `DatabaseUnavailable`.

        Args:
            job: the job.
            progress: where it stands at its end.
            findings: what it found.
            artifact: where the version's files lie.
            size_bytes: their size.
            manifest: where the version came from.
            promotion: what was decided about the spec's alias; None moves it anyway.

        Returns:
            The version's number.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
            AliasMovedError: the alias names another version than the one that was judged; nothing was
                published.
            TenantQuotaExceeded: the tenant would store more than it may; nothing was published.
            DatabaseUnavailable: the database does not answer; the version may be published all the same.
        """
        spec, tenant = job.spec, tenant_of(job.spec.model)
        limits = self._tenant_limits(tenant)
        with self._database.write("jobs.succeed") as connection:
            if limits.stored_bytes:
                # Before any row is locked, as where a job is accepted: what counts there is seen here.
                self._database.lock(connection, Lock.QUEUE)
            now = self._database.now(connection)
            # The fence comes first: a run that lost its job must hear so, not that its job has a version.
            try:
                running.write(
                    connection,
                    job,
                    JobState.SUCCEEDED,
                    progress,
                    now=now,
                    checkpoint=rows.checkpoint(progress, findings),
                )
            except JobLostError:
                if not running.is_written(connection, job, JobState.SUCCEEDED):
                    raise
                number = rows.get(connection, job.job_id).version
            else:
                number = self._registry.insert(
                    connection,
                    artifact=artifact,
                    size_bytes=size_bytes,
                    manifest=manifest,
                    expires=spec.expire_time if spec.ttl is None else now + spec.ttl,
                    alias=spec.alias,
                    promotion=promotion,
                    discards_examples=spec.discard_examples,
                    principal=job.principal,
                )
                result = {
                    "version": number,
                    "promotion": None if promotion is None else promotion.to_json(),
                }
                rows.set_result(connection, job.job_id, result)
                stored.check_published(connection, limits, tenant, spec.model)
        self._registry.refresh(manifest.model)
        self._notifier.publish(job.job_id)
        return number

    def fail(self, job: Job, error: JobError, findings: Findings) -> None:
        """End a running job that cannot succeed. Safe to repeat after `DatabaseUnavailable`.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
            DatabaseUnavailable: the database does not answer.
        """
        with self._database.write("jobs.fail") as connection:
            progress = rows.get(connection, job.job_id).progress
            try:
                running.write(
                    connection,
                    job,
                    JobState.FAILED,
                    progress,
                    now=self._database.now(connection),
                    checkpoint=rows.checkpoint(progress, findings),
                    error=asdict(error),
                )
            except JobLostError:
                if not running.is_written(connection, job, JobState.FAILED):
                    raise
        self._notifier.publish(job.job_id)

    def finish_cancelled(self, job: Job) -> None:
        """End a running job that was asked to cancel; nothing happens if it is lost."""
        self._hand_over(job, JobState.CANCELLED)

    def release(self, job: Job) -> None:
        """Put a running job back into the queue, for a server that stops; nothing happens if it is lost.

        A job that was asked to cancel ends instead: it must not be run again.
        """
        self._hand_over(job, JobState.QUEUED)

    def postpone(self, job: Job, seconds: float) -> None:
        """Put a running job back into the queue, to run again no sooner than in some seconds.

        As `release`; for a job that the storage kept from going on.
        """
        self._hand_over(job, JobState.QUEUED, retry_seconds=seconds)

    def _hand_over(self, job: Job, state: JobState, *, retry_seconds: float | None = None) -> None:
        with self._database.write("jobs.hand_over") as connection:
            # Locked, so that no cancel comes between the look and the write.
            now = rows.get(connection, job.job_id, lock=True)
            if now.cancel:
                state = JobState.CANCELLED
            moment, values = self._database.now(connection), {}
            if retry_seconds is not None:
                values = {"not_before": moment + retry_seconds, "storage_retries": now.storage_retries + 1}
            try:
                running.write(
                    connection,
                    job,
                    state,
                    now.progress if state.is_terminal else None,
                    now=moment,
                    unless_cancelled=False,
                    **values,
                )
            except JobLostError:
                return
        self._notifier.publish(job.job_id)

    # Asking

    def cancel(self, job_id: str) -> Job:
        """Ask a job to cancel: a queued one ends at once, a running one at its next look, an ended one stays.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.write("jobs.cancel") as connection:
            job = rows.get(connection, job_id, lock=True)
            mine = jobs.c.job_id == job_id
            if job.state is JobState.QUEUED:
                now, number = self._database.now(connection), job.last_event + 1
                connection.execute(
                    update(jobs)
                    .where(mine)
                    .values(state=JobState.CANCELLED.value, cancel=1, finished=now, seq=number)
                )
                rows.add_event(
                    connection,
                    job_id,
                    number,
                    now=now,
                    attempt=job.attempt,
                    state=JobState.CANCELLED,
                    progress=None,
                )
            elif job.state is JobState.RUNNING:
                connection.execute(update(jobs).where(mine).values(cancel=1))
            job = rows.get(connection, job_id)
        self._notifier.publish(job_id)
        return job

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its events; its version stays.

        Raises:
            JobNotFound: there is no such job.
            JobNotFinished: it is queued or running, or its webhook is not delivered yet.
        """
        with self._database.write("jobs.delete") as connection:
            job = rows.get(connection, job_id, lock=True)
            cleaning.check_deletable(job)
            connection.execute(delete(jobs).where(jobs.c.job_id == job_id))
        self._notifier.publish(job_id)

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.snapshot() as connection:
            return rows.get(connection, job_id)

    def list(
        self,
        *,
        model: str,
        scope: Scope | None = None,
        states: Sequence[JobState],
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[Job]:
        """Jobs, the newest first.

        Args:
            model: only those of this model; empty for all.
            scope: only those of models within it; None for all.
            states: only those in one of these; empty for all.
            before: only those after this (created, job_id) in the list.
            limit: most jobs to return.
        """
        with self._database.snapshot() as connection:
            return job_queries.listed(
                connection, model=model, scope=scope, states=states, before=before, limit=limit
            )

    def events(self, job_id: str, after: int) -> Sequence[JobEvent]:
        """The events of a job with a number above `after`, in order.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.snapshot() as connection:
            return job_queries.events(connection, job_id, after)

    def position(self) -> Position:
        """Return where a watcher of all jobs begins: with those that have not ended."""
        with self._database.read() as connection:
            return watching.current(connection)

    def watched(self, position: Position, *, model: str, scope: Scope | None) -> Watched:
        """Return the events of all jobs after a position.

        Args:
            position: of the watcher.
            model: only jobs of this model; empty for all.
            scope: only jobs of models within it; None for all.
        """
        with self._database.snapshot() as connection:
            return watching.step(connection, position, model=model, scope=scope)

    def unfinished_events(self) -> tuple[int, Mapping[str, int]]:
        """Return the number of the newest job, and the last event of each job that has not ended."""
        with self._database.snapshot() as connection:
            return watching.unfinished(connection)

    def last_events(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """The number of the newest event of each job that there is."""
        with self._database.read() as connection:
            return job_queries.last_events(connection, job_ids)

    def count(self) -> Mapping[JobState, int]:
        """Number of jobs in each state."""
        with self._database.read() as connection:
            return job_queries.counted(connection)

    def is_under_way(self, model: str) -> bool:
        """Whether a job for this model is queued or running."""
        with self._database.read() as connection:
            query = select(jobs.c.job_id).where(jobs.c.model == model, rows.under_way()).limit(1)
            return connection.execute(query).one_or_none() is not None

    def unfinished(self) -> set[str]:
        """The ids of all jobs that are queued or running."""
        with self._database.read() as connection:
            return rows.unfinished(connection)

    # Cleaning

    def take_cleaning_turn(self, what: str, seconds: float) -> bool:
        """Whether this process is the one replica that cleans something up, for so many seconds."""
        with self._database.write("cleaning.take_turn") as connection:
            self._database.lock(connection, Lock.CLEANING)
            now = self._database.now(connection)
            return cleaning.take_turn(connection, what, now=now, seconds=seconds)

    def forget(self, older_than: float) -> int:
        """Remove the jobs that ended more than so many seconds ago, with their events, in parts.

        Returns:
            The number of jobs removed.
        """
        count = 0
        while True:
            with self._database.write("jobs.forget") as connection:
                removed = cleaning.forget(connection, self._database.now(connection) - older_than)
            if not removed:
                return count
            count += removed

    def recount_usage(self) -> int:
        """Correct the sums of what tenants store, should they be wrong.

        Returns:
            The number of tenants whose sums were wrong.
        """
        with self._database.snapshot() as connection:
            wrong = usage.wrong_sums(connection)
        if wrong:
            with self._database.write("usage.correct") as connection:
                usage.correct(connection, wrong)
            log.error("tenant_usage_corrected", tenants=sorted(each.tenant for each in wrong))
        return len(wrong)
