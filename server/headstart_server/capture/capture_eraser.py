"""Erases captured inputs, and cleans up what has expired or was left behind."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, exists, select, update

from headstart_server.capture.batch_rewriter import BatchRewriter
from headstart_server.capture.batches import MAX_BATCH, MAX_BATCH_BYTES, BatchFiles
from headstart_server.capture.capture_rows import MODEL
from headstart_server.database.batches import batched
from headstart_server.database.capture_tables import (
    DOOMED,
    READY,
    WRITING,
    capture_batches,
    captured_inputs,
    review_lists,
)
from headstart_server.database.database import Database

#: Seconds after which an unfinished batch is given up, and after which an object without a row is removed.
ABANDONED_SECONDS, ORPHAN_SECONDS = 600.0, 3600.0
#: Seconds for which the pages of a review list can be read.
LIST_SECONDS = 3600.0
#: Batches that one step of a cleaning treats, and that it merges.
_AT_ONCE, _MERGED_AT_ONCE = 200, 1000
#: Seconds between the first and last input of a merged batch, by which removals may lag behind expiry, and
#: seconds after which a batch is merged.
_MERGED_SECONDS, _SETTLED_SECONDS = 600.0, 60.0


class CaptureEraser:
    """Erases captured inputs, and cleans up. Models have their full names."""

    def __init__(self, database: Database, files: BatchFiles) -> None:
        self._database = database
        self._files = files
        self._rewriter = BatchRewriter(database, files)

    def erase(self, model: str, prediction_id: str) -> bool:
        """Erase a captured input with its content and features. Safe to repeat.

        Returns:
            Whether there was one.

        Raises:
            ServiceUnavailable or StorageFull: its row is gone; a cleaning removes its content.
        """
        with self._database.write("captures.erase") as connection:
            connection.execute(MODEL, {"model": model}).all()
            here = (captured_inputs.c.model == model, captured_inputs.c.prediction_id == prediction_id)
            batch = connection.execute(
                delete(captured_inputs).where(*here).returning(captured_inputs.c.batch)
            ).scalar()
            if batch is not None:
                connection.execute(
                    update(capture_batches).where(capture_batches.c.batch == batch).values(dirty=1)
                )
        # What an earlier call that was killed left, too.
        self.rewrite_erased(model)
        self.remove_doomed(model)
        return batch is not None

    def models_with(self, prediction_id: str) -> Sequence[str]:
        """Return the models that have a captured input of a prediction: at most one."""
        query = select(captured_inputs.c.model).where(captured_inputs.c.prediction_id == prediction_id)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def clean(self) -> int:
        """Delete what has expired, and finish what was begun; return the number of removed objects.

        Raises:
            ServiceUnavailable or StorageFull: the rest is left to the next cleaning.
        """
        self._expire()
        self.rewrite_erased()
        self._merge()
        return self.remove_doomed()

    def give_up_unfinished(self) -> None:
        """Give up all batches that are being written: no other process writes."""
        with self._database.write("captures.give_up") as connection:
            connection.execute(
                update(capture_batches).where(capture_batches.c.state == WRITING).values(state=DOOMED)
            )

    def remove_orphans(self, older_than: float = ORPHAN_SECONDS) -> int:
        """Remove the objects without a row, and return their number."""
        names = self._files.names(older_than)
        with self._database.read() as connection:
            known = {
                name
                for part in batched(names, _AT_ONCE)
                for name in connection.execute(
                    select(capture_batches.c.batch).where(capture_batches.c.batch.in_(part))
                ).scalars()
            }
        orphans = [name for name in names if name not in known]
        for name in orphans:
            self._files.remove(name)
        return len(orphans)

    def rewrite_erased(self, model: str = "") -> None:
        """Write the objects again that hold inputs whose rows were erased; empty means all models."""
        query = select(capture_batches).where(capture_batches.c.dirty == 1, capture_batches.c.state == READY)
        if model:
            query = query.where(capture_batches.c.model == model)
        with self._database.read() as connection:
            dirty = connection.execute(query).all()
        for row in dirty:
            self._rewriter.replace([row])

    def remove_doomed(self, model: str = "") -> int:
        """Remove the objects that do not count any more, and return their number; empty means all models."""
        query = select(capture_batches.c.batch).where(capture_batches.c.state == DOOMED)
        if model:
            query = query.where(capture_batches.c.model == model)
        with self._database.read() as connection:
            doomed = list(connection.execute(query).scalars())
        for batch in doomed:
            self._files.remove(batch)
            with self._database.write("captures.remove") as connection:
                connection.execute(delete(captured_inputs).where(captured_inputs.c.batch == batch))
                connection.execute(delete(capture_batches).where(capture_batches.c.batch == batch))
        return len(doomed)

    def _merge(self) -> None:
        """Write small batches that were written one after the other as one, so that there are few objects."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            small = select(capture_batches).where(
                capture_batches.c.state == READY,
                capture_batches.c.dirty == 0,
                capture_batches.c.entries < MAX_BATCH // 2,
                capture_batches.c.created.between(now - 2 * _MERGED_SECONDS, now - _SETTLED_SECONDS),
            )
            order = small.order_by(capture_batches.c.model, capture_batches.c.created)
            found = connection.execute(order.limit(_MERGED_AT_ONCE)).all()
        for group in _mergeable(found):
            self._rewriter.replace(group)

    def _expire(self) -> None:
        """Doom batches that have expired or were given up, and delete old review lists."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            alive = exists().where(
                captured_inputs.c.batch == capture_batches.c.batch, captured_inputs.c.expires > now
            )
            query = select(capture_batches.c.batch, capture_batches.c.model).where(
                capture_batches.c.state == READY, ~alive
            )
            expired = connection.execute(query.limit(_AT_ONCE)).all()
        for row in expired:
            self._rewriter.doom(row.model, [row.batch])
        with self._database.write("captures.expire") as connection:
            connection.execute(
                update(capture_batches)
                .where(
                    capture_batches.c.state == WRITING,
                    capture_batches.c.created < now - ABANDONED_SECONDS,
                )
                .values(state=DOOMED)
            )
            connection.execute(delete(review_lists).where(review_lists.c.created < now - LIST_SECONDS))


def _mergeable(batches: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    """Return runs of batches that fit into one object: of one model, backbone and time."""
    groups: list[list[Row[Any]]] = []
    for row in batches:
        group = groups[-1] if groups else []
        if not group or not _fits(row, group):
            groups.append([row])
        else:
            group.append(row)
    return [group for group in groups if len(group) > 1]


def _fits(row: Row[Any], group: Sequence[Row[Any]]) -> bool:
    first, facts = group[0], ("backbone_digest", "views")
    return (
        row.model == first.model
        and all(row.features.get(name) == first.features.get(name) for name in facts)
        and row.created - first.created <= _MERGED_SECONDS
        and sum(each.entries for each in group) + row.entries <= MAX_BATCH
        and sum(each.nbytes for each in group) + row.nbytes <= MAX_BATCH_BYTES
    )
