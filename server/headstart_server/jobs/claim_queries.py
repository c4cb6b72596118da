"""Statements that find jobs to claim, built once for each kind of claimant.

Building a statement takes longer than executing it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select, update

from headstart_server.backbones.contract.vectors import FAMILY
from headstart_server.database.tables import jobs
from headstart_server.jobs.job import Isolation, JobState
from headstart_server.jobs.submitting import FINE_TUNE, FINE_TUNE_WITH_SELECTION

_RUNNING, _QUEUED = JobState.RUNNING.value, JobState.QUEUED.value
#: The columns that a claim reads.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    jobs.c.job_id,
    jobs.c.owner,
    jobs.c.attempt,
    jobs.c.seq,
    jobs.c.cancel,
    jobs.c.crashes,
    jobs.c.isolation,
    jobs.c.memory_bytes,
    jobs.c.started,
)
_RUNNING_ELSEWHERE = and_(
    jobs.c.state == _RUNNING,
    jobs.c.kind.in_((FINE_TUNE, FINE_TUNE_WITH_SELECTION)),
    jobs.c.job_id.not_in(bindparam("held", expanding=True)),
)
_EXPIRED = func.coalesce(jobs.c.lease_until, 0.0) < bindparam("now")
# The lease was taken while the clock of the database was ahead.
_TOO_LONG = jobs.c.lease_until > bindparam("latest")
# Conditions for jobs of dead processes, and for lost claims of this process.
DEAD = and_(_RUNNING_ELSEWHERE, _EXPIRED)
OWN_DEAD = and_(DEAD, jobs.c.owner == bindparam("me"))
ANY_DEAD = select(jobs.c.job_id).where(_RUNNING_ELSEWHERE, or_(_EXPIRED, _TOO_LONG)).limit(1)
ANY_OWN_DEAD = select(jobs.c.job_id).where(OWN_DEAD).limit(1)
SHORTEN = update(jobs).where(_RUNNING_ELSEWHERE, _TOO_LONG).values(lease_until=bindparam("until"))
DEAD_ROWS, OWN_DEAD_ROWS = (
    select(*COLUMNS).where(dead).with_for_update(skip_locked=True) for dead in (DEAD, OWN_DEAD)
)
_SUSPECTED = jobs.c.isolation > Isolation.SHARED.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Properties of a claimant that decide which jobs it can run."""

    takes_any_backbone: bool
    trains_networks: bool
    has_memory_limit: bool  # whether jobs may exceed a memory limit
    per_tenant: int  # maximum concurrent jobs of a tenant; 0 means unlimited


@cache
def next_of(needs: Needs, *, is_suspected: bool) -> Select[Any]:
    """Return the query of the next job, among all queued jobs or among the suspected ones."""
    query = select(*COLUMNS).where(waiting(needs))
    if is_suspected:
        query = query.where(_SUSPECTED).order_by(jobs.c.crashes)
    return ordered(query).limit(1).with_for_update(skip_locked=True)


@cache
def any_of(needs: Needs, *, is_suspected: bool) -> Select[Any]:
    """Return the query that finds any queued job, or any suspected job."""
    # The order does not matter here, and sorting a long queue is slow.
    query = select(jobs.c.job_id).where(waiting(needs)).limit(1)
    return query.where(_SUSPECTED) if is_suspected else query


def ordered(query: Select[Any]) -> Select[Any]:
    """Sort a query by the order of the queue."""
    return query.order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.job_id)


def narrowed(query: Select[Any], only: str | None) -> Select[Any]:
    """Restrict a query to the job `only`, if it is given."""
    return query if only is None else query.where(jobs.c.job_id == only)


@cache
def waiting(needs: Needs) -> ColumnElement[bool]:
    """Return the condition that a job is queued and due, and that the claimant can run it."""
    conditions = [
        jobs.c.state == _QUEUED,
        jobs.c.kind.in_((FINE_TUNE, FINE_TUNE_WITH_SELECTION)),
        func.coalesce(jobs.c.not_before, 0.0) <= bindparam("now"),
    ]
    if not needs.takes_any_backbone:
        name = jobs.c.backbone
        known = or_(
            name.in_(bindparam("backbones", expanding=True)), name.startswith(FAMILY, autoescape=True)
        )
        # A row without a name cannot be read; the claim reports that.
        conditions.append(or_(name.is_(None), known))
    if not needs.trains_networks:
        conditions.append(jobs.c.trains_network == 0)
    if needs.has_memory_limit:
        conditions.append(func.coalesce(jobs.c.memory_bytes, 0) <= bindparam("memory_bytes"))
    if needs.per_tenant:
        running = jobs.alias()
        busy = (
            select(running.c.tenant)
            .where(running.c.state == _RUNNING)
            .group_by(running.c.tenant)
            .having(func.count() >= needs.per_tenant)
        )
        conditions.append(jobs.c.tenant.not_in(busy))
    return and_(*conditions)
