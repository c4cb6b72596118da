"""The state of captured inputs, feedback, datasets and erasures, for `headstart-server doctor`."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from headstart_server.database.capture_tables import READY, capture_batches, capture_gaps
from headstart_server.database.dataset_tables import datasets, erasures
from headstart_server.database.feedback_tables import feedback, retrains
from headstart_server.database.tables import models

#: The tables that are read. An older database may lack some of them.
TABLES = frozenset(
    table.name for table in (capture_batches, capture_gaps, datasets, erasures, feedback, models, retrains)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """The state of the data loop. Bytes are bytes in storage."""

    captured: int
    captured_bytes: int
    captured_models: int
    lost: dict[str, int]  # selected inputs that could not be stored, by cause
    last_loss: float | None  # seconds since an input was last lost; None if none was
    feedback_bytes: int
    pending: int  # feedback that no version was trained on yet
    oldest_pending: float | None  # seconds since the oldest pending feedback arrived; None if none is pending
    # models whose retraining stopped after failures, with the reason of the last failure
    stopped: dict[str, str]
    datasets: int
    open_datasets: int  # datasets whose upload has not ended
    examples: int
    dataset_bytes: int
    oldest_erasure: float | None  # seconds since the oldest unfinished erasure began; None if none is


def read_data_facts(connection: Connection, now: float) -> DataFacts:
    """Return the state of the data loop.

    Args:
        now: the time of the database, in seconds since 1970.
    """
    batches = capture_batches.c
    ready = batches.state == READY
    captured = _one(
        connection,
        ready,
        func.sum(batches.entries),
        func.sum(batches.nbytes),
        func.count(batches.model.distinct()),
    )
    gaps = capture_gaps.c
    lost = _one(
        connection,
        True,
        func.sum(gaps.queue_full),
        func.sum(gaps.storage_failed),
        func.sum(gaps.quota_full),
        func.max(gaps.last),
    )
    waits = feedback.c.state.in_(["pending", "training"])
    pending = _one(connection, waits, func.count(), func.min(feedback.c.created), func.sum(feedback.c.nbytes))
    every = _one(
        connection, True, func.count(), func.sum(datasets.c.example_count), func.sum(datasets.c.nbytes)
    )
    unfinished = _one(connection, erasures.c.finished.is_(None), func.min(erasures.c.started))
    return DataFacts(
        captured=int(captured[0] or 0),
        captured_bytes=int(captured[1] or 0),
        captured_models=int(captured[2] or 0),
        lost={
            cause: int(count)
            for cause, count in zip(("queue", "storage", "quota"), lost, strict=False)
            if count
        },
        last_loss=_age(lost[3], now),
        feedback_bytes=int(pending[2] or 0),
        pending=int(pending[0] or 0),
        oldest_pending=_age(pending[1], now),
        stopped=_stopped(connection),
        datasets=int(every[0] or 0),
        open_datasets=int(_one(connection, datasets.c.state == "open", func.count(datasets.c.name))[0] or 0),
        examples=int(every[1] or 0),
        dataset_bytes=int(every[2] or 0),
        oldest_erasure=_age(unfinished[0], now),
    )


def _one(connection: Connection, condition: Any, *columns: Any) -> Any:
    query = select(*columns)
    return connection.execute(query if condition is True else query.where(condition)).one()


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(now - float(moment), 0.0)


def _stopped(connection: Connection) -> dict[str, str]:
    query = (
        select(models.c.name, models.c.retrain, retrains.c.failures, retrains.c.error)
        .join(retrains, retrains.c.model == models.c.name)
        .where(models.c.retrain.is_not(None), models.c.deleted.is_(None), retrains.c.failures > 0)
        .order_by(models.c.name)
    )
    return {
        str(row.name): str((row.error or {}).get("message") or (row.error or {}).get("reason") or "unknown")
        for row in connection.execute(query)
        if int(row.failures) >= int(row.retrain["max_failures"])
    }
