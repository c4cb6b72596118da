"""Who runs a job: claims, leases, and taking over from the dead.

Each claim raises the job's attempt, the fence that every later write of the run has to pass.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from headstart_server.backbones.vectors import FAMILY
from headstart_server.database.tables import jobs, replicas
from headstart_server.jobs import rows
from headstart_server.jobs.job import Job, JobError, JobState
from headstart_server.jobs.limits import QueueLimits
from headstart_server.jobs.spec import AUTO
from headstart_server.jobs.submitting import CHOOSING, FINE_TUNE

#: A job whose process died this often has failed: one that kills its server must not tour the replicas.
MAX_CRASHES = 3
#: Leases after which a silent replica is no longer counted on.
_FORGOTTEN_LEASES = 6
_RUNNING, _QUEUED = JobState.RUNNING.value, JobState.QUEUED.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """Who claims.

    Attributes:
        owner: host name and a uuid of the process.
        lease_seconds: for how long a claim holds.
        limits: of all replicas.
        held: the jobs that this process is at work on.
        may_take_over: whether jobs of silent owners may be taken.
        backbones: names of those that this process has beside features of any size; jobs that name others are
            left to other processes. None takes all jobs.
        trains_networks: whether this process can run the recipe `partial`; if not, others run its jobs.
    """

    owner: str
    lease_seconds: float
    limits: QueueLimits
    held: Collection[str]
    may_take_over: bool
    backbones: Collection[str] | None = None
    trains_networks: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What came of a look into the queue.

    Attributes:
        job: the job that is now the claimant's; None if none waits.
        ended: jobs that ended instead of being claimed.
        taken_from: the silent owner of the job before; None if it was queued.
    """

    job: Job | None
    ended: tuple[str, ...] = ()
    taken_from: str | None = None


def is_any(connection: Connection, claimant: Claimant, now: float) -> bool:
    """Whether a claim would find a job; takes no lock."""
    query = _candidates(connection, claimant, now, select(jobs.c.job_id))
    # Which one is first does not matter here, and sorting a long queue takes its time.
    return connection.execute(query.order_by(None)).first() is not None


def claim(connection: Connection, claimant: Claimant, now: float) -> Claim:
    """Take the next job; the caller holds the lock of the queue."""
    ended: list[str] = []
    while True:
        query = _candidates(connection, claimant, now, select(jobs)).with_for_update(skip_locked=True)
        row = connection.execute(query).first()
        if row is None:
            return Claim(job=None, ended=tuple(ended))
        was_dead = row.state == _RUNNING
        # What this process holds by its row and not by its memory is a claim whose answer was lost: no crash.
        crashes = row.crashes + (was_dead and row.owner != claimant.owner)
        state = _next_state(row, crashes)
        _take(connection, row, claimant, now=now, crashes=crashes, state=state)
        if state is JobState.RUNNING:
            job = rows.get(connection, row.job_id)
            return Claim(job=job, ended=tuple(ended), taken_from=row.owner if was_dead else None)
        ended.append(row.job_id)


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


def leave(connection: Connection, owner: str) -> None:
    """Tell the other replicas that this one stops."""
    connection.execute(delete(replicas).where(replicas.c.owner == owner))


def expire(connection: Connection) -> int:
    """End every lease at once; only while no other process can be at work on this database."""
    return connection.execute(update(jobs).where(jobs.c.state == _RUNNING).values(lease_until=0.0)).rowcount


def _candidates(connection: Connection, claimant: Claimant, now: float, query: Select[Any]) -> Select[Any]:
    dead = and_(
        jobs.c.state == _RUNNING,
        func.coalesce(jobs.c.lease_until, 0.0) < now,
        jobs.c.job_id.not_in(claimant.held),
    )
    if not claimant.may_take_over:
        dead = and_(dead, jobs.c.owner == claimant.owner)
    return (
        query.where(
            jobs.c.kind.in_((FINE_TUNE, CHOOSING)),
            or_(dead, _waiting(connection, claimant.limits)),
            _runnable(claimant),
        )
        .order_by(
            case((jobs.c.state == _RUNNING, 0), else_=1),
            jobs.c.priority.desc(),
            jobs.c.created,
            jobs.c.job_id,
        )
        .limit(1)
    )


def _runnable(claimant: Claimant) -> ColumnElement[bool]:
    """The condition that the claimant has what a job needs; a job that is to be cancelled needs nothing."""
    able: list[ColumnElement[bool]] = [true()]
    spec = jobs.c.payload["spec"]
    if claimant.backbones is not None:
        name = spec["backbone"].as_string()
        able.append(or_(name.in_([*claimant.backbones, AUTO]), name.startswith(FAMILY, autoescape=True)))
    if not claimant.trains_networks:
        able.append(spec["recipe"]["partial"]["blocks"].as_string().is_(None))
    return or_(and_(*able), jobs.c.cancel != 0)


def _waiting(connection: Connection, limits: QueueLimits) -> ColumnElement[bool]:
    """The condition that a job waits and its turn may come."""
    waiting = jobs.c.state == _QUEUED
    if limits.running and rows.count(connection, JobState.RUNNING) >= limits.running:
        # One that takes the place of a dead one is no further one.
        return false()
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


def _next_state(row: Row[Any], crashes: int) -> JobState:
    if row.cancel:
        return JobState.CANCELLED
    return JobState.FAILED if crashes >= MAX_CRASHES else JobState.RUNNING


def _take(
    connection: Connection, row: Row[Any], claimant: Claimant, *, now: float, crashes: int, state: JobState
) -> None:
    values: dict[str, Any] = {"state": state.value, "attempt": row.attempt + 1, "crashes": crashes}
    if state is JobState.RUNNING:
        values |= {
            "owner": claimant.owner,
            "lease_until": now + claimant.lease_seconds,
            "started": row.started or now,
        }
    else:
        values |= {"owner": None, "lease_until": None, "finished": now}
    if state is JobState.FAILED:
        values["error"] = asdict(
            JobError(
                reason="CRASHED_REPEATEDLY",
                message=f"The server's process ended {crashes} times while it ran this job.",
                metadata={"crashes": str(crashes)},
            )
        )
    connection.execute(update(jobs).where(jobs.c.job_id == row.job_id).values(seq=row.seq + 1, **values))
    rows.add_event(
        connection, row.job_id, row.seq + 1, now=now, attempt=row.attempt + 1, state=state, progress=None
    )
