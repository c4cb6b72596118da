"""The durable store of jobs, their owners and their results."""

from collections.abc import Callable
from dataclasses import dataclass

from headstart_server.database.database import Database
from headstart_server.jobs.claiming import ReplicaSettings
from headstart_server.jobs.cleaning import JobCleaner
from headstart_server.jobs.forecast import Forecast
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_reader import JobReader
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.quotas import Quotas
from headstart_server.jobs.stored import QueueLimits, TenantLimits
from headstart_server.models.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStore:
    """The parts of the store, by kind of caller. Several replicas may share the database."""

    queue: JobQueue  # accepts, claims, cancels and deletes jobs
    runs: JobRuns  # records progress and ends of claimed jobs
    reader: JobReader
    quotas: Quotas  # checks limits and reports usage
    cleaner: JobCleaner
    forecast: Forecast  # estimates when jobs start and end


def open_job_store(
    database: Database,
    registry: Registry,
    notifier: JobNotifier,
    replica: ReplicaSettings,
    *,
    limits: QueueLimits | None = None,
    tenant_limits: Callable[[str], TenantLimits] | None = None,
    webhook: str | None = None,
    on_taken_over: Callable[[], None] = lambda: None,
    on_claim_failed: Callable[[], None] = lambda: None,
) -> JobStore:
    """Return the job store of a replica."""
    limits = limits or QueueLimits()
    forecast = Forecast(
        database, slots=replica.slots, lease_seconds=replica.lease_seconds, most=limits.running
    )
    quotas = Quotas(database, forecast, limits, tenant_limits or (lambda _: TenantLimits()))
    return JobStore(
        queue=JobQueue(
            database,
            notifier,
            quotas,
            replica,
            webhook=webhook,
            on_taken_over=on_taken_over,
            on_claim_failed=on_claim_failed,
        ),
        runs=JobRuns(database, registry, notifier, quotas),
        reader=JobReader(database),
        quotas=quotas,
        cleaner=JobCleaner(database),
        forecast=forecast,
    )
