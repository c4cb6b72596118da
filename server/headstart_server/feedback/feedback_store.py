"""The rows of feedback: recorded once, listed and counted."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, and_, bindparam, func, select, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.captured_inputs import mark_reviewed
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import archive_uses
from headstart_server.database.feedback_tables import feedback, retrains
from headstart_server.database.locks import Lock
from headstart_server.database.tables import models
from headstart_server.errors import RequestIdReused, WrittenByNewerRelease, decoding
from headstart_server.feedback.feedback import (
    AnswerCount,
    AnsweredPrediction,
    Feedback,
    FeedbackCounts,
    FeedbackOutcome,
    NewFeedback,
    ReadyModel,
    RetrainState,
    not_captured_error,
)
from headstart_server.jobs import stored
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.target import Target
from headstart_server.models import feedback_rows, rows
from headstart_server.models.feedback_rows import Answer, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy

#: Seconds of a week, and of the first Monday since 1970.
WEEK, FIRST_MONDAY = 604_800, 345_600
_MODEL: BindParameter[str] = bindparam("model")
# Built once: building a statement takes longer than executing it.
_BY_REQUEST = select(feedback).where(
    feedback.c.model == _MODEL, feedback.c.request_id == bindparam("request_id")
)
# This and the next one read a few rows even if a content has thousands: all tenants wait for the lock.
_OPEN = select(feedback).where(
    feedback.c.model == _MODEL,
    feedback.c.digest == bindparam("digest"),
    feedback_rows.is_open(feedback),
)
_UNCOUNT = (
    update(feedback)
    .where(
        feedback.c.model == bindparam("named"),
        feedback.c.prediction_id == bindparam("prediction"),
        feedback.c.correct.is_not(None),
    )
    .values(correct=None)
)
_PENDING = (
    select(feedback)
    .where(feedback.c.model == _MODEL, feedback.c.state == FeedbackState.PENDING.value)
    .order_by(feedback.c.number)
    .limit(bindparam("most"))
)
_BY_ID = select(feedback).where(feedback.c.feedback_id == bindparam("feedback_id"))
_RETRAIN = select(retrains).where(retrains.c.model == _MODEL)
_HAS_POLICY = (models.c.retrain.is_not(None), models.c.deleted.is_(None))
_ANY_POLICY = select(models.c.name).where(*_HAS_POLICY).limit(1)
_USE_ARCHIVE = archive_uses.insert()
_PENDING_OF_MODEL = (feedback.c.model == models.c.name, feedback.c.state == FeedbackState.PENDING.value)
_FIRST_PENDING = select(feedback.c.created).where(*_PENDING_OF_MODEL).order_by(feedback.c.number).limit(1)
# One query per model, because SQLite would otherwise start with all pending feedback.
_READY = (
    select(
        models.c.retrain,
        retrains,
        select(func.count()).where(*_PENDING_OF_MODEL).correlate(models).scalar_subquery().label("pending"),
        _FIRST_PENDING.correlate(models).scalar_subquery().label("first"),
    )
    .join(retrains, retrains.c.model == models.c.name)
    # Not by `job_id`: SQLite would read all models without a job rather than those with a policy.
    .where(*_HAS_POLICY, retrains.c.not_before <= bindparam("now"))
    .order_by(models.c.name)
)


class FeedbackStore:
    """Records feedback and reads it. Each method is one transaction."""

    def __init__(self, database: Database, tenant_limits: Callable[[str], TenantLimits]) -> None:
        self._database = database
        self._tenant_limits = tenant_limits

    def replayed(self, model: str, request_id: str | None, request_hash: str) -> Feedback | None:
        """Return the feedback of a request that was accepted before; None if it was not."""
        with self._database.read() as connection:
            return _replayed(connection, model, request_id, request_hash)

    def add(self, new: NewFeedback) -> tuple[Feedback, FeedbackOutcome]:
        """Record feedback; it is durable when this returns.

        Returns:
            The feedback, or the earlier one if the request repeats it, and the outcome of the request.

        Raises:
            ModelNotFound: the model was deleted.
            TenantQuotaExceeded: the tenant's storage quota is exceeded.
            PredictionNotCaptured: the input of the prediction is no longer stored.
            DatabaseUnavailable: the database does not answer; the feedback may still be recorded.
        """
        with self._database.write("feedback.add") as connection:
            # Numbers follow the order of commits, and requests with the same ID are handled one after the
            # other.
            self._database.lock(connection, Lock.QUEUE)
            earlier = _replayed(connection, new.model, new.request_id, new.request_hash)
            if earlier is not None:
                return earlier, FeedbackOutcome.REPEATED
            found = connection.execute(_OPEN, {"model": new.model, "digest": new.digest})
            same = [_feedback(row) for row in found]
            newest = max(same, key=lambda each: each.number, default=None)
            if newest is not None and _is_repeated(new, newest):
                return newest, FeedbackOutcome.REPEATED
            # Locked, as otherwise a concurrent deletion of the model would not delete this feedback. Nothing
            # that locks a model waits for the lock of the queue.
            rows.require_model(connection, new.model, lock=True)
            # Feedback in training stays: its job may already have read it.
            replaced = [each.feedback_id for each in same if each.state is not FeedbackState.TRAINING]
            if new.prediction.prediction_id is not None:
                named = {"named": new.model, "prediction": new.prediction.prediction_id}
                connection.execute(_UNCOUNT, named)
                now = self._database.now(connection)
                if not mark_reviewed(connection, new.model, new.prediction.prediction_id, now):
                    # The input was erased after it was read. An erased content must not be stored again.
                    raise not_captured_error(new.prediction.prediction_id)
            feedback_rows.supersede(connection, replaced)
            self._insert(connection, new)
            row = connection.execute(_BY_ID, {"feedback_id": new.feedback_id}).one()
        return _feedback(row), FeedbackOutcome.REPLACED if replaced else FeedbackOutcome.ACCEPTED

    def _insert(self, connection: Connection, new: NewFeedback) -> None:
        now, tenant = self._database.now(connection), tenant_of(new.model)
        if new.nbytes:
            use = {"holder": new.feedback_id, "archive": new.feedback_id}
            connection.execute(_USE_ARCHIVE, use)
            stored.note_archive(connection, new.feedback_id, tenant, new.nbytes)
            stored.check_added(connection, self._tenant_limits(tenant), tenant, new.model, new.nbytes)
        about = new.prediction
        predicted = about.predicted
        feedback_rows.insert_feedback(
            connection,
            feedback_id=new.feedback_id,
            number=feedback_rows.next_number(connection),
            model=new.model,
            state=(FeedbackState.PENDING if new.nbytes else FeedbackState.RECORDED).value,
            request_id=new.request_id,
            request_hash=new.request_hash,
            principal=new.principal,
            created=now,
            example_id=new.example_id,
            prediction_id=about.prediction_id,
            digest=new.digest,
            kind=new.kind,
            nbytes=new.nbytes,
            answer=new.answer.value,
            target=None if new.target is None else new.target.to_json(),
            predicted=None if predicted is None else predicted.to_json(),
            correct=None if new.is_correct is None else int(new.is_correct),
            version=about.version,
            class_name=predicted.label if predicted is not None else None,
            week=math.floor(((now if about.time is None else about.time) - FIRST_MONDAY) / WEEK),
            sampled=int(about.is_random),
        )

    def list(
        self, model: str, *, states: Sequence[FeedbackState] = (), before: int | None, limit: int
    ) -> Sequence[Feedback]:
        """Return feedback with a number below `before` in the given states, or in any; newest first."""
        query = select(feedback).where(feedback.c.model == model)
        if states:
            query = query.where(feedback.c.state.in_([state.value for state in states]))
        if before is not None:
            query = query.where(feedback.c.number < before)
        with self._database.snapshot() as connection:
            rows.require_model(connection, model)
            found = connection.execute(query.order_by(feedback.c.number.desc()).limit(limit)).all()
        return [_feedback(row) for row in found]

    def pending(self, model: str, limit: int) -> Sequence[Feedback]:
        """Return pending feedback, the oldest first."""
        with self._database.read() as connection:
            found = connection.execute(_PENDING, {"model": model, "most": limit}).all()
        return [_feedback(row) for row in found]

    def leave_out(self, model: str, feedback_ids: Collection[str], superseded: Collection[str]) -> None:
        """Record that a retrain cannot learn some pending feedback, and that later feedback replaced some."""
        with self._database.write("feedback.leave_out") as connection:
            self._database.lock(connection, Lock.QUEUE)
            feedback_rows.supersede(connection, superseded)
            feedback_rows.leave_out(connection, model, feedback_ids)

    def counts(self, model: str, window: float | None = None) -> FeedbackCounts:
        """Count the feedback of a model, in total or in the last `window` seconds."""
        with self._database.snapshot() as connection:
            rows.require_model(connection, model)
            recent = feedback.c.model == model
            if window is not None:
                recent = and_(recent, feedback.c.created >= self._database.now(connection) - window)
            states = connection.execute(
                select(feedback.c.state, func.count()).where(recent).group_by(feedback.c.state)
            ).all()
            with decoding(f"Feedback of model '{model}'", model=model):
                by_state = {FeedbackState(state): int(count) for state, count in states}
            return FeedbackCounts(
                by_state=by_state,
                answers=_answer_counts(connection, recent),
            )

    def answers_of(self, model: str, version: int) -> AnswerCount:
        """Count the feedback on the predictions of one version."""
        here = and_(feedback.c.model == model, feedback.c.version == version)
        with self._database.read() as connection:
            found = _answer_counts(connection, here)
        return AnswerCount(
            version=version,
            week=0,
            class_name="",
            answers=sum(each.answers for each in found),
            correct=sum(each.correct for each in found),
            sampled=sum(each.sampled for each in found),
            sampled_correct=sum(each.sampled_correct for each in found),
        )

    def retrain_state(self, model: str) -> tuple[RetrainPolicy | None, RetrainState]:
        """Return the policy of a model's retraining, or None, and the state of the retraining."""
        with self._database.snapshot() as connection:
            policy = feedback_rows.policy_of(connection, model)
            row = connection.execute(_RETRAIN, {"model": model}).one_or_none()
        return policy, RetrainState() if row is None else _state(row)

    def ready(self) -> Sequence[ReadyModel]:
        """Return the models with pending feedback that may retrain now, if their policies are readable."""
        with self._database.snapshot() as connection:
            # Most servers have no policy, so they skip the rest.
            if connection.execute(_ANY_POLICY).first() is None:
                return []
            now = self._database.now(connection)
            found = connection.execute(_READY, {"now": now}).all()
        ready = []
        for row in found:
            if not row.pending or row.job_id is not None:
                continue
            # A replica of the release that wrote an unreadable policy retrains the model.
            with suppress(WrittenByNewerRelease):
                ready.append(_ready(row, now))
        return ready

    def now(self) -> float:
        """Return the time of the database's clock, in seconds since 1970."""
        with self._database.read() as connection:
            return self._database.now(connection)

    def note_failure(self, model: str, reason: str, message: str) -> None:
        """Record that a retrain was not accepted, and postpone the next one."""
        with self._database.write("feedback.note_failure") as connection:
            error = {"reason": reason, "message": message}
            feedback_rows.note_failure(connection, model, error, now=self._database.now(connection))


def _replayed(
    connection: Connection, model: str, request_id: str | None, request_hash: str
) -> Feedback | None:
    if request_id is None:
        return None
    row = connection.execute(_BY_REQUEST, {"model": model, "request_id": request_id}).one_or_none()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise RequestIdReused(
            f"Request ID {request_id!r} was used before for feedback {row.feedback_id} with other content. "
            "Use a new request ID for new feedback.",
            field="request_id",
            metadata={"feedback_id": row.feedback_id},
        )
    return _feedback(row)


def _is_repeated(new: NewFeedback, newest: Feedback) -> bool:
    """Return whether the newest open feedback about the same content is equal, and not left out."""
    return (
        (newest.state is not FeedbackState.RECORDED or newest.target is None)
        and newest.prediction.prediction_id == new.prediction.prediction_id
        and newest.answer is new.answer
        and newest.target == new.target
    )


def _answer_counts(connection: Connection, condition: Any) -> list[AnswerCount]:
    known = feedback.c.correct.is_not(None)
    random = and_(known, feedback.c.sampled == 1)
    right = feedback.c.correct == 1
    groups = (feedback.c.version, feedback.c.week, feedback.c.class_name)
    query = (
        select(
            *groups,
            func.count().label("answers"),
            func.count().filter(right).label("correct"),
            func.count().filter(random).label("sampled"),
            func.count().filter(and_(random, right)).label("sampled_correct"),
        )
        .where(condition, known)
        .group_by(*groups)
    )
    return [
        AnswerCount(
            version=None if row.version is None else int(row.version),
            week=int(row.week),
            class_name=row.class_name or "",
            answers=int(row.answers),
            correct=int(row.correct),
            sampled=int(row.sampled),
            sampled_correct=int(row.sampled_correct),
        )
        for row in connection.execute(query)
    ]


def _feedback(row: Row[Any]) -> Feedback:
    with decoding(f"Feedback '{row.feedback_id}'", model=row.model, feedback_id=row.feedback_id):
        return Feedback(
            feedback_id=row.feedback_id,
            number=int(row.number),
            model=row.model,
            state=FeedbackState(row.state),
            answer=Answer(row.answer),
            target=None if row.target is None else Target.from_json(row.target),
            prediction=AnsweredPrediction(
                prediction_id=row.prediction_id,
                version=None if row.version is None else int(row.version),
                predicted=None if row.predicted is None else Target.from_json(row.predicted),
                is_random=bool(row.sampled),
            ),
            example_id=row.example_id,
            principal=row.principal,
            created=row.created,
            job_id=row.job_id or "",
            learned=None if row.learned is None else int(row.learned),
            request_id=row.request_id,
            digest=row.digest,
            kind=row.kind,
            nbytes=int(row.nbytes),
        )


def _ready(row: Row[Any], now: float) -> ReadyModel:
    return ReadyModel(
        name=row.model,
        policy=feedback_rows.decoded_policy(row.model, row.retrain),
        state=_state(row),
        pending=int(row.pending),
        waited=now - float(row.first),
    )


def _state(row: Row[Any]) -> RetrainState:
    return RetrainState(
        job_id=row.job_id or "",
        last_job_id=row.last_job_id or "",
        last_version=int(row.last_version),
        last_baseline=int(row.last_baseline),
        failures=int(row.failures),
        error=dict(row.error or {}),
        not_before=row.not_before,
    )
