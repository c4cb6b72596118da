"""The last step of a fine-tune: check the promotion, write the version, and commit the end of the job."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from headstart_server.errors import (
    DatabaseUnavailable,
    QuotaExceeded,
    TenantQuotaExceeded,
)
from headstart_server.evaluation.paired_predictions import ComparedHead
from headstart_server.evaluation.promotion_check import (
    MAX_PROMOTION_CHECKS,
    PromotionCheck,
    alias_moved_promotion,
)
from headstart_server.jobs.job import Findings, JobStep
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.running import ExampleErasedError, JobCancelledError, JobLostError
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.registry import AliasMovedError
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Manifest
from headstart_server.training.progress import ProgressReporter


class PublishStep:
    """Publishes versions.

    Args:
        now: seconds since 1970.
    """

    def __init__(
        self,
        runs: JobRuns,
        versions: VersionStore,
        gate: PromotionCheck,
        *,
        software: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.software = software
        self.now = now
        self._runs = runs
        self._versions = versions
        self._gate = gate

    def decide(self, candidate: ComparedHead, progress: ProgressReporter) -> Promotion | None:
        """Decide whether the job's alias may move to the candidate; None if the spec has no gate."""
        return progress.retry_until_available(
            lambda: self._gate.decide(progress.job.spec, candidate, progress.checkpoint)
        )

    def publish(
        self,
        candidate: ComparedHead,
        manifest: Manifest,
        files: Mapping[str, bytes],
        promotion: Promotion | None,
        *,
        progress: ProgressReporter,
        findings: Callable[[], Findings],
    ) -> int:
        """Write a version and commit the end of its job; return the number of the version.

        Raise JobCancelledError or JobLostError if the job was canceled, or belongs to another attempt, and
        ExampleErasedError if an example was erased meanwhile.
        """
        job = progress.job
        artifact = f"{job.job_id}.{job.attempt}"
        # The commit that ends the job contains the step's time, which therefore excludes the commit.
        with progress.step(JobStep.PUBLISH):
            manifest, size_bytes = progress.retry_until_available(
                lambda: self._versions.write(artifact, candidate.head, manifest, files)
            )

        members = {(example.archive, example.member) for example in candidate.known.examples}

        def commit(promotion: Promotion | None) -> int:
            return self._runs.succeed(
                job,
                progress.progress(JobStep.PUBLISH, 1, 1, manifest.metrics),
                findings(),
                artifact=artifact,
                size_bytes=size_bytes,
                manifest=manifest,
                promotion=promotion,
                members=members,
            )

        try:
            for _ in range(MAX_PROMOTION_CHECKS):
                try:
                    return _repeated(commit, promotion, progress)
                except AliasMovedError:
                    promotion = self.decide(candidate, progress)
            baseline = 0 if promotion is None else promotion.baseline
            moved = alias_moved_promotion(job.spec.alias or "", baseline)
            return _repeated(commit, moved, progress)
        except (
            JobCancelledError,
            JobLostError,
            ExampleErasedError,
            QuotaExceeded,
            TenantQuotaExceeded,
        ) as error:
            # After any other error the version may be published; if not, a cleaning removes its files.
            self._versions.discard(artifact)
            if not isinstance(error, JobLostError):
                # No attempt may use the fit: the job has ended, or it is the fit of an erased example.
                self.remove(progress.staged)
            raise

    def remove(self, artifact: str | None) -> None:
        """Remove files that are no longer needed, if there are any."""
        if artifact is not None:
            self._versions.discard(artifact)


def _repeated(
    commit: Callable[[Promotion | None], int], promotion: Promotion | None, progress: ProgressReporter
) -> int:
    """Commit, and repeat it until the database answers."""
    while True:
        try:
            return commit(promotion)
        except DatabaseUnavailable:
            # The commit may have succeeded. The fence decides which attempt owns the job.
            progress.pause()
            with suppress(JobCancelledError, JobLostError):
                progress.checkpoint()
