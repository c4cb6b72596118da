"""The limits of the queue, of models and of tenants."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, bindparam, func, select, union

from headstart_server.database.database import Database
from headstart_server.database.tables import aliases, jobs
from headstart_server.errors import JobQueueFull, QuotaExceeded, TenantQuotaExceeded
from headstart_server.jobs import dataset_usage, stored
from headstart_server.jobs.forecast import Forecast
from headstart_server.jobs.job import JobState
from headstart_server.jobs.limits import QueueLimits, TenantLimits
from headstart_server.jobs.rows import under_way
from headstart_server.jobs.stored import Stored
from headstart_server.jobs.submitting import Submission
from headstart_server.models import alias_rows
from headstart_server.models import rows as model_rows
from headstart_server.models import usage as model_usage

log = structlog.get_logger(__name__)

#: Retry delay in seconds for a full queue: without a forecast, and at most.
QUEUE_RETRY_SECONDS = 5.0
MAX_QUEUE_RETRY_SECONDS = 60.0
# Built once: building a statement takes longer than executing it.
_ALIASES = union(
    select(aliases.c.name).where(aliases.c.model == bindparam("model")),
    select(jobs.c.alias).where(jobs.c.model == bindparam("model"), jobs.c.alias.is_not(None), under_way()),
).limit(alias_rows.MAX_ALIASES + 1)
_COUNT_QUEUED = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED.value)
_COUNT_QUEUED_OF = _COUNT_QUEUED.where(jobs.c.tenant == bindparam("tenant"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a tenant stores and runs; a limit of 0 is unlimited."""

    stored: Stored
    limits: TenantLimits
    queued: int  # number of its queued jobs
    queued_limit: int
    running: int  # number of its running jobs
    running_limit: int
    dataset_count: int
    dataset_bytes: int  # bytes of their examples; they are among the stored ones


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFullness:
    """Why a queue takes no more."""

    queued: int  # jobs that wait
    limit: int
    whose: str | None = None  # the tenant whose limit it is; None for that of all


class Quotas:
    """Checks the limits of the queue, of models and of tenants, and reports what tenants use."""

    def __init__(
        self,
        database: Database,
        forecast: Forecast,
        queue_limits: QueueLimits,
        tenant_limits: Callable[[str], TenantLimits],
    ) -> None:
        self._database = database
        self._forecast = forecast
        self.queue_limits = queue_limits
        self.tenant_limits = tenant_limits

    def fullness(self, connection: Connection, tenant: str) -> QueueFullness | None:
        """Return the limit that one more job would exceed; None if there is one more place."""
        limits = self.queue_limits
        for limit, whose in ((limits.queued, None), (limits.queued_per_tenant, tenant)):
            if not limit:
                continue
            query = _COUNT_QUEUED if whose is None else _COUNT_QUEUED_OF
            queued = int(connection.execute(query, {"tenant": whose}).scalar_one())
            if queued >= limit:
                return QueueFullness(queued=queued, limit=limit, whose=whose)
        return None

    def check_submission(self, connection: Connection, submission: Submission) -> None:
        """Check that a model and its tenant may have the version of one more job."""
        model, tenant = submission.spec.model, submission.tenant
        _check_versions(connection, self.queue_limits.versions_per_model, model)
        _check_aliases(connection, model, submission.spec.alias)
        limits = self.tenant_limits(tenant)
        stored.check_room(connection, limits, tenant, model, more_bytes=submission.nbytes)

    def check_room(self, tenant: str = "") -> None:
        """Check that a job would be accepted now."""
        with self._database.read() as connection:
            full = self.fullness(connection, tenant)
        if full is not None:
            raise self.queue_full_error(full)

    def room_for(self, tenant: str, model: str, *, previews: bool = False) -> int | None:
        """Check that a tenant may store more.

        Args:
            previews: whether the upload is only validated; then the whole capacity is available to it.

        Returns:
            The bytes that there is room for; None for any number.
        """
        limits = self.tenant_limits(tenant)
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
            return stored.over_bytes(connection, self.tenant_limits(tenant), there, model, more_bytes)

    def usage_of(self, tenant: str) -> Usage:
        """Return what a tenant stores and runs, and how much it may."""
        limits = self.tenant_limits(tenant)
        with self._database.snapshot() as connection:
            return _usage_of(connection, tenant, limits, self.queue_limits)

    def usage(self) -> Mapping[str, Stored]:
        """Return what each tenant stores; tenants without data are left out."""
        with self._database.snapshot() as connection:
            return stored.by_tenant(connection)

    def queue_full_error(self, full: QueueFullness) -> JobQueueFull:
        """Return the error of a full queue, with the delay until a retry."""
        seconds = self._forecast.seconds_to_next_start()
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

    def recount_usage(self) -> int:
        """Correct the sums of what tenants store, should they be wrong.

        Returns:
            The number of tenants whose sums were wrong.
        """
        with self._database.snapshot() as connection:
            wrong = model_usage.wrong_sums(connection)
        if wrong:
            with self._database.write("usage.correct") as connection:
                model_usage.correct(connection, wrong)
            log.error("tenant_usage_corrected", tenants=sorted(each.tenant for each in wrong))
        return len(wrong)


def _usage_of(connection: Connection, tenant: str, limits: TenantLimits, queue: QueueLimits) -> Usage:
    query = select(jobs.c.state, func.count()).where(jobs.c.tenant == tenant, under_way())
    counted = {str(state): int(count) for state, count in connection.execute(query.group_by(jobs.c.state))}
    dataset_count, dataset_bytes = dataset_usage.usage_of(connection, tenant)
    return Usage(
        stored=stored.stored(connection, tenant),
        limits=limits,
        queued=counted.get(JobState.QUEUED.value, 0),
        queued_limit=queue.queued_per_tenant,
        running=counted.get(JobState.RUNNING.value, 0),
        running_limit=queue.running_per_tenant,
        dataset_count=dataset_count,
        dataset_bytes=dataset_bytes,
    )


def _check_versions(connection: Connection, limit: int, model: str) -> None:
    """Check that a model may have one more version; a job that waits or runs counts as the one it would make.

    Args:
        connection: of the transaction that accepts the job, so that of two at once one is first.
        limit: most versions of a model; 0 for none.
    """
    if not limit:
        return
    made = model_rows.version_count(connection, model)
    query = select(func.count()).select_from(jobs).where(jobs.c.model == model, under_way())
    to_come = int(connection.execute(query).scalar_one())
    if made + to_come >= limit:
        raise QuotaExceeded(
            f"Expected at most {limit} versions of model '{model}'. Received: one more, with {made} there "
            f"and {to_come} to come. Delete one, or give them a time to live.",
            metadata={
                "subject": f"model {model}",
                "limit": str(limit),
                "versions": str(made),
                "jobs": str(to_come),
            },
        )


def _check_aliases(connection: Connection, model: str, alias: str | None) -> None:
    """Check that a model may have the alias of one more job; aliases that unfinished jobs will make count.

    Args:
        alias: the alias that the job moves; None for none.
    """
    if alias is None:
        return
    names = connection.execute(_ALIASES, {"model": model}).scalars().all()
    if alias not in names:
        alias_rows.check_count(model, len(names))
