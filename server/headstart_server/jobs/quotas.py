"""The limits of the queue, of models and of tenants, and what of them is in use."""

import heapq
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, bindparam, func, select, union

from headstart_server.auth.authenticator import Authenticator
from headstart_server.database.database import Database
from headstart_server.database.tables import aliases, jobs
from headstart_server.errors import JobQueueFull, QuotaExceeded, TenantQuotaExceeded
from headstart_server.jobs import dataset_usage, stored
from headstart_server.jobs.forecast import Forecast
from headstart_server.jobs.job import JobState
from headstart_server.jobs.rows import under_way
from headstart_server.jobs.stored import QueueLimits, Stored, TenantLimits
from headstart_server.jobs.submitting import Submission
from headstart_server.models import alias_rows
from headstart_server.models import rows as model_rows
from headstart_server.models import usage as model_usage
from headstart_server.settings.job_groups import LimitsGroup

#: Tenants that the metrics tell of by name: of any number of them some hundreds of series would be too many.
MOST_SHOWN = 20


def tenant_limits(limits: LimitsGroup, authenticator: Authenticator) -> Callable[[str], TenantLimits]:
    """Return a function that returns a tenant's limits: of the access file, else of the server's flags."""

    def of(tenant: str) -> TenantLimits:
        entry = authenticator.tenant(tenant)
        versions, storage = entry.max_versions, entry.max_storage
        return TenantLimits(
            versions=limits.max_versions_per_tenant or 0 if versions is None else versions,
            stored_bytes=limits.max_storage_per_tenant or 0 if storage is None else storage,
        )

    return of


class TenantUsageGauge:
    """What tenants stored at the last refresh: a scrape must not wait for a sum over all."""

    def __init__(self, read: Callable[[], Mapping[str, Stored]]) -> None:
        self._read = read
        self._largest: Mapping[str, Stored] = {}
        #: Bytes of the examples of all tenants.
        self.example_bytes = 0.0
        #: Bytes of the captured inputs of all tenants.
        self.capture_bytes = 0.0

    def refresh(self) -> None:
        """Read the usage of all tenants."""
        found = self._read()
        self.example_bytes = float(sum(stored.example_bytes for stored in found.values()))
        self.capture_bytes = float(sum(stored.capture_bytes for stored in found.values()))
        largest = heapq.nlargest(MOST_SHOWN, found, key=lambda tenant: (found[tenant].nbytes, tenant))
        self._largest = {tenant: found[tenant] for tenant in largest}

    def nbytes(self) -> Mapping[str, float]:
        """Bytes of those that store most."""
        return {tenant: float(stored.nbytes) for tenant, stored in self._largest.items()}

    def versions(self) -> Mapping[str, float]:
        """Number of versions of those that store most."""
        return {tenant: float(stored.version_count) for tenant, stored in self._largest.items()}


class PendingUploads:
    """Bytes of the uploads that are under way in this process, by tenant. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nbytes: dict[str, int] = {}

    def add(self, tenant: str, nbytes: int) -> int:
        """Count more bytes, or fewer; returns those of the tenant now."""
        with self._lock:
            total = self._nbytes.get(tenant, 0) + nbytes
            if total:
                self._nbytes[tenant] = total
            else:
                self._nbytes.pop(tenant, None)
            return total


class UploadQuota:
    """Reserves the bytes of one upload from its tenant's quota. Used by one caller.

    Args:
        most: bytes that the tenant's uploads may bring together; None for any number.
        refusal: gives the error for so many bytes.
    """

    def __init__(
        self,
        others: PendingUploads,
        tenant: str,
        most: int | None,
        refusal: Callable[[int], TenantQuotaExceeded],
    ) -> None:
        self._others = others
        self._tenant = tenant
        self._most = most
        self._refusal = refusal
        self._taken = 0

    def reserve(self, nbytes: int) -> None:
        """Reserve the bytes received so far."""
        if self._most is None:
            return
        total = self._others.add(self._tenant, nbytes - self._taken)
        self._taken = nbytes
        if total > self._most:
            raise self._refusal(total)

    def release(self) -> None:
        """Release the reservation once the upload has ended or the job counts its bytes."""
        self._others.add(self._tenant, -self._taken)
        self._taken = 0


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
        """Correct the sums of what tenants store; return the number of tenants whose sums were wrong."""
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
    """Check that a model may have one more version, in the transaction that accepts the job.

    A job that waits or runs counts as the version that it would make. A limit of 0 means no limit.
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
    """Check that a model may have the alias of one more job; those of unfinished jobs count."""
    if alias is None:
        return
    names = connection.execute(_ALIASES, {"model": model}).scalars().all()
    if alias not in names:
        alias_rows.check_count(model, len(names))
