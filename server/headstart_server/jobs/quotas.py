"""The limits of the queue, of models and of tenants, and their usage."""

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

#: Maximum tenants that metrics report by name, because hundreds of series would be too many.
MOST_SHOWN = 20


def tenant_limits(limits: LimitsGroup, authenticator: Authenticator) -> Callable[[str], TenantLimits]:
    """Return a function that returns a tenant's limits, from the access file or else from the settings."""

    def of(tenant: str) -> TenantLimits:
        entry = authenticator.tenant(tenant)
        versions, storage = entry.max_versions, entry.max_storage
        return TenantLimits(
            versions=limits.max_versions_per_tenant or 0 if versions is None else versions,
            stored_bytes=limits.max_storage_per_tenant or 0 if storage is None else storage,
        )

    return of


class TenantUsageGauge:
    """Storage used by tenants at the last refresh, because a scrape must not wait for a sum over all."""

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
        """Return the bytes of the tenants that store most."""
        return {tenant: float(stored.nbytes) for tenant, stored in self._largest.items()}

    def versions(self) -> Mapping[str, float]:
        """Return the number of versions of the tenants that store most."""
        return {tenant: float(stored.version_count) for tenant, stored in self._largest.items()}


class PendingUploads:
    """Bytes of the unfinished uploads in this process, by tenant. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nbytes: dict[str, int] = {}

    def add(self, tenant: str, nbytes: int) -> int:
        """Add bytes, which may be negative; return the total of the tenant."""
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
        most: maximum bytes of the tenant's uploads together; None means unlimited.
        refusal: returns the error for a number of bytes.
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

#: Retry delay in seconds for a full queue: the default without a forecast, and the maximum.
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
    """Storage and jobs of a tenant; a limit of 0 means unlimited."""

    stored: Stored
    limits: TenantLimits
    queued: int  # number of its queued jobs
    queued_limit: int
    running: int  # number of its running jobs
    running_limit: int
    dataset_count: int
    dataset_bytes: int  # bytes of their examples, which are included in the stored bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFullness:
    """The limit of a queue that is reached."""

    queued: int  # number of queued jobs
    limit: int
    whose: str | None = None  # the tenant whose limit it is; None for the limit of all tenants


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
        """Return the limit that one more job would exceed; None if it would exceed none."""
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
        """Check that a job exceeds no limit of its model and tenant."""
        model, tenant = submission.spec.model, submission.tenant
        _check_versions(connection, self.queue_limits.versions_per_model, model)
        _check_aliases(connection, model, submission.spec.alias)
        limits = self.tenant_limits(tenant)
        stored.check_room(connection, limits, tenant, model, more_bytes=submission.nbytes)

    def check_added(self, connection: Connection, submission: Submission) -> None:
        """Check that the examples of a job that this transaction added are within its tenant's limit."""
        tenant, model = submission.tenant, submission.spec.model
        stored.check_added(connection, self.tenant_limits(tenant), tenant, model, submission.nbytes)

    def check_room(self, tenant: str = "") -> None:
        """Check that a job would be accepted now."""
        with self._database.read() as connection:
            full = self.fullness(connection, tenant)
        if full is not None:
            raise self.queue_full_error(full)

    def room_for(self, tenant: str, model: str, *, previews: bool = False) -> int | None:
        """Check that a tenant may store more.

        Args:
            previews: whether the upload is only validated; the whole quota is then available to it.

        Returns:
            The bytes that the tenant may still store; None means unlimited.
        """
        limits = self.tenant_limits(tenant)
        if limits == TenantLimits():
            return None
        if previews:
            return limits.stored_bytes or None
        with self._database.snapshot() as connection:
            return stored.check_room(connection, limits, tenant, model)

    def refusal(self, tenant: str, model: str, more_bytes: int) -> TenantQuotaExceeded:
        """Return the error for a tenant that may not store so many more bytes."""
        with self._database.snapshot() as connection:
            there = stored.stored(connection, tenant)
            return stored.over_bytes(connection, self.tenant_limits(tenant), there, model, more_bytes)

    def usage_of(self, tenant: str) -> Usage:
        """Return the storage and jobs of a tenant, with its limits."""
        limits = self.tenant_limits(tenant)
        with self._database.snapshot() as connection:
            return _usage_of(connection, tenant, limits, self.queue_limits)

    def usage(self) -> Mapping[str, Stored]:
        """Return the storage of each tenant that stores data."""
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
        """Correct the stored sums of tenants' storage; return the number of tenants with wrong sums."""
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

    A queued or running job counts as a version. A limit of 0 means no limit.
    """
    if not limit:
        return
    made = model_rows.version_count(connection, model)
    query = select(func.count()).select_from(jobs).where(jobs.c.model == model, under_way())
    to_come = int(connection.execute(query).scalar_one())
    if made + to_come >= limit:
        raise QuotaExceeded(
            f"At most {limit} versions of model '{model}' are allowed. It has {made} versions and {to_come} "
            "unfinished jobs. Delete a version, or set a time to live.",
            metadata={
                "subject": f"model {model}",
                "limit": str(limit),
                "versions": str(made),
                "jobs": str(to_come),
            },
        )


def _check_aliases(connection: Connection, model: str, alias: str | None) -> None:
    """Check that a model may have the alias of one more job; aliases of unfinished jobs count."""
    if alias is None:
        return
    names = connection.execute(_ALIASES, {"model": model}).scalars().all()
    if alias not in names:
        alias_rows.check_count(model, len(names))
