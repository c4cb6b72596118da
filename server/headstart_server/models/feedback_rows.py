"""The states of feedback, changed in the transactions that accept and end jobs and delete models.

Feedback to train on is PENDING until a retrain takes it; then it is TRAINING. The transaction that publishes
the version makes it LEARNED; one that ends the job without a version makes it PENDING again. Later feedback
about the same content makes pending feedback SUPERSEDED. So feedback becomes an example of at most one
version, and of exactly one unless it is superseded or erased.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from headstart_server.database.feedback_tables import feedback, retrains
from headstart_server.database.locks import batched
from headstart_server.database.tables import jobs, models, versions
from headstart_server.errors import WrittenByNewerRelease, decoding
from headstart_server.models import usage
from headstart_server.models.retrain_policy import RetrainPolicy


class FeedbackState(StrEnum):
    """The state of feedback.

    RECORDED feedback only counts for the accuracy: its true label is unknown, or a retrain left it out.
    """

    PENDING = "pending"
    TRAINING = "training"
    LEARNED = "learned"
    SUPERSEDED = "superseded"
    RECORDED = "recorded"


class Answer(StrEnum):
    """The answer that feedback contains."""

    LABEL = "label"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class FeedbackChangedError(Exception):
    """The feedback changed, or another retrain of the model is in progress: choose again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenFeedback:
    """The feedback of a retrain."""

    feedback_ids: Collection[str]
    superseded: Collection[str] = ()  # pending feedback that later chosen feedback replaces
    baseline: int = 0  # the alias's version when the feedback was chosen; 0 for none
    last_version: int = 0  # the version of the last retrain at that time; 0 for none
    last_baseline: int = 0  # the alias's version at the last retrain; 0 for none


#: States in which the archive of the content is needed.
_STORED = (FeedbackState.PENDING.value, FeedbackState.TRAINING.value)
_REPLACEABLE = (FeedbackState.PENDING.value, FeedbackState.RECORDED.value)
#: States of feedback that was neither trained on nor replaced.
_OPEN = (*_REPLACEABLE, FeedbackState.TRAINING.value)


def is_open(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that feedback was neither trained on nor replaced.

    The states are part of the statement instead of parameters: a partial index depends on them.
    """
    return table.c.state.in_([literal_column(f"'{state}'") for state in _OPEN])


_INSERT = {
    dialect.dialect.name: dialect.insert(retrains).on_conflict_do_nothing()
    for dialect in (postgresql, sqlite)
}
# Built once: building a statement takes longer than executing it.
_NEXT_NUMBER = select(func.coalesce(func.max(feedback.c.number), 0) + 1)
_OF_JOB = select(retrains).where(retrains.c.job_id == bindparam("job")).with_for_update()
_LOCKED_STATE = select(retrains.c.model).where(retrains.c.model == bindparam("named")).with_for_update()
_FENCE = (
    update(retrains)
    .where(
        retrains.c.model == bindparam("named"),
        retrains.c.job_id.is_(None),
        retrains.c.last_version == bindparam("known_version"),
        retrains.c.last_baseline == bindparam("known_baseline"),
        retrains.c.not_before <= bindparam("now"),
        retrains.c.failures < bindparam("max_failures"),
    )
    .values(job_id=bindparam("job"), baseline=bindparam("chosen"), not_before=bindparam("again_from"))
)
_CHANGE_PENDING = update(feedback).where(
    feedback.c.feedback_id.in_(bindparam("feedback_ids", expanding=True)),
    feedback.c.model == bindparam("named"),
    feedback.c.state == FeedbackState.PENDING.value,
)
_TAKE = _CHANGE_PENDING.values(state=FeedbackState.TRAINING.value, job_id=bindparam("job"))
_LEAVE_OUT = _CHANGE_PENDING.values(state=FeedbackState.RECORDED.value).returning(feedback.c.feedback_id)
_LEARN = (
    update(feedback)
    .where(feedback.c.job_id == bindparam("job"), feedback.c.state == FeedbackState.TRAINING.value)
    .values(state=FeedbackState.LEARNED.value, learned=bindparam("learned_by"))
)
_SUCCEED = (
    update(retrains)
    .where(retrains.c.model == bindparam("named"))
    .values(
        job_id=None,
        last_job_id=bindparam("job"),
        failures=0,
        error=None,
        last_version=bindparam("learned_by"),
        last_baseline=bindparam("chosen"),
    )
)
_INSERT_FEEDBACK = insert(feedback)
_OF_EXAMPLE = select(feedback.c.feedback_id, feedback.c.digest, feedback.c.nbytes).where(
    feedback.c.example_id == bindparam("example_id")
)
_BASELINE = select(versions.c.number).where(
    versions.c.model == bindparam("named"), versions.c.number == bindparam("baseline")
)
_POLICY = select(models.c.retrain).where(models.c.name == bindparam("model"), models.c.deleted.is_(None))
_ERROR = select(jobs.c.error).where(jobs.c.job_id == bindparam("job"))
_TRAINED_BY = select(feedback.c.feedback_id).where(
    feedback.c.job_id == bindparam("job"), feedback.c.state == FeedbackState.TRAINING.value
)
_STORED_BYTES = select(func.sum(feedback.c.nbytes)).where(feedback.c.state.in_(_STORED))
_STORED_COUNTS = (
    select(feedback.c.state, func.count()).where(feedback.c.state.in_(_STORED)).group_by(feedback.c.state)
)
_NUMBERS = select(feedback.c.number).where(feedback.c.model == bindparam("model")).order_by(feedback.c.number)
_DELETE_PART = (
    delete(feedback)
    .where(
        feedback.c.model == bindparam("model"),
        feedback.c.number.between(bindparam("first"), bindparam("last")),
    )
    .returning(feedback.c.feedback_id)
)
# No condition on the state: with one, SQLite reads all rows in these states by the index of sizes.
_HOLDERS = select(feedback.c.feedback_id, feedback.c.state).where(
    feedback.c.feedback_id.in_(bindparam("holders", expanding=True))
)


def next_number(connection: Connection) -> int:
    """Return the number of the next feedback; the transaction holds the queue's lock."""
    return int(connection.execute(_NEXT_NUMBER).scalar_one())


def policy_of(connection: Connection, model: str) -> RetrainPolicy | None:
    """Return the policy of a model; None without one. Raise WrittenByNewerRelease if it is unreadable."""
    values = connection.execute(_POLICY, {"model": model}).scalar()
    return None if values is None else decoded_policy(model, values)


def decoded_policy(model: str, values: Mapping[str, Any]) -> RetrainPolicy:
    """Return the stored policy of a model; raise WrittenByNewerRelease if it is unreadable."""
    with decoding(f"The retrain policy of model '{model}'", model=model):
        return RetrainPolicy.from_json(values)


def add_state(connection: Connection, model: str) -> None:
    """Add the row of a model's retraining unless it exists."""
    connection.execute(_INSERT[connection.dialect.name], {"model": model})


def reset(connection: Connection, model: str) -> None:
    """Clear the failures of a model's retraining, because its policy changed."""
    add_state(connection, model)
    here = update(retrains).where(retrains.c.model == model)
    connection.execute(here.values(failures=0, error=None, not_before=0.0))


def supersede(connection: Connection, feedback_ids: Collection[str]) -> None:
    """Mark feedback as replaced by later feedback; its content is no longer needed."""
    for part in batched(sorted(feedback_ids), usage.AT_ONCE):
        here = update(feedback).where(feedback.c.feedback_id.in_(part), feedback.c.state.in_(_REPLACEABLE))
        connection.execute(here.values(state=FeedbackState.SUPERSEDED.value, job_id=None))
    usage.release(connection, feedback_ids)


def leave_out(connection: Connection, model: str, feedback_ids: Collection[str]) -> None:
    """Mark pending feedback as recorded only, because the version to retrain cannot learn it."""
    left_out: list[str] = []
    for part in batched(sorted(feedback_ids), usage.AT_ONCE):
        left_out += connection.execute(_LEAVE_OUT, {"feedback_ids": part, "named": model}).scalars()
    usage.release(connection, left_out)


def take(
    connection: Connection,
    model: str,
    job_id: str,
    chosen: "ChosenFeedback",
    *,
    now: float,
) -> None:
    """Assign pending feedback to a job, in the transaction that accepts it, before it changes other rows.

    Args:
        chosen: the feedback that the job trains on.

    Raises:
        FeedbackChangedError: some of it is no longer pending, the policy or the baseline was removed, or
            another job is in progress.
    """
    policy = policy_of(connection, model)
    if policy is None:
        raise FeedbackChangedError(model)
    add_state(connection, model)
    fence = {
        "named": model,
        "known_version": chosen.last_version,
        "known_baseline": chosen.last_baseline,
        "now": now,
        "max_failures": policy.max_failures,
        "job": job_id,
        "chosen": chosen.baseline,
        "again_from": now + policy.min_interval,
    }
    if not connection.execute(_FENCE, fence).rowcount:
        raise FeedbackChangedError(model)
    baseline = {"named": model, "baseline": chosen.baseline}
    if chosen.baseline and connection.execute(_BASELINE, baseline).first() is None:
        # An erasure has replaced it: the next retrain would not continue from this one.
        raise FeedbackChangedError(model)
    supersede(connection, chosen.superseded)
    count = 0
    for part in batched(sorted(chosen.feedback_ids), usage.AT_ONCE):
        here = {"feedback_ids": part, "named": model, "job": job_id}
        count += connection.execute(_TAKE, here).rowcount
    if count != len(chosen.feedback_ids):
        raise FeedbackChangedError(model)


def learn(connection: Connection, job_id: str, number: int) -> None:
    """Record that a version was trained on a job's feedback, in the transaction that publishes it."""
    row = connection.execute(_OF_JOB, {"job": job_id}).one_or_none()
    trained = list(connection.execute(_TRAINED_BY, {"job": job_id}).scalars())
    learned = {"job": job_id, "learned_by": number}
    connection.execute(_LEARN, learned)
    usage.release(connection, trained)
    if row is not None:
        connection.execute(_SUCCEED, {**learned, "named": row.model, "chosen": row.baseline})


def give_back(connection: Connection, job_id: str, now: float) -> None:
    """Make the feedback of a job pending again, in the transaction that ends the job without a version."""
    row = connection.execute(_OF_JOB, {"job": job_id}).one_or_none()
    if row is None:
        return
    trained = list(connection.execute(_TRAINED_BY, {"job": job_id}).scalars())
    mine = update(feedback).where(
        feedback.c.job_id == job_id, feedback.c.state == FeedbackState.TRAINING.value
    )
    connection.execute(mine.values(state=FeedbackState.PENDING.value, job_id=None))
    supersede(connection, _with_later(connection, trained))
    error = connection.execute(_ERROR, {"job": job_id}).scalar()
    cancelled = {"reason": "CANCELLED", "message": f"Job '{job_id}' was cancelled."}
    note_failure(connection, row.model, error or cancelled, now=now, job_id=job_id)


def note_failure(
    connection: Connection, model: str, error: Mapping[str, Any], *, now: float, job_id: str | None = None
) -> None:
    """Record that a retrain failed, with its job if one was accepted, and postpone the next one."""
    add_state(connection, model)
    here = update(retrains).where(retrains.c.model == model)
    if job_id is None:
        here = here.where(retrains.c.job_id.is_(None))
    failures = int(
        connection.execute(select(retrains.c.failures).where(retrains.c.model == model)).scalar_one()
    )
    seconds = _backoff(connection, model, failures + 1)
    values = {"error": dict(error), "failures": failures + 1, "not_before": now + seconds}
    if job_id is not None:
        values |= {"job_id": None, "last_job_id": job_id}
    connection.execute(here.values(values))


def _backoff(connection: Connection, model: str, failures: int) -> float:
    """Return the seconds before the next retrain, by the defaults if the policy is unreadable."""
    try:
        policy = policy_of(connection, model)
    except WrittenByNewerRelease:
        # The job must still be able to end.
        policy = RetrainPolicy(alias="")
    return 0.0 if policy is None else policy.backoff(failures)


def replace_version(connection: Connection, model: str, old: int, new: int) -> None:
    """Let the retraining of a model continue from the successor of a version, in its transaction."""
    # A retrain that is being accepted chose its baseline earlier.
    if not connection.execute(_LOCKED_STATE, {"named": model}).all():
        return
    for column in (retrains.c.baseline, retrains.c.last_version, retrains.c.last_baseline):
        here = update(retrains).where(retrains.c.model == model, column == old)
        connection.execute(here.values({column: new}))


def of_example(connection: Connection, example_id: str, *conditions: ColumnElement[bool]) -> Sequence[Any]:
    """Return the feedback whose example has an ID: its own ID, its digest, and the bytes of its archive."""
    query = _OF_EXAMPLE.where(*conditions) if conditions else _OF_EXAMPLE
    return connection.execute(query, {"example_id": example_id}).all()


def erase(connection: Connection, feedback_ids: Collection[str]) -> None:
    """Delete feedback in the transaction that records the erasure."""
    for part in batched(sorted(feedback_ids), usage.AT_ONCE):
        connection.execute(delete(feedback).where(feedback.c.feedback_id.in_(part)))
    usage.release(connection, feedback_ids)


def delete_model(connection: Connection, model: str) -> None:
    """Delete all feedback of a model and the state of its retraining, in the transaction that deletes it."""
    connection.execute(delete(retrains).where(retrains.c.model == model))
    while numbers := list(connection.execute(_NUMBERS, {"model": model}).scalars()):
        # By their numbers: a search for each part would pass all rows that this transaction deleted before.
        for part in batched(numbers, usage.AT_ONCE):
            here = {"model": model, "first": part[0], "last": part[-1]}
            usage.release(connection, list(connection.execute(_DELETE_PART, here).scalars()))


def stored_bytes(connection: Connection) -> int:
    """Return the archive bytes of feedback that no version was trained on."""
    return int(connection.execute(_STORED_BYTES).scalar() or 0)


def stored_counts(connection: Connection) -> dict[str, int]:
    """Return the number of feedback rows with an archive that no version was trained on, by state."""
    found = {str(state): int(count) for state, count in connection.execute(_STORED_COUNTS)}
    return {state: found.get(state, 0) for state in _STORED}


def holders_among(connection: Connection, holders: Sequence[str]) -> set[str]:
    """Return the archive holders that are feedback whose content is needed."""
    found = connection.execute(_HOLDERS, {"holders": holders})
    return {feedback_id for feedback_id, state in found if state in _STORED}


def insert_feedback(connection: Connection, **values: Any) -> None:
    """Insert the row of feedback."""
    connection.execute(_INSERT_FEEDBACK, values)


def _with_later(connection: Connection, feedback_ids: Collection[str]) -> list[str]:
    """Return the feedback that is followed by later open feedback about the same content."""
    later = feedback.alias()
    is_later = exists().where(
        later.c.model == feedback.c.model,
        later.c.digest == feedback.c.digest,
        is_open(later),
        later.c.number > feedback.c.number,
    )
    found: list[str] = []
    for part in batched(sorted(feedback_ids), usage.AT_ONCE):
        query = select(feedback.c.feedback_id).where(feedback.c.feedback_id.in_(part), is_later)
        found.extend(connection.execute(query).scalars())
    return found
