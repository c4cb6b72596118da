"""The rows of captured inputs and of the objects that hold them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Select, bindparam, delete, insert, select, text, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.captured_input import CapturedInput
from headstart_server.capture.captured_inputs import select_captured
from headstart_server.database.capture_tables import (
    DOOMED,
    IS_NOT_ERASED,
    READY,
    WRITING,
    capture_batches,
    captured_inputs,
)
from headstart_server.database.database import Database
from headstart_server.database.tables import models
from headstart_server.errors import WrittenByNewerRelease
from headstart_server.models import usage
from headstart_server.models.capture_policy import CapturePolicy, decoded_policy

log = structlog.get_logger(__name__)

# Built once: building a statement takes longer than executing it.
MODEL = (
    select(models.c.capture)
    .where(models.c.name == bindparam("model"), models.c.deleted.is_(None))
    .with_for_update()
)
STATE = select(capture_batches.c.state).where(capture_batches.c.batch == bindparam("batch"))
GAP = text(
    "INSERT INTO capture_gaps (model, queue_full, storage_failed, quota_full, last) "
    "VALUES (:model, :queue_full, :storage_failed, :quota_full, :last) ON CONFLICT (model) DO UPDATE SET "
    "queue_full = capture_gaps.queue_full + excluded.queue_full, "
    "storage_failed = capture_gaps.storage_failed + excluded.storage_failed, "
    "quota_full = capture_gaps.quota_full + excluded.quota_full, last = excluded.last"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NewCapture:
    """An input to be stored."""

    # without its position in a batch; `created` and `expires` are set when it is stored
    captured: CapturedInput
    content: bytes  # the bytes to store
    direction: bytes  # the features in the space of similar inputs
    age: float = 0.0  # seconds since the prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaps:
    """Numbers of inputs of a model that could not be captured, by cause."""

    queue_full: int = 0
    storage_failed: int = 0
    quota_full: int = 0


class ModelGoneError(Exception):
    """The model was deleted, its capture ended, or this release cannot read its capture policy."""


def policy_of(connection: Connection, model: str) -> CapturePolicy:
    """Return the policy of a model and lock its row; raise ModelGoneError if that is impossible."""
    found = connection.execute(MODEL, {"model": model}).scalar()
    if found is None:
        raise ModelGoneError
    try:
        return decoded_policy(model, found)
    except WrittenByNewerRelease as error:
        raise ModelGoneError from error


def rows_of(inputs: Sequence[NewCapture], batch: str, now: float, ttl: float) -> list[dict[str, Any]]:
    """Return the rows of the inputs of a batch."""
    found, start = [], 0
    for place, each in enumerate(inputs):
        captured, created = each.captured, now - each.age
        found.append(
            {
                "prediction_id": captured.prediction_id,
                "model": captured.model,
                "number": captured.version,
                "batch": batch,
                "place": place,
                "start": start,
                "nbytes": len(each.content),
                "digest": captured.digest,
                "kind": captured.kind,
                "media_type": captured.media_type,
                "created": created,
                "expires": created + ttl,
                "predicted": captured.predicted.to_json(),
                "classes": [one.to_json() for one in captured.classes],
                "margin": captured.margin,
                "typicality": captured.typicality,
                "reasons": int(captured.reasons),
                "direction": each.direction,
            }
        )
        start += len(each.content)
    return found


def select_batch(batch: str) -> Select[Any]:
    """Return the query of the rows of a batch that were not erased, in their order."""
    return (
        select_captured()
        .where(captured_inputs.c.batch == batch, IS_NOT_ERASED)
        .order_by(captured_inputs.c.place)
    )


def publish(
    connection: Connection,
    batch: str,
    *,
    entries: int,
    nbytes: int,
    facts: dict[str, Any],
    created: float,
    ttl: float,
) -> None:
    """Publish a complete batch under its time; raise ModelGoneError if it was given up."""
    values = {"entries": entries, "nbytes": nbytes, "features": facts, "created": created, "ttl": ttl}
    done = connection.execute(
        update(capture_batches)
        .where(capture_batches.c.batch == batch, capture_batches.c.state == WRITING)
        .values(state=READY, due=created + ttl, **values)
    )
    if not done.rowcount:
        raise ModelGoneError


def doom(connection: Connection, batches: Sequence[str]) -> None:
    """Mark batches for removal, delete their rows, and subtract their bytes from the usage.

    Rows of erased inputs stay until their objects are removed.
    """
    doomed = connection.execute(
        update(capture_batches)
        .where(capture_batches.c.batch.in_(batches), capture_batches.c.state == READY)
        .values(state=DOOMED)
        .returning(capture_batches.c.batch, capture_batches.c.model, capture_batches.c.nbytes)
    ).all()
    names = [row.batch for row in doomed]
    connection.execute(delete(captured_inputs).where(captured_inputs.c.batch.in_(names), IS_NOT_ERASED))
    for row in doomed:
        usage.add_captures(connection, tenant_of(row.model), -int(row.nbytes))


def evict(connection: Connection, model: str, policy: CapturePolicy) -> None:
    """Delete the oldest batches of a model beyond the bounds of its policy; the newest one stays."""
    query = select(capture_batches.c.batch, capture_batches.c.entries, capture_batches.c.nbytes).where(
        capture_batches.c.model == model, capture_batches.c.state == READY
    )
    newest = query.order_by(capture_batches.c.created.desc(), capture_batches.c.batch)
    count = nbytes = 0
    beyond: list[str] = []
    for place, row in enumerate(connection.execute(newest).all()):
        count, nbytes = count + int(row.entries), nbytes + int(row.nbytes)
        if place and (beyond or count > policy.max_count or nbytes > policy.max_bytes):
            beyond.append(row.batch)
    if beyond:
        doom(connection, beyond)


def begin(database: Database, model: str) -> str:
    """Insert the row of a new batch, before its object is written, and return its name."""
    batch = uuid.uuid4().hex
    with database.write("captures.begin") as connection:
        connection.execute(
            insert(capture_batches).values(
                batch=batch,
                model=model,
                state=WRITING,
                entries=0,
                nbytes=0,
                features={},
                created=database.now(connection),
            )
        )
    return batch


def give_up(database: Database, batch: str) -> None:
    """Mark a batch for removal; if the database does not answer, a cleaning does so later."""
    try:
        with database.write("captures.give_up") as connection:
            connection.execute(
                update(capture_batches)
                .where(capture_batches.c.batch == batch, capture_batches.c.state == WRITING)
                .values(state=DOOMED)
            )
    except Exception as error:  # noqa: BLE001 - the caller raises the original error
        log.warning("capture_cleanup_postponed", error=str(error))
