"""Erases captured inputs, and cleans up what has expired or was left behind."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.batches import BatchFiles
from headstart_server.capture.capture_rows import (
    MODEL,
    STATE,
    begin,
    doom,
    give_up,
    publish,
    select_batch,
)
from headstart_server.capture.captured_input import CapturedInput, captured_of
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
from headstart_server.models import usage

#: Seconds after which an unfinished batch is given up, and after which an object without a row is removed.
ABANDONED_SECONDS, ORPHAN_SECONDS = 600.0, 3600.0
#: Seconds for which the pages of a review list can be read.
LIST_SECONDS = 3600.0
#: Batches that one step of a cleaning treats.
_AT_ONCE = 200


class CaptureEraser:
    """Erases captured inputs, and cleans up. Models have their full names.

    Args:
        database: has the rows.
        files: has contents and features.
    """

    def __init__(self, database: Database, files: BatchFiles) -> None:
        self._database = database
        self._files = files

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
            while not self._rewrite(row):
                pass

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

    def _rewrite(self, row: Row[Any]) -> bool:
        """Write a batch without erased inputs; return False if another input was erased meanwhile."""
        model, batch = row.model, row.batch
        with self._database.read() as connection:
            kept = [captured_of(row) for row in connection.execute(select_batch(batch))]
        features = self._files.features(batch, row.features) if kept else None
        contents = [
            self._files.content(each.batch, each.start, each.nbytes, each.digest) if features else None
            for each in kept
        ]
        if features is None or None in contents:
            # Nothing is left, or another replica was faster, or the object is damaged.
            self._doom(model, batch)
            return True
        new = begin(self._database, model)
        try:
            rows = features.rows([each.place for each in kept])
            nbytes, facts = self._files.write(new, [each or b"" for each in contents], rows)
            with self._database.write("captures.rewrite") as connection:
                if self._move(connection, model, kept, batch, new):
                    publish(
                        connection,
                        new,
                        entries=len(kept),
                        nbytes=nbytes,
                        facts=facts,
                        created=row.created,
                    )
                    usage.add_captures(connection, tenant_of(model), nbytes)
                    return True
        except BaseException:
            give_up(self._database, new)
            raise
        give_up(self._database, new)
        return False

    def _move(
        self, connection: Connection, model: str, kept: Sequence[CapturedInput], old: str, new: str
    ) -> bool:
        """Move rows to a new batch if they are all that is left of the old one, which is doomed then."""
        connection.execute(MODEL, {"model": model}).all()
        if connection.execute(STATE, {"batch": old}).scalar() != READY:
            return False
        there = {row.prediction_id for row in connection.execute(select_batch(old))}
        if there != {each.prediction_id for each in kept}:
            return False
        start = 0
        for place, each in enumerate(kept):
            connection.execute(
                update(captured_inputs)
                .where(captured_inputs.c.prediction_id == each.prediction_id)
                .values(batch=new, place=place, start=start)
            )
            start += each.nbytes
        doom(connection, [old])
        return True

    def _doom(self, model: str, batch: str) -> None:
        with self._database.write("captures.doom") as connection:
            connection.execute(MODEL, {"model": model}).all()
            doom(connection, [batch])

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
            self._doom(row.model, row.batch)
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
