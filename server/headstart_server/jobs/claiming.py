"""Claims of jobs, and the leases that keep them.

A claim raises the job's attempt, the fence that every later write of the run has to pass. It reads columns
only, and no JSON: a row that cannot be read must not keep others from being claimed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from headstart_server.backbones.vectors import FAMILY
from headstart_server.database.tables import jobs, replicas
from headstart_server.jobs import recovery, rows
from headstart_server.jobs.job import Isolation, Job, JobError, JobState
from headstart_server.jobs.limits import QueueLimits
from headstart_server.jobs.recovery import Recovered
from headstart_server.jobs.spec import AUTO
from headstart_server.jobs.submitting import CHOOSING, FINE_TUNE

#: Leases after which a silent replica is no longer counted on.
_FORGOTTEN_LEASES = 6
#: Jobs that are tried one by one after a claim failed.
_ROW_BY_ROW = 1000
_RUNNING, _QUEUED = JobState.RUNNING.value, JobState.QUEUED.value
#: What a claim reads of a row.
_COLUMNS: tuple[ColumnElement[Any], ...] = (
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """The process that claims.

    Attributes:
        owner: host name and a uuid of the process.
        lease_seconds: for how long a claim holds.
        limits: of all replicas.
        held: the jobs that this process is at work on.
        may_take_over: whether jobs of silent owners may be taken.
        backbones: names of the backbones of this process, in addition to features of any size; jobs that name
            others are left to other processes. None takes all jobs.
        trains_networks: whether this process can run the recipe `partial`; if not, others run its jobs.
        memory_bytes: most bytes of all jobs of this process together, by their estimates; None for no limit.
        used_bytes: bytes of the jobs that it is at work on, by their estimates.
    """

    owner: str
    lease_seconds: float
    limits: QueueLimits
    held: Collection[str]
    may_take_over: bool
    backbones: Collection[str] | None = None
    trains_networks: bool = True
    memory_bytes: int | None = None
    used_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The result of a look into the queue.

    Attributes:
        job: the job that is now the claimant's; None if no job can start.
        failed: jobs that failed because their rows cannot be read, with the cause.
        recovered: jobs that were taken from processes that died.
    """

    job: Job | None
    failed: Sequence[tuple[str, str]] = ()
    recovered: Sequence[Recovered] = ()


def is_any(connection: Connection, claimant: Claimant, now: float) -> bool:
    """Return whether a claim would change anything; takes no lock."""
    if connection.execute(select(jobs.c.job_id).where(_dead(claimant, now)).limit(1)).first() is not None:
        return True
    waiting = _waiting(connection, claimant, now)
    if claimant.held and _exists(connection, waiting, jobs.c.isolation > Isolation.SHARED.value):
        return False
    # The order does not matter here, and sorting a long queue takes its time.
    return _exists(connection, waiting)


def claim(connection: Connection, claimant: Claimant, now: float, *, only: str | None = None) -> Claim:
    """Take the next job; the caller holds the lock of the queue.

    Args:
        connection: of the transaction.
        claimant: who claims.
        now: the time.
        only: the one job to consider; None for all.
    """
    query = select(*_COLUMNS).where(_dead(claimant, now)).with_for_update(skip_locked=True)
    dead = connection.execute(_narrowed(query, only)).all()
    recovered = recovery.recover(connection, dead, claimant.owner, now)
    failed: list[tuple[str, str]] = []
    while True:
        row = _next(connection, claimant, now, only)
        if row is None:
            return Claim(job=None, failed=failed, recovered=recovered)
        _take(connection, row, claimant, now)
        try:
            return Claim(job=rows.get(connection, row.job_id), failed=failed, recovered=recovered)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the row holds, the jobs behind it go on
            cause = f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}"
            fail(connection, row.job_id, cause, now)
            failed.append((row.job_id, cause))


def to_try(connection: Connection, claimant: Claimant, now: float) -> Sequence[str]:
    """Return the jobs that a claim would consider, to be claimed one by one after it failed."""
    dead = connection.execute(select(jobs.c.job_id).where(_dead(claimant, now)).limit(_ROW_BY_ROW))
    waiting = select(jobs.c.job_id).where(_waiting(connection, claimant, now))
    return [*dead.scalars(), *connection.execute(_ordered(waiting).limit(_ROW_BY_ROW)).scalars()]


def fail(connection: Connection, job_id: str, cause: str, now: float) -> None:
    """Fail a job whose row cannot be claimed."""
    row = connection.execute(
        select(*_COLUMNS).where(jobs.c.job_id == job_id, jobs.c.finished.is_(None)).with_for_update()
    ).one_or_none()
    if row is None:
        return
    error = JobError(
        reason="INTERNAL",
        message=f"The row of this job in the database cannot be read ({rows.sanitized(cause)[:200]}). "
        "Send the fine-tune again.",
    )
    recovery.end(connection, row, JobState.FAILED, now=now, error=asdict(error))


def renew(connection: Connection, held: Collection[Job], owner: str, until: float) -> Mapping[str, bool]:
    """Renew the leases of jobs.

    Returns:
        For each job that is still this claim's, whether it was asked to cancel.
    """
    attempts = {job.job_id: job.attempt for job in held}
    found = connection.execute(
        update(jobs)
        .where(jobs.c.job_id.in_(attempts), jobs.c.owner == owner, jobs.c.state == _RUNNING)
        .values(lease_until=until)
        .returning(jobs.c.job_id, jobs.c.attempt, jobs.c.cancel)
    ).all()
    return {row.job_id: bool(row.cancel) for row in found if row.attempt == attempts[row.job_id]}


def show_presence(connection: Connection, owner: str, slots: int, now: float, lease_seconds: float) -> None:
    """Tell the other replicas of this one, and forget those that were silent for long."""
    here = update(replicas).where(replicas.c.owner == owner).values(slots=slots, seen=now)
    if not connection.execute(here).rowcount:
        connection.execute(insert(replicas).values(owner=owner, slots=slots, seen=now))
        long_ago = now - _FORGOTTEN_LEASES * lease_seconds
        connection.execute(delete(replicas).where(replicas.c.seen < long_ago))


def has_others(connection: Connection, owner: str, now: float, lease_seconds: float) -> bool:
    """Return whether a replica other than this one was seen within a lease."""
    alive = (replicas.c.owner != owner) & (replicas.c.seen > now - lease_seconds)
    return connection.execute(select(replicas.c.owner).where(alive).limit(1)).first() is not None


def leave(connection: Connection, owner: str) -> None:
    """Tell the other replicas that this one stops."""
    connection.execute(delete(replicas).where(replicas.c.owner == owner))


def expire(connection: Connection) -> int:
    """End every lease at once; only while no other process can be at work on this database."""
    return connection.execute(update(jobs).where(jobs.c.state == _RUNNING).values(lease_until=0.0)).rowcount


def _dead(claimant: Claimant, now: float) -> ColumnElement[bool]:
    """Return the condition that a job's process is dead, and that this one may say so."""
    dead = and_(
        jobs.c.state == _RUNNING,
        jobs.c.kind.in_((FINE_TUNE, CHOOSING)),
        func.coalesce(jobs.c.lease_until, 0.0) < now,
        jobs.c.job_id.not_in(claimant.held),
    )
    return dead if claimant.may_take_over else and_(dead, jobs.c.owner == claimant.owner)


def _next(connection: Connection, claimant: Claimant, now: float, only: str | None) -> Row[Any] | None:
    """Return the next job of the queue if it can start now.

    A job that must run alone, or does not fit next to the running ones, waits until it can start, and later
    jobs wait behind it: small jobs must not keep a large one waiting forever.
    """
    query = _narrowed(select(*_COLUMNS).where(_waiting(connection, claimant, now)), only)
    suspected = query.where(jobs.c.isolation > Isolation.SHARED.value).order_by(jobs.c.crashes)
    row = _first(connection, suspected)
    if row is not None:
        return None if claimant.held else row
    row = _first(connection, query)
    if row is None or not claimant.held or claimant.memory_bytes is None:
        return row
    return row if claimant.used_bytes + (row.memory_bytes or 0) <= claimant.memory_bytes else None


def _first(connection: Connection, query: Select[Any]) -> Row[Any] | None:
    return connection.execute(_ordered(query).limit(1).with_for_update(skip_locked=True)).first()


def _ordered(query: Select[Any]) -> Select[Any]:
    return query.order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.job_id)


def _narrowed(query: Select[Any], only: str | None) -> Select[Any]:
    return query if only is None else query.where(jobs.c.job_id == only)


def _exists(connection: Connection, *conditions: ColumnElement[bool]) -> bool:
    return connection.execute(select(jobs.c.job_id).where(*conditions).limit(1)).first() is not None


def _runnable(claimant: Claimant) -> ColumnElement[bool]:
    """Return the condition that the claimant has what a job needs."""
    able: list[ColumnElement[bool]] = [true()]
    if claimant.backbones is not None:
        name = jobs.c.backbone
        known = or_(name.in_([*claimant.backbones, AUTO]), name.startswith(FAMILY, autoescape=True))
        # A row without a name cannot be read; a claim finds out.
        able.append(or_(name.is_(None), known))
    if not claimant.trains_networks:
        able.append(jobs.c.trains_network == 0)
    if claimant.memory_bytes is not None:
        able.append(func.coalesce(jobs.c.memory_bytes, 0) <= claimant.memory_bytes)
    return and_(*able)


def _waiting(connection: Connection, claimant: Claimant, now: float) -> ColumnElement[bool]:
    """Return the condition that a job waits, its turn may come, and the claimant can run it."""
    limits = claimant.limits
    if limits.running and rows.count(connection, JobState.RUNNING) >= limits.running:
        return false()
    waiting = and_(
        jobs.c.state == _QUEUED,
        jobs.c.kind.in_((FINE_TUNE, CHOOSING)),
        func.coalesce(jobs.c.not_before, 0.0) <= now,
        _runnable(claimant),
    )
    if limits.running_per_tenant:
        running = jobs.alias()
        busy = (
            select(running.c.tenant)
            .where(running.c.state == _RUNNING)
            .group_by(running.c.tenant)
            .having(func.count() >= limits.running_per_tenant)
        )
        return and_(waiting, jobs.c.tenant.not_in(busy))
    return waiting


def _take(connection: Connection, row: Row[Any], claimant: Claimant, now: float) -> None:
    suspected = row.isolation > Isolation.SHARED
    connection.execute(
        update(jobs)
        .where(jobs.c.job_id == row.job_id)
        .values(
            state=_RUNNING,
            attempt=row.attempt + 1,
            seq=row.seq + 1,
            owner=claimant.owner,
            lease_until=now + claimant.lease_seconds,
            started=row.started or now,
            isolation=Isolation.ALONE.value if suspected else Isolation.SHARED.value,
        )
    )
    rows.add_event(
        connection,
        row.job_id,
        row.seq + 1,
        now=now,
        attempt=row.attempt + 1,
        state=JobState.RUNNING,
        progress=None,
    )
