"""Writes of runs: progress and ends, fenced by the attempt of their claim and by cancels.

A run that lost its job, or whose job was canceled, can therefore change nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from headstart_server.auth.tenants import tenant_of
from headstart_server.database.database import Database
from headstart_server.errors import JobNotFound
from headstart_server.jobs import rows, running, stored
from headstart_server.jobs.erased_members import check_not_erased
from headstart_server.jobs.job import Findings, Job, JobError, JobState, Progress
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.quotas import Quotas
from headstart_server.jobs.running import JobLostError
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.registry import Registry
from headstart_server.models.rows import number_of
from headstart_server.models.version import Manifest


class JobRuns:
    """Records the progress and the ends of claimed jobs. Each method is one transaction."""

    def __init__(self, database: Database, registry: Registry, notifier: JobNotifier, quotas: Quotas) -> None:
        self._database = database
        self._registry = registry
        self._notifier = notifier
        self._quotas = quotas

    def report(
        self,
        job: Job,
        progress: Progress,
        findings: Findings,
        *,
        staged: str | None = None,
        choosing: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the progress of a running job as its newest event.

        Args:
            staged: name of the written version files, which the next attempt only publishes.
            choosing: state of the backbone selection for the next attempt; None leaves the last one.

        Raises:
            JobCancelledError: it was canceled.
            JobLostError: it belongs to another attempt.
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
        members: Collection[tuple[str, int]] = (),
    ) -> int:
        """End a job and publish its version in one transaction; return the version's number.

        Args:
            promotion: the decision about the spec's alias; None moves it unconditionally.
            members: the archive member of each example that the version was trained on.

        Raises:
            JobCancelledError or JobLostError: it was canceled, or belongs to another attempt.
            AliasMovedError: the alias no longer names the version of the comparison.
            ExampleErasedError: one of the examples was erased meanwhile.
            DatabaseUnavailable: the version may still be published. It is safe to repeat the call.
        """
        spec, tenant = job.spec, tenant_of(job.spec.model)
        limits = self._quotas.tenant_limits(tenant)
        with self._database.write("jobs.succeed") as connection:
            now = self._database.now(connection)
            # The fence is checked first, because a run that lost its job must not publish a version.
            try:
                state, checkpoint = JobState.SUCCEEDED, rows.checkpoint(progress, findings)
                running.write(connection, job, state, progress, now=now, checkpoint=checkpoint)
            except JobLostError:
                # The reply to an earlier commit may be lost, and the job may have been deleted since then.
                published = number_of(connection, artifact)
                if published is None:
                    raise
                number = published
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
                # Checked after the registry's counter was locked, so no erasure can commit in between.
                check_not_erased(connection, members)
                decision = None if promotion is None else promotion.to_json()
                rows.set_result(connection, job.job_id, {"version": number, "promotion": decision})
                stored.check_added(connection, limits, tenant, spec.model)
        self._registry.index.refresh(manifest.model)
        self._notifier.publish(job.job_id)
        return number

    def fail(self, job: Job, error: JobError, findings: Findings) -> None:
        """End a running job that cannot succeed. Safe to repeat after `DatabaseUnavailable`.

        Raise JobCancelledError if it was canceled, and JobLostError if it belongs to another attempt.
        """
        with self._database.write("jobs.fail") as connection:
            progress = _current(connection, job).progress
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
        """End a canceled running job; do nothing if it is lost."""
        self._hand_over(job, JobState.CANCELLED)

    def release(self, job: Job) -> None:
        """Put a running job back into the queue; do nothing if it is lost.

        A canceled job ends instead, because it must not run again.
        """
        self._hand_over(job, JobState.QUEUED)

    def postpone(self, job: Job, seconds: float) -> None:
        """Put a running job back into the queue, to run again after the given seconds at the earliest.

        Like `release`, for a job that a storage failure interrupted.
        """
        self._hand_over(job, JobState.QUEUED, retry_seconds=seconds)

    def _hand_over(self, job: Job, state: JobState, *, retry_seconds: float | None = None) -> None:
        with self._database.write("jobs.hand_over") as connection:
            try:
                # Locked, so that no cancel can commit between the read and the write.
                now = _current(connection, job, lock=True)
                if now.cancel:
                    state = JobState.CANCELLED
                moment, values = self._database.now(connection), {}
                if retry_seconds is not None:
                    retries = now.storage_retries + 1
                    values = {"not_before": moment + retry_seconds, "storage_retries": retries}
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


def _current(connection: Connection, job: Job, *, lock: bool = False) -> Job:
    """Return the stored job. Raise JobLostError if another attempt ended it, and it was deleted."""
    try:
        return rows.get(connection, job.job_id, lock=lock)
    except JobNotFound:
        raise JobLostError(job.job_id) from None
