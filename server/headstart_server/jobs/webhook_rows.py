"""The rows of POSTs that tell of jobs' ends: written with their job, claimed when it has ended."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, or_, select, update

from headstart_server.database.tables import jobs, webhooks
from headstart_server.jobs.webhook import Webhook, WebhookState

_PENDING = WebhookState.PENDING.value
_MAX_ERROR = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A POST that this process is to send.

    Attributes:
        job_id: the job that it tells of.
        uri: where it goes.
        attempt: the number of this try: what comes of it is written down only while it is the newest.
        ended: when the job ended.
    """

    job_id: str
    uri: str
    attempt: int
    ended: float


def add(connection: Connection, job_id: str, uri: str) -> None:
    """Write the POST of a job that has just been accepted."""
    connection.execute(insert(webhooks).values(job_id=job_id, uri=uri, state=_PENDING, attempts=0, due=0.0))


def of_job(connection: Connection, job_id: str, *, has_ended: bool) -> Webhook | None:
    """What became of the POST of a job; None if there is none."""
    row = connection.execute(select(webhooks).where(webhooks.c.job_id == job_id)).one_or_none()
    if row is None:
        return None
    state = WebhookState(row.state)
    waits = state is WebhookState.PENDING and has_ended and row.due
    return Webhook(
        uri=row.uri,
        state=state,
        attempts=row.attempts,
        error=row.error or "",
        due=row.due if waits else None,
        finished=row.finished,
    )


def is_any(connection: Connection, now: float) -> bool:
    """Whether a claim would find one; takes no lock."""
    return connection.execute(select(webhooks.c.job_id).where(_ready(now)).limit(1)).first() is not None


def claim(connection: Connection, now: float, lease_seconds: float) -> Claimed | None:
    """Take the POST that has waited longest, for some seconds; None if none is to be sent now."""
    row = connection.execute(
        select(webhooks.c.job_id, webhooks.c.uri, webhooks.c.attempts)
        .where(_ready(now))
        .order_by(webhooks.c.due, webhooks.c.job_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    attempt = row.attempts + 1
    connection.execute(
        update(webhooks)
        .where(webhooks.c.job_id == row.job_id)
        .values(attempts=attempt, lease_until=now + lease_seconds)
    )
    ended = connection.execute(select(jobs.c.finished).where(jobs.c.job_id == row.job_id)).scalar_one()
    return Claimed(job_id=row.job_id, uri=row.uri, attempt=attempt, ended=ended)


def deliver(connection: Connection, claimed: Claimed, now: float) -> None:
    """It arrived, whoever is at work on it by now."""
    connection.execute(
        update(webhooks)
        .where(webhooks.c.job_id == claimed.job_id, webhooks.c.state == _PENDING)
        .values(state=WebhookState.DELIVERED.value, error=None, finished=now, lease_until=None)
    )


def put_off(connection: Connection, claimed: Claimed, error: str, due: float) -> None:
    """It is tried again; nothing happens if somebody else has tried meanwhile."""
    _end(connection, claimed, error=error[:_MAX_ERROR], due=due)


def give_up(connection: Connection, claimed: Claimed, error: str, now: float) -> None:
    """It is not tried any more; nothing happens if somebody else has tried meanwhile."""
    _end(connection, claimed, error=error[:_MAX_ERROR], state=WebhookState.GIVEN_UP.value, finished=now)


def expire(connection: Connection) -> None:
    """Let what is being sent be claimed at once; only where no other process can be sending."""
    connection.execute(update(webhooks).where(webhooks.c.state == _PENDING).values(lease_until=None))


def _end(connection: Connection, claimed: Claimed, **values: object) -> None:
    connection.execute(
        update(webhooks)
        .where(
            webhooks.c.job_id == claimed.job_id,
            webhooks.c.attempts == claimed.attempt,
            webhooks.c.state == _PENDING,
        )
        .values(lease_until=None, **values)
    )


def _ready(now: float) -> ColumnElement[bool]:
    """The condition that a POST is to be sent: its job has ended, its time has come, and nobody is at it."""
    ended = select(jobs.c.job_id).where(jobs.c.job_id == webhooks.c.job_id, jobs.c.finished.is_not(None))
    return and_(
        webhooks.c.state == _PENDING,
        webhooks.c.due <= now,
        or_(webhooks.c.lease_until.is_(None), webhooks.c.lease_until < now),
        ended.exists(),
    )


def is_pending() -> ColumnElement[bool]:
    """The condition that a row of `jobs` has a POST that is not done with."""
    return exists().where(webhooks.c.job_id == jobs.c.job_id, webhooks.c.state == _PENDING)
