"""Claims of jobs, and the leases that keep them.

A claim raises the job's attempt, the fence that every later write of the run has to pass. It reads columns
only, and no JSON, so that an unreadable row does not prevent claims of other jobs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from headstart_server.database.tables import jobs, replicas
from headstart_server.jobs import recovery, rows
from headstart_server.jobs.claim_queries import (
    ANY_DEAD,
    ANY_OWN_DEAD,
    COLUMNS,
    DEAD,
    DEAD_ROWS,
    OWN_DEAD,
    OWN_DEAD_ROWS,
    SHORTEN,
    Needs,
    any_of,
    narrowed,
    next_of,
    ordered,
    waiting,
)
from headstart_server.jobs.job import Isolation, Job, JobError, JobState
from headstart_server.jobs.recovery import RecoveredJob
from headstart_server.jobs.spec import AUTO
from headstart_server.jobs.stored import QueueLimits

#: Number of leases after which the row of a silent replica is deleted.
_FORGOTTEN_LEASES = 6
#: Seconds by which a lease may end later than one that is taken now: the clock may be set back a little.
_CLOCK_SECONDS = 1.0
#: Maximum jobs that are claimed one by one after a claim failed.
_ROW_BY_ROW = 1000
_RUNNING = JobState.RUNNING.value
# Built once: building a statement takes longer than executing it.
_RENEW = (
    update(jobs)
    .where(
        jobs.c.job_id.in_(bindparam("held", expanding=True)),
        jobs.c.owner == bindparam("me"),
        jobs.c.state == _RUNNING,
    )
    .returning(jobs.c.job_id, jobs.c.attempt, jobs.c.cancel)
)
_TAKE = update(jobs).where(jobs.c.job_id == bindparam("taken")).values(state=_RUNNING)
_SEEN = update(replicas).where(replicas.c.owner == bindparam("me"))
_APPEAR = insert(replicas)
_FORGET = delete(replicas).where(replicas.c.seen < bindparam("long_ago"))
_OTHERS = (
    select(replicas.c.owner)
    .where(replicas.c.owner != bindparam("me"), replicas.c.seen > bindparam("since"))
    .limit(1)
)
# A replica that was seen later than the latest moment died before the clock was set back.
_SEEN_SINCE = select(replicas.c.owner).where(
    replicas.c.owner == bindparam("who"),
    replicas.c.seen > bindparam("since"),
    replicas.c.seen <= bindparam("latest"),
)
_LEAVE = delete(replicas).where(replicas.c.owner == bindparam("me"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaSettings:
    """Settings of this process as a replica that shares a database."""

    owner: str  # host name and a uuid of the process
    slots: int = 1  # maximum concurrent jobs
    lease_seconds: float = 10.0  # seconds until an unrenewed claim expires
    memory_bytes: int | None = None  # maximum estimated bytes of its jobs together; None means unlimited
    # names of its backbones, in addition to features of any size; it claims no jobs with other backbones.
    # None claims all jobs
    backbones: Collection[str] | None = None
    trains_networks: bool = True  # whether it claims jobs with the recipe `partial`


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """The process that claims jobs."""

    replica: ReplicaSettings
    limits: QueueLimits
    held: Collection[str]  # the jobs that this process runs
    may_take_over: bool  # whether jobs of silent owners may be taken
    used_bytes: int = 0  # estimated bytes of the jobs and other work that this process runs

    @property
    def is_busy(self) -> bool:
        """Whether this process runs anything next to which a suspected job may not run."""
        return bool(self.held) or self.used_bytes > 0

    @property
    def needs(self) -> "Needs":
        """Properties that decide which jobs it can run."""
        return Needs(
            takes_any_backbone=self.replica.backbones is None,
            trains_networks=self.replica.trains_networks,
            has_memory_limit=self.replica.memory_bytes is not None,
            per_tenant=self.limits.running_per_tenant,
        )

    def values(self, now: float) -> dict[str, Any]:
        """Return the parameters of the statements in `claim_queries`, by name."""
        return {
            "now": now,
            "latest": now + self.replica.lease_seconds + _CLOCK_SECONDS,
            "held": list(self.held),
            "me": self.replica.owner,
            "backbones": [*(self.replica.backbones or ()), AUTO],
            "memory_bytes": self.replica.memory_bytes,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimResult:
    """The result of a claim."""

    job: Job | None  # the claimed job; None if no job can start
    # jobs that failed because their rows cannot be read, with the cause
    failed: Sequence[tuple[str, str]] = ()
    recovered: Sequence[RecoveredJob] = ()  # jobs that were taken from processes that died


def is_any(connection: Connection, claimant: Claimant, now: float) -> bool:
    """Return whether a claim would change anything; takes no lock."""
    values = claimant.values(now)
    if _finds(connection, ANY_DEAD if claimant.may_take_over else ANY_OWN_DEAD, values):
        return True
    if _is_full(connection, claimant):
        return False
    if claimant.is_busy and _finds(connection, any_of(claimant.needs, is_suspected=True), values):
        return False
    return _finds(connection, any_of(claimant.needs, is_suspected=False), values)


def claim(connection: Connection, claimant: Claimant, now: float, *, only: str | None = None) -> ClaimResult:
    """Take the next job, or the job `only`, if one can start; the caller holds the lock of the queue."""
    if claimant.may_take_over:
        _shorten(connection, claimant, now)
    query = DEAD_ROWS if claimant.may_take_over else OWN_DEAD_ROWS
    dead = connection.execute(narrowed(query, only), claimant.values(now)).all()
    recovered = recovery.recover(connection, dead, claimant.replica.owner, now)
    failed: list[tuple[str, str]] = []
    while True:
        row = _next(connection, claimant, now, only)
        if row is None:
            return ClaimResult(job=None, failed=failed, recovered=recovered)
        _take(connection, row, claimant, now)
        try:
            return ClaimResult(job=rows.get(connection, row.job_id), failed=failed, recovered=recovered)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - the row's job fails; other jobs continue
            cause = f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}"
            fail(connection, row.job_id, cause, now)
            failed.append((row.job_id, cause))


def _shorten(connection: Connection, claimant: Claimant, now: float) -> None:
    """Let leases that were taken while the clock was ahead end after a lease; living owners renew them."""
    values = claimant.values(now)
    until = now + claimant.replica.lease_seconds
    connection.execute(SHORTEN, {"held": values["held"], "latest": values["latest"], "until": until})


def to_try(connection: Connection, claimant: Claimant, now: float) -> Sequence[str]:
    """Return the jobs that a claim considers, to claim them one by one after it failed."""
    values = claimant.values(now)
    dead = select(jobs.c.job_id).where(DEAD if claimant.may_take_over else OWN_DEAD).limit(_ROW_BY_ROW)
    found = list(connection.execute(dead, values).scalars())
    if not _is_full(connection, claimant):
        query = ordered(select(jobs.c.job_id).where(waiting(claimant.needs))).limit(_ROW_BY_ROW)
        found += connection.execute(query, values).scalars()
    return found


def fail(connection: Connection, job_id: str, cause: str, now: float) -> None:
    """Fail a job whose row cannot be claimed."""
    row = connection.execute(
        select(*COLUMNS).where(jobs.c.job_id == job_id, jobs.c.finished.is_(None)).with_for_update()
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
    """Renew the leases of jobs; return whether each job that still belongs to its claim was canceled."""
    attempts = {job.job_id: job.attempt for job in held}
    values = {"held": list(attempts), "me": owner, "lease_until": until}
    found = connection.execute(_RENEW, values).all()
    return {row.job_id: bool(row.cancel) for row in found if row.attempt == attempts[row.job_id]}


def show_presence(connection: Connection, owner: str, slots: int, now: float, lease_seconds: float) -> None:
    """Record that this replica is alive, and delete rows of replicas that were silent for long."""
    if not connection.execute(_SEEN, {"me": owner, "slots": slots, "seen": now}).rowcount:
        connection.execute(_APPEAR, {"owner": owner, "slots": slots, "seen": now})
        connection.execute(_FORGET, {"long_ago": now - _FORGOTTEN_LEASES * lease_seconds})


def has_other_replicas(connection: Connection, owner: str, now: float, lease_seconds: float) -> bool:
    """Return whether a replica other than this one was seen within a lease."""
    return connection.execute(_OTHERS, {"me": owner, "since": now - lease_seconds}).first() is not None


def is_silent(connection: Connection, owner: str, now: float, lease_seconds: float) -> bool:
    """Return whether a replica was not seen within a lease."""
    latest = now + lease_seconds + _CLOCK_SECONDS
    values = {"who": owner, "since": now - lease_seconds, "latest": latest}
    return connection.execute(_SEEN_SINCE, values).first() is None


def leave(connection: Connection, owner: str) -> None:
    """Record that this replica stops."""
    connection.execute(_LEAVE, {"me": owner})


def expire(connection: Connection) -> int:
    """End every lease immediately; call it only while no other process can use this database."""
    return connection.execute(update(jobs).where(jobs.c.state == _RUNNING).values(lease_until=0.0)).rowcount


def _next(connection: Connection, claimant: Claimant, now: float, only: str | None) -> Row[Any] | None:
    """Return the next job of the queue if it can start now.

    A job that must run alone, or does not fit next to the running ones, waits until it can start, and later
    jobs wait behind it: small jobs must not keep a large one waiting forever.
    """
    if _is_full(connection, claimant):
        return None
    values = claimant.values(now)
    suspected = narrowed(next_of(claimant.needs, is_suspected=True), only)
    row = connection.execute(suspected, values).first()
    if row is not None:
        return None if claimant.is_busy else row
    row = connection.execute(narrowed(next_of(claimant.needs, is_suspected=False), only), values).first()
    if row is None or claimant.replica.memory_bytes is None:
        return row
    return row if claimant.used_bytes + (row.memory_bytes or 0) <= claimant.replica.memory_bytes else None


def _is_full(connection: Connection, claimant: Claimant) -> bool:
    """Return whether the limit of running jobs over all replicas is reached."""
    most = claimant.limits.running
    return bool(most) and rows.count(connection, JobState.RUNNING) >= most


def _finds(connection: Connection, query: Select[Any], values: Mapping[str, Any]) -> bool:
    return connection.execute(query, values).first() is not None


def _take(connection: Connection, row: Row[Any], claimant: Claimant, now: float) -> None:
    suspected = row.isolation > Isolation.SHARED
    values = {
        "taken": row.job_id,
        "attempt": row.attempt + 1,
        "seq": row.seq + 1,
        "owner": claimant.replica.owner,
        "lease_until": now + claimant.replica.lease_seconds,
        "started": row.started or now,
        "isolation": Isolation.ALONE.value if suspected else Isolation.SHARED.value,
    }
    connection.execute(_TAKE, values)
    rows.add_event(
        connection,
        row.job_id,
        row.seq + 1,
        now=now,
        attempt=row.attempt + 1,
        state=JobState.RUNNING,
        progress=None,
    )
