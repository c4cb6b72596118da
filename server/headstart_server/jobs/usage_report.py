"""What a tenant stores and runs, and how much it may."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from headstart_server.database.tables import jobs
from headstart_server.jobs.job import JobState
from headstart_server.jobs.limits import QueueLimits, TenantLimits
from headstart_server.jobs.rows import under_way
from headstart_server.jobs.stored import Stored, stored


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a tenant stores and runs; a limit of 0 is unlimited.

    Attributes:
        stored: its versions and examples.
        limits: how much of them it may have.
        queued: number of its queued jobs.
        queued_limit: most of them.
        running: number of its running jobs.
        running_limit: most of them.
    """

    stored: Stored
    limits: TenantLimits
    queued: int
    queued_limit: int
    running: int
    running_limit: int


def usage_of(connection: Connection, tenant: str, limits: TenantLimits, queue: QueueLimits) -> Usage:
    """Return what a tenant stores and runs."""
    query = select(jobs.c.state, func.count()).where(jobs.c.tenant == tenant, under_way())
    counted = {str(state): int(count) for state, count in connection.execute(query.group_by(jobs.c.state))}
    return Usage(
        stored=stored(connection, tenant),
        limits=limits,
        queued=counted.get(JobState.QUEUED.value, 0),
        queued_limit=queue.queued_per_tenant,
        running=counted.get(JobState.RUNNING.value, 0),
        running_limit=queue.running_per_tenant,
    )
