"""Changes of captured inputs when models change."""

from sqlalchemy import Connection, bindparam, delete, func, select, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.database.capture_tables import (
    DOOMED,
    READY,
    capture_batches,
    capture_gaps,
    captured_inputs,
    review_lists,
)
from headstart_server.models import usage

# Built once: building a statement takes longer than executing it.
_SHORTEN = (
    update(capture_batches)
    .where(capture_batches.c.model == bindparam("captured"), capture_batches.c.ttl > bindparam("shorter"))
    .values(ttl=bindparam("shorter"), due=capture_batches.c.created + bindparam("shorter"))
)
_NBYTES = select(func.sum(capture_batches.c.nbytes)).where(
    capture_batches.c.model == bindparam("model"), capture_batches.c.state == READY
)


def shorten(connection: Connection, model: str, ttl: float) -> None:
    """Apply a new time to live to the captured inputs of a model; it never extends their lives."""
    connection.execute(_SHORTEN, {"captured": model, "shorter": ttl})


def delete_of(connection: Connection, model: str) -> None:
    """Delete the captured inputs of a model; a cleaning removes their objects."""
    nbytes = int(connection.execute(_NBYTES, {"model": model}).scalar() or 0)
    connection.execute(
        update(capture_batches)
        .where(capture_batches.c.model == model, capture_batches.c.state != DOOMED)
        .values(state=DOOMED)
    )
    for table in (captured_inputs, capture_gaps, review_lists):
        connection.execute(delete(table).where(table.c.model == model))
    if nbytes:
        usage.add_captures(connection, tenant_of(model), -nbytes)
