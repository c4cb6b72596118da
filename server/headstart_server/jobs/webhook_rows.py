"""The rows of webhooks, which are inserted with their job and claimed when it has ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from headstart_server.database.tables import jobs, webhook_receivers, webhooks
from headstart_server.jobs.job import Webhook, WebhookState
from headstart_server.outbound.target import PORTS

_PENDING = WebhookState.PENDING.value
_MAX_ERROR = 500
_MAX_RECEIVER = 320
#: Maximum concurrent POST requests to one receiver, over all replicas.
MOST_PER_RECEIVER = 2
#: Maximum webhooks that one transaction gives up because their receiver does not answer.
GIVEN_UP_AT_ONCE = 1000
#: Lease of a claimed POST in seconds: longer than a POST can take.
LEASE_SECONDS = 60.0
#: Maximum mean seconds between two attempts of a POST, and between any two to a silent receiver.
MAX_WAIT_SECONDS = 3600.0
MAX_SILENT_SECONDS = 300.0
#: Seconds by which a time may be later than any that is set now: the clock may be set back a little.
_CLOCK_SECONDS = 1.0


_NOW = bindparam("now", type_=Float)


def _has_come(moment: ColumnElement[float], most: float) -> ColumnElement[bool]:
    """Return the condition that a time has come, or was set before the clock was set back.

    Args:
        most: maximum seconds by which such a time is ahead when it is set.
    """
    return or_(moment <= _NOW, moment > _NOW + (most + _CLOCK_SECONDS))


def _is_leased() -> ColumnElement[bool]:
    """Return the condition that a replica is sending a webhook: the negation of `_has_come`, for an index."""
    until = webhooks.c.lease_until
    return and_(until > _NOW, until <= _NOW + (LEASE_SECONDS + _CLOCK_SECONDS))


def _ready() -> ColumnElement[bool]:
    """Return the condition that a webhook is due, its job has ended, and no replica is sending it."""
    ended = select(jobs.c.job_id).where(jobs.c.job_id == webhooks.c.job_id, jobs.c.finished.is_not(None))
    return and_(
        webhooks.c.state == _PENDING,
        # Waits are up to a fifth longer than their mean.
        _has_come(webhooks.c.due, 1.2 * MAX_WAIT_SECONDS),
        or_(webhooks.c.lease_until.is_(None), _has_come(webhooks.c.lease_until, LEASE_SECONDS)),
        ended.exists(),
    )


def _receivers() -> Select[tuple[str, int]]:
    """Return receivers with free capacity; a silent receiver gets one attempt at a time."""
    mine = webhooks.c.receiver == webhook_receivers.c.receiver
    under_way = (
        select(func.count())
        .select_from(webhooks)
        .where(mine, webhooks.c.state == _PENDING, _is_leased())
        .correlate(webhook_receivers)
        .scalar_subquery()
    )
    most = case((webhook_receivers.c.silent > 0, 1), else_=MOST_PER_RECEIVER)
    ready = select(webhooks.c.job_id).where(mine, _ready()).correlate(webhook_receivers)
    return select(webhook_receivers.c.receiver, webhook_receivers.c.silent).where(
        _has_come(webhook_receivers.c.due, MAX_SILENT_SECONDS), ready.exists(), under_way < most
    )


# Built once: building a statement takes longer than executing it.
_KNOW_RECEIVER = {
    dialect.dialect.name: dialect.insert(webhook_receivers).on_conflict_do_nothing()
    for dialect in (postgresql, sqlite)
}
_ADD = insert(webhooks).values(state=_PENDING, attempts=0, due=0.0)
_OF_JOB = select(webhooks).where(webhooks.c.job_id == bindparam("job_id"))
_ANY = _receivers().limit(1)
_TURN = _receivers().order_by(webhook_receivers.c.claimed, webhook_receivers.c.receiver).limit(1)
_ANSWERING_TURN = _TURN.where(webhook_receivers.c.silent == 0)
_NEXT = (
    select(webhooks.c.job_id, webhooks.c.uri, webhooks.c.attempts)
    .where(webhooks.c.receiver == bindparam("of"), _ready())
    .order_by(webhooks.c.due, webhooks.c.job_id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_RECEIVER = update(webhook_receivers).where(webhook_receivers.c.receiver == bindparam("of"))
_ANSWERED = _RECEIVER.where(webhook_receivers.c.silent > 0).values(silent=0, due=0.0)
_SILENT = (
    select(webhook_receivers.c.silent)
    .where(webhook_receivers.c.receiver == bindparam("of"))
    .with_for_update()
)
_CLAIM = update(webhooks).where(webhooks.c.job_id == bindparam("mine"))
_END_OF_JOB = select(jobs.c.finished).where(jobs.c.job_id == bindparam("mine"))
_DELIVER = _CLAIM.where(webhooks.c.state == _PENDING).values(
    state=WebhookState.DELIVERED.value, error=None, lease_until=None
)
_END = _CLAIM.where(webhooks.c.attempts == bindparam("attempt"), webhooks.c.state == _PENDING).values(
    lease_until=None
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedPost:
    """A webhook that this process sends."""

    job_id: str
    uri: str = field(repr=False)  # recorded with the result
    attempt: int  # number of this attempt; its result is recorded only if it is the newest
    ended: float
    receiver: str = ""
    was_silent: bool = False  # whether the receiver did not answer the last attempt


def receiver_of(tenant: str, uri: str) -> str:
    """Return the name of a receiver, so that it delays no other tenant and has no second name.

    It is a host and port for one tenant, regardless of how the URL spells them.
    """
    url = urlsplit(uri)
    host = (url.hostname or "").rstrip(".")
    return f"{tenant} {url.scheme}://{host}:{url.port or PORTS[url.scheme]}"[:_MAX_RECEIVER]


def add(connection: Connection, job_id: str, uri: str, tenant: str = "") -> None:
    """Insert the webhook of a job that has just been accepted."""
    receiver = receiver_of(tenant, uri)
    connection.execute(_KNOW_RECEIVER[connection.dialect.name], {"receiver": receiver})
    connection.execute(_ADD, {"job_id": job_id, "uri": uri, "receiver": receiver})


def of_job(connection: Connection, job_id: str, *, has_ended: bool) -> Webhook | None:
    """Return the webhook of a job; None without a webhook."""
    row = connection.execute(_OF_JOB, {"job_id": job_id}).one_or_none()
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
    """Return whether a claim would find a webhook, without a lock."""
    return connection.execute(_ANY, {"now": now}).first() is not None


def claim(connection: Connection, now: float, *, answering_only: bool = False) -> ClaimedPost | None:
    """Claim the oldest webhook of the receiver that has waited longest for its turn.

    Args:
        answering_only: whether to skip receivers that did not answer the last attempt.

    Returns:
        The webhook; None if none is due.
    """
    turn = connection.execute(_ANSWERING_TURN if answering_only else _TURN, {"now": now}).first()
    if turn is None:
        return None
    row = connection.execute(_NEXT, {"of": turn.receiver, "now": now}).first()
    # Updated even if the row is locked, so that the next receiver gets its turn.
    connection.execute(_RECEIVER, {"of": turn.receiver, "claimed": now})
    if row is None:
        return None
    attempt = row.attempts + 1
    mine = {"mine": row.job_id}
    connection.execute(_CLAIM, {**mine, "attempts": attempt, "lease_until": now + LEASE_SECONDS})
    ended = connection.execute(_END_OF_JOB, mine).scalar_one()
    return ClaimedPost(
        job_id=row.job_id,
        uri=row.uri,
        attempt=attempt,
        ended=ended,
        receiver=turn.receiver,
        was_silent=turn.silent > 0,
    )


def note_answer(connection: Connection, receiver: str) -> None:
    """Record that a receiver answered."""
    connection.execute(_ANSWERED, {"of": receiver})


def note_silence(connection: Connection, receiver: str, due: Callable[[int], float]) -> None:
    """Record that a receiver did not answer; `due` returns the next time, given the number of attempts."""
    silent = int(connection.execute(_SILENT, {"of": receiver}).scalar_one_or_none() or 0) + 1
    connection.execute(_RECEIVER, {"of": receiver, "silent": silent, "due": due(silent)})


def give_up_old(connection: Connection, receiver: str, ended_before: float, error: str, now: float) -> int:
    """Give up some webhooks of a receiver whose jobs ended before a time; return their number.

    Repeat it while it returns `GIVEN_UP_AT_ONCE`.
    """
    old = select(jobs.c.job_id).where(jobs.c.job_id == webhooks.c.job_id, jobs.c.finished < ended_before)
    some = (
        select(webhooks.c.job_id)
        .where(webhooks.c.receiver == receiver, webhooks.c.state == _PENDING, old.exists())
        .limit(GIVEN_UP_AT_ONCE)
    )
    found = connection.execute(
        update(webhooks)
        .where(webhooks.c.job_id.in_(some), webhooks.c.state == _PENDING)
        .values(state=WebhookState.GIVEN_UP.value, error=error[:_MAX_ERROR], finished=now, lease_until=None)
    )
    return found.rowcount


def deliver(connection: Connection, claimed: ClaimedPost, now: float) -> None:
    """Record a delivery, even if another replica has claimed the webhook meanwhile."""
    connection.execute(_DELIVER, {"mine": claimed.job_id, "uri": claimed.uri, "finished": now})


def postpone(connection: Connection, claimed: ClaimedPost, error: str, due: float) -> None:
    """Schedule the next attempt; do nothing if another replica made one meanwhile."""
    _end(connection, claimed, error=error[:_MAX_ERROR], due=due)


def give_up(connection: Connection, claimed: ClaimedPost, error: str, now: float) -> None:
    """Give up a webhook; do nothing if another replica made an attempt meanwhile."""
    _end(connection, claimed, error=error[:_MAX_ERROR], state=WebhookState.GIVEN_UP.value, finished=now)


def expire(connection: Connection) -> None:
    """End all leases immediately; call it only while no other process can be sending."""
    connection.execute(update(webhooks).where(webhooks.c.state == _PENDING).values(lease_until=None))


def _end(connection: Connection, claimed: ClaimedPost, **values: object) -> None:
    mine = {"mine": claimed.job_id, "attempt": claimed.attempt}
    connection.execute(_END, {**mine, "uri": claimed.uri, **values})


def is_pending() -> ColumnElement[bool]:
    """Return the condition that a row of `jobs` has a pending webhook."""
    return exists().where(webhooks.c.job_id == jobs.c.job_id, webhooks.c.state == _PENDING)
